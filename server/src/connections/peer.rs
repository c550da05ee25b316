//! Where the other end of a connection is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where the other end of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// At an address of the network.
    Address(SocketAddr),
    /// In this process.
    Process,
}

impl Peer {
    /// Its address in the network, if it has one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Process => None,
        }
    }

    /// Its IP address; `None` for a peer in this process.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip().to_canonical())
    }

    /// Its IP address as pages, events and INFO show it; empty for a peer in this process.
    pub(crate) fn ip_text(&self) -> String {
        self.ip().as_ref().map_or_else(String::new, IpAddr::to_string)
    }

    /// Its port; 0 for a peer in this process.
    pub(crate) fn port(&self) -> u16 {
        self.address().map_or(0, |address| address.port())
    }
}

/// As log lines show it; a peer in this process as nats-server v2.15.2 shows one.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Process => f.write_str("pipe"),
        }
    }
}
