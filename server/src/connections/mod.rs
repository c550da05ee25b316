//! Connections as the whole server knows them, whatever is spoken over them: who is there, how far it is, why it ended. What
//! does the speaking is in [`crate::net`].

mod client_type;
mod close_reason;
mod closed;
mod identity;
mod leafnode;
mod peer;
mod secured;
mod trace_options;

use std::sync::Arc;

use jetkv_jetstream::WallNs;
use jetkv_protocol::Rejection;

pub(crate) use client_type::ClientType;
pub(crate) use close_reason::CloseReason;
pub(crate) use closed::{ClosedClient, ClosedClients};
pub(crate) use identity::{Identity, IdentityClaims};
pub(crate) use leafnode::{LeafnodeHandle, LeafnodeView, Leafnodes};
pub(crate) use peer::Peer;
pub(crate) use secured::Secured;
pub(crate) use trace_options::TraceOptions;

use crate::auth::DeliveryRules;
use crate::router::{Account, Subscription};
use crate::traffic::TrafficCounts;

/// Held by a connection as long as it has not taken a reload over; whoever waits sees the last one go. What is sent are the
/// clients that the reload refuses.
pub(crate) type ReloadGuard = std::sync::mpsc::Sender<Refused>;

/// A client that a reload refused. Its account hears of it when all have taken the reload over.
pub(crate) type Refused = (Arc<dyn ConnectionHandle>, CloseReason);

/// A connection that is there.
pub(crate) trait ConnectionHandle: Send + Sync {
    /// Its number, never used twice by one server.
    fn id(&self) -> u64;

    /// Where it is.
    fn peer(&self) -> Peer;

    /// What it speaks over.
    fn client_type(&self) -> ClientType;

    /// What was agreed on, where it is under TLS.
    fn secured(&self) -> Option<&Secured>;

    /// When it connected.
    fn started_at(&self) -> WallNs;

    /// Who it is.
    fn identity(&self) -> Identity;

    /// Its account.
    fn account(&self) -> Arc<Account>;

    /// How log lines about it begin.
    fn label(&self) -> String;

    /// What it may do, where that is limited.
    fn rules(&self) -> Option<Arc<DeliveryRules>>;

    /// Round trip, nanoseconds; 0 as long as it is unknown.
    fn rtt_ns(&self) -> i64;

    /// When it last sent or received a message or changed a subscription.
    fn last_active(&self) -> WallNs;

    /// What went through it.
    fn traffic(&self) -> TrafficCounts;

    /// Times that a producer waited for it.
    fn stalls(&self) -> u64;

    /// Bytes that wait to be sent.
    fn pending_bytes(&self) -> usize;

    /// Its subscriptions.
    fn subscriptions(&self) -> Vec<Arc<Subscription>>;

    /// Why it is being closed, if it is.
    fn closing(&self) -> Option<CloseReason>;

    /// Begins to close it; its task does the rest.
    fn close(&self, reason: CloseReason);

    /// Tells the peer why it has to go, and begins to close the connection.
    fn send_away(self: Arc<Self>, rejection: &Rejection<'_>, reason: CloseReason);

    /// Sends INFO. It leaves at the end of the thread's turn.
    fn send_info(self: Arc<Self>, json: &[u8]);

    /// Has the log show its protocol from now on, or no longer.
    fn set_traced(&self, options: Option<TraceOptions>);

    /// Keeps back all that is sent to it, as if the peer read nothing, or no longer.
    fn hold_back(self: Arc<Self>, held: bool);

    /// Has the connection's task look at its options again. It lets go of `guard` when it has.
    fn ask_reload(&self, guard: ReloadGuard);
}
