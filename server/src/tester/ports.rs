//! The ports that instances get.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};

use parking_lot::Mutex;

/// Ports of a range. One that was given stays given until it is returned, while its server is stopped, too.
pub(super) struct Ports {
    host: IpAddr,
    low: u16,
    high: u16,
    state: Mutex<State>,
}

struct State {
    next: u16,
    given: BTreeSet<u16>,
}

/// A port that nobody else gets, and what holds it until its server is about to open it.
pub(super) struct Reserved {
    pub(super) number: u16,
    held: TcpListener,
}

impl Reserved {
    /// Lets go of the port, for the server to open it.
    pub(super) fn let_go(self) {
        drop(self.held);
    }
}

impl Ports {
    /// The ports from `low` to `high`, both included, on one address. The search begins at `first`.
    pub(super) fn new(host: IpAddr, low: u16, high: u16, first: u16) -> Self {
        let state = State { next: first.clamp(low, high), given: BTreeSet::new() };
        Self { host, low, high, state: Mutex::new(state) }
    }

    /// A port that is free.
    pub(super) fn reserve(&self) -> Result<Reserved, String> {
        let mut state = self.state.lock();
        for _ in self.low..=self.high {
            let number = state.next;
            state.next = if number >= self.high { self.low } else { number + 1 };
            if state.given.contains(&number) {
                continue;
            }
            if let Ok(held) = TcpListener::bind((self.host, number)) {
                state.given.insert(number);
                return Ok(Reserved { number, held });
            }
        }
        Err(format!("no free port in the port range: {}-{}", self.low, self.high))
    }

    /// Returns a port to the range.
    pub(super) fn give_back(&self, number: u16) {
        self.state.lock().given.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_is_given_once_until_it_is_returned() {
        // Whoever else takes one of these ports meanwhile only makes them fewer.
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = held.local_addr().unwrap().port();
        let ports = Ports::new(Ipv4Addr::LOCALHOST.into(), number, number, 1);
        assert!(ports.reserve().is_err(), "somebody else listens there");
        drop(held);
        let mut state = ports.state.lock();
        assert!(state.given.insert(number));
        drop(state);
        assert!(ports.reserve().is_err(), "it was given");
        ports.give_back(number);
        assert!(ports.state.lock().given.is_empty());
    }
}
