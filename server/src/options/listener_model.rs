//! Listeners whose protocol is not served yet.
//!
//! Configurations of tests and of containers carry their blocks whether anybody connects there or not, so a server that
//! has nothing more to do there than to listen starts, and refuses who comes.

use std::time::Duration;

use super::WriteTimeout;

/// What a listener would be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unserved {
    /// Leaf nodes.
    Leafnodes,
    /// Routes from other servers of the cluster.
    Cluster,
}

/// A port that is opened although nobody is served there. What its block says about those who are let in is only shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnservedListener {
    /// What it would be for.
    pub feature: Unserved,
    /// Address that connections are accepted on. A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// Port that connections are accepted on. 0: any free one.
    pub port: u16,
    /// Time to say who one is.
    pub auth_timeout: Duration,
    /// Connections to each other server of a cluster; -1: one.
    pub pool_size: i64,
    /// Time that a write may take.
    pub write_deadline: Duration,
    /// What becomes of a connection whose writes take longer.
    pub write_timeout: WriteTimeout,
}

impl Unserved {
    /// Who is not served, as log lines and refusals name them.
    pub(crate) fn who(self) -> &'static str {
        match self {
            Self::Leafnodes => "leaf node connections",
            Self::Cluster => "route connections",
        }
    }

    /// That the port cannot be opened, and why, in nats-server's words.
    pub(crate) fn cannot_listen(self, port: i64, reason: &str) -> String {
        match self {
            Self::Leafnodes => format!("Error listening on leafnode port: {port} - {reason}"),
            Self::Cluster => format!("Error listening on router port: {port} - {reason}"),
        }
    }
}
