//! The file that tells tests and tools which ports a server has.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What listens beside the port for clients; URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// URLs for clients; filled in by the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    /// URLs of the monitoring pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
}

/// Writes `<executable>_<pid>.ports` so that it appears whole; returns its path.
pub(super) fn write(directory: &Path, address: SocketAddr, others: &Ports) -> io::Result<PathBuf> {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = directory.join(format!("{name}_{}.ports", std::process::id()));
    let ports = Ports {
        nats: local_addresses(address).iter().map(|address| format!("nats://{address}")).collect(),
        ..others.clone()
    };
    let beside = path.with_extension("ports.tmp");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&ports)?)?;
    drop(file);
    std::fs::rename(&beside, &path)?;
    Ok(path)
}

/// An address of the same machine that reaches `address`, which may be unspecified.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
    }
    address
}

/// Addresses that reach `address`: itself, or loopback and the machine's own when it is unspecified.
fn local_addresses(address: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![reachable(address)];
    if address.ip().is_unspecified()
        && let Some(own) = own_address()
    {
        all.push(SocketAddr::new(own, address.port()));
    }
    all
}

/// The address that this machine would be known by elsewhere. Connecting a datagram socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_port_and_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let others = Ports { monitoring: vec!["http://127.0.0.1:1".into()], ..Ports::default() };
        let path = write(directory.path(), "127.0.0.1:4222".parse().unwrap(), &others).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://127.0.0.1:1"]}"#);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(path.to_string_lossy().ends_with(&format!("_{}.ports", std::process::id())));
    }
}
