//! The addresses of this machine.

use std::net::{IpAddr, SocketAddr};

/// Every address, interface by interface, IPv4 before IPv6. Empty when the system does not tell.
fn addresses() -> Vec<IpAddr> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.sort_by_key(|interface| (interface.index, interface.ip().is_ipv6()));
    interfaces.into_iter().map(|interface| interface.ip()).collect()
}

/// `host:port` for every address under which a listener can be reached from this machine. A listener on all
/// interfaces has one for each, loopback included.
pub(crate) fn reachable(bound: SocketAddr) -> Vec<String> {
    if !bound.ip().is_unspecified() {
        return vec![bound.to_string()];
    }
    addresses().into_iter().map(|ip| SocketAddr::new(ip, bound.port()).to_string()).collect()
}

/// Host and port as log lines show them: an IPv6 address is in brackets.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::{host_port, reachable};

    #[test]
    fn a_bound_address_is_reachable_as_itself() {
        assert_eq!(reachable("127.0.0.1:4222".parse().unwrap()), ["127.0.0.1:4222"]);
        assert_eq!(reachable("[::1]:4222".parse().unwrap()), ["[::1]:4222"]);
        assert_eq!(host_port("::", 4222), "[::]:4222");
    }

    #[test]
    fn a_listener_on_all_interfaces_is_reachable_on_loopback() {
        assert!(reachable("0.0.0.0:4222".parse().unwrap()).contains(&"127.0.0.1:4222".to_owned()));
    }
}
