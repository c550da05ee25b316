//! A leaf node connection: two servers that share what is published in an account of each, as far as somebody on the other
//! side listens. This file has the connection as the rest of the server sees it; `connection.rs` has the task that reads,
//! `handshake.rs` how the two get to know each other, `interest.rs` what each tells of who listens, `inbound.rs` what comes of
//! a message, and `remote.rs` who opens connections.

mod connection;
mod credentials;
mod domains;
mod handshake;
mod inbound;
mod interest;
mod remote;
mod rules;
mod secure;
mod served;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hashbrown::HashMap;
use jetkv_jetstream::{AccountId, OutMsg, WallNs};
use jetkv_protocol::encode;
use parking_lot::{Mutex, RwLock};

use crate::connections::{CloseReason, LeafnodeHandle, LeafnodeView, Peer};
use crate::net::outbound::Outbound;
use crate::net::starved::Starved;
use crate::router::{Account, DeliverSubject, FarEnd, Receipt, Receiver, Subscription};
use crate::traffic::Traffic;
use crate::worker;
pub(super) use connection::serve;
pub(crate) use remote::solicit;
use rules::Rules;

/// What the other server says when it is there twice.
const DUPLICATE: &str = "Duplicate Remote LeafNode Connection";

/// A leaf node connection.
pub(super) struct Leaf {
    id: u64,
    peer: Peer,
    /// This server opened it.
    is_solicited: bool,
    out: Outbound,
    /// What is known since the two know each other.
    joined: OnceLock<Joined>,
    /// What somebody there listens to, by the names that LS+ gives.
    subs: Mutex<HashMap<Box<[u8]>, Arc<Subscription>>>,
    /// What the other server was told that somebody here listens to, and how many do; `None` before it was told.
    told: Mutex<Option<HashMap<Box<[u8]>, i64>>>,
    headers: AtomicBool,
    /// Something was queued outside of a turn.
    is_queued: AtomicBool,
    /// The options changed.
    must_reload: AtomicBool,
    traffic: Traffic,
    rtt_ns: AtomicI64,
    /// Deliver subjects whose consumers stopped feeding the connection until it has room.
    starved: Starved,
}

/// What two servers know of each other.
#[derive(Debug)]
struct Joined {
    account: Arc<Account>,
    /// Name of the other server.
    server: String,
    /// Name of its cluster. Empty: none.
    cluster: String,
    /// Name of the account there. Empty: it does not say.
    remote_account: String,
    /// The other server is the hub.
    is_spoke: bool,
    is_isolated: bool,
    rules: RwLock<Arc<Rules>>,
}

impl Leaf {
    /// Its address and number, as log lines begin.
    fn label(&self) -> String {
        format!("{} - lid:{}", self.peer, self.id)
    }

    /// Queues protocol bytes; they leave at the end of the thread's turn, and at the latest when the connection's task has
    /// been woken: not everybody who changes a subscription ends a turn.
    fn queue(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(worker::with(|worker| worker.touched.thread()), write);
        self.is_queued.store(true, Ordering::Release);
        self.out.wake();
    }

    /// Says no to the other server.
    fn send_err(&self, text: &str) {
        self.queue(|out| encode::err(out, text));
    }
}

impl Receiver for Leaf {
    fn id(&self) -> u64 {
        self.id
    }

    /// A message of another account, which the account of the connection imports.
    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, is_own: bool, thread: u32) -> Receipt {
        if is_own {
            return Receipt::CLOSED;
        }
        use crate::router::Listed as _;
        let queue = Some(sub.queue()).filter(|queue| !queue.is_empty());
        self.relay(&OutMsg { to: msg.subject, ..*msg }, queue.as_slice(), thread)
    }

    fn flush(&self, _: Option<WallNs>) -> bool {
        self.out.flush()
    }

    fn end_subscription(&self, sub: &Arc<Subscription>) -> Arc<Account> {
        self.subs.lock().remove(sub.sid());
        match self.joined.get() {
            Some(joined) => Arc::clone(&joined.account),
            // Who has not joined has no subscriptions.
            None => Arc::new(Account::new(AccountId(u32::MAX), "")),
        }
    }

    fn starve(&self, account: AccountId, subject: &[u8]) -> bool {
        self.starved.note(&self.out, account, subject)
    }

    fn take_starved(&self) -> Vec<DeliverSubject> {
        self.starved.take()
    }

    fn begin_stall(&self, read_bytes: usize) -> Duration {
        self.out.stall_time(read_bytes)
    }

    fn is_stalling(&self) -> bool {
        self.out.is_stalling()
    }

    fn relay(&self, msg: &OutMsg<'_>, queues: &[&[u8]], thread: u32) -> Receipt {
        let Some(joined) = self.joined.get() else { return Receipt::CLOSED };
        if !joined.rules.read().outward.passes(msg.to) {
            return Receipt::CLOSED;
        }
        let headers = if self.headers.load(Ordering::Relaxed) { msg.headers } else { &[] };
        // What a consumer delivers has another subject than the one that it is delivered on, and the other server has to know
        // both.
        let is_renamed = msg.subject != msg.to;
        let parts: &[&[u8]] = if is_renamed { &[msg.reply, b"@", msg.subject] } else { &[msg.reply] };
        let reply = (!msg.reply.is_empty()).then_some(parts);
        let write = |out: &mut Vec<u8>| encode::leaf_msg(out, msg.to, reply, queues, headers, msg.payload);
        let (queued, is_first) = self.out.push(thread, write);
        if queued.is_accepted() {
            for traffic in [&self.traffic, &joined.account.leafnode_traffic] {
                traffic.sent(1, (headers.len() + msg.payload.len()) as u64);
            }
        }
        Receipt { queued, is_first, is_last: false }
    }

    fn far_end(&self) -> Option<FarEnd<'_>> {
        let joined = self.joined.get()?;
        Some(FarEnd { cluster: &joined.cluster, is_hub: joined.is_spoke })
    }
}

impl LeafnodeHandle for Leaf {
    fn id(&self) -> u64 {
        self.id
    }

    fn view(&self) -> Option<LeafnodeView> {
        let joined = self.joined.get()?;
        Some(LeafnodeView {
            id: self.id,
            server: joined.server.clone(),
            cluster: joined.cluster.clone(),
            remote_account: joined.remote_account.clone(),
            is_spoke: joined.is_spoke,
            is_isolated: joined.is_isolated,
            is_solicited: self.is_solicited,
            account: Arc::clone(&joined.account),
            peer: self.peer,
            rtt_ns: self.rtt_ns.load(Ordering::Relaxed),
            traffic: self.traffic.counts(),
            subscriptions: self.subs.lock().values().cloned().collect(),
        })
    }

    fn close(&self, reason: CloseReason) {
        self.out.close(reason);
    }

    fn replace(self: Arc<Self>) {
        tracing::error!("{} - {DUPLICATE}", self.label());
        self.send_err(DUPLICATE);
        self.out.close(CloseReason::DuplicateRemoteLeafnode);
    }

    fn reload(&self) {
        self.must_reload.store(true, Ordering::Release);
        self.out.wake();
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({} lid:{})", self.peer, self.id)
    }
}
