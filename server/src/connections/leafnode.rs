//! Leaf node connections as the whole server knows them.

use std::sync::Arc;

use hashbrown::HashMap;

use parking_lot::Mutex;

use super::{CloseReason, Peer};
use crate::router::{Account, Subscription};
use crate::traffic::TrafficCounts;

/// A leaf node connection that is there.
pub(crate) trait LeafnodeHandle: Send + Sync {
    /// Its number, never used twice by one server.
    fn id(&self) -> u64;

    /// What pages show of it; `None` as long as nobody knows who it is.
    fn view(&self) -> Option<LeafnodeView>;

    /// Begins to close it; its task does the rest.
    fn close(&self, reason: CloseReason);

    /// Tells the peer that another connection of the same server takes its place, and begins to close it.
    fn replace(self: Arc<Self>);

    /// Has its task look at the options again.
    fn reload(&self);
}

/// What pages show of a leaf node connection.
#[derive(Debug, Clone)]
pub(crate) struct LeafnodeView {
    pub id: u64,
    /// Name of the other server.
    pub server: String,
    /// Name of the other server's cluster. Empty: none.
    pub cluster: String,
    /// Name of the account there.
    pub remote_account: String,
    /// The other server is the hub.
    pub is_spoke: bool,
    /// It is not told what other leaf nodes listen to.
    pub is_isolated: bool,
    /// This server opened the connection.
    pub is_solicited: bool,
    pub account: Arc<Account>,
    pub peer: Peer,
    /// Round trip, nanoseconds; 0 as long as it is unknown.
    pub rtt_ns: i64,
    pub traffic: TrafficCounts,
    pub subscriptions: Vec<Arc<Subscription>>,
}

/// The leaf node connections of a server.
#[derive(Default)]
pub(crate) struct Leafnodes(Mutex<HashMap<u64, Arc<dyn LeafnodeHandle>>>);

impl Leafnodes {
    pub(crate) fn add(&self, leafnode: Arc<dyn LeafnodeHandle>) {
        self.0.lock().insert(leafnode.id(), leafnode);
    }

    pub(crate) fn remove(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// All of them, whether it is known who they are or not.
    pub(crate) fn all(&self) -> Vec<Arc<dyn LeafnodeHandle>> {
        self.0.lock().values().cloned().collect()
    }

    /// Those of which that is known, the oldest first.
    pub(crate) fn views(&self) -> Vec<LeafnodeView> {
        let mut views: Vec<LeafnodeView> = self.all().iter().filter_map(|leafnode| leafnode.view()).collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }
}
