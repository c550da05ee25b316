//! Connections that ended, for `/connz?state=closed`.

use std::collections::VecDeque;

use jetkv_jetstream::WallNs;
use parking_lot::Mutex;

use super::{ClientType, CloseReason, Identity, Peer, Secured};
use crate::router::Subscription;
use crate::traffic::TrafficCounts;
use std::sync::Arc;

/// A connection that ended.
#[derive(Debug, Clone)]
pub(crate) struct ClosedClient {
    /// Its number.
    pub id: u64,
    /// Where it was.
    pub peer: Peer,
    /// What it spoke over.
    pub client_type: ClientType,
    /// What was agreed on, where it was under TLS.
    pub secured: Option<Secured>,
    /// Who it was.
    pub identity: Identity,
    /// When it connected.
    pub started_at: WallNs,
    /// When it ended.
    pub stopped_at: WallNs,
    /// When it last did something.
    pub last_active: WallNs,
    /// Last round trip, nanoseconds.
    pub rtt_ns: i64,
    /// Why it ended.
    pub reason: CloseReason,
    /// What went through it.
    pub traffic: TrafficCounts,
    /// Times that a producer waited for it.
    pub stalls: u64,
    /// Its subscriptions when it ended.
    pub subscriptions: Vec<Arc<Subscription>>,
}

/// The last connections that ended.
#[derive(Debug)]
pub(crate) struct ClosedClients {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: VecDeque<ClosedClient>,
    total: u64,
}

impl ClosedClients {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State::default()) }
    }

    pub(crate) fn push(&self, client: ClosedClient) {
        let mut state = self.state.lock();
        state.total += 1;
        if self.limit == 0 {
            return;
        }
        if state.last.len() >= self.limit {
            state.last.pop_front();
        }
        state.last.push_back(client);
    }

    /// The remembered ones, oldest first, and how many there ever were.
    pub(crate) fn all(&self) -> (Vec<ClosedClient>, u64) {
        let state = self.state.lock();
        (state.last.iter().cloned().collect(), state.total)
    }
}
