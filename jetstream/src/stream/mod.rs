//! A stream: one lock around one struct.
//!
//! Whatever a stream emits (acknowledgements, deliveries, advisories) is queued in its outbox in order, and leaves
//! with [`Stream::commit`], after the store was flushed. A second lock, the gate, is taken before the first is
//! released, so that what was queued in order also leaves in order.

mod ack;
mod aging;
mod checks;
mod dedupe;
mod expiry;
mod headers;
mod in_process;
mod info;
mod inner;
mod limits;
mod publish;
mod purge;
mod update;

pub(crate) use ack::push_number;
pub(crate) use headers::header;
pub use info::StreamState;
pub(crate) use inner::Inner;
pub(crate) use purge::PurgeRequest;

use crate::config::StreamConfig;
use crate::host::{AccountId, Delivery, Host, OutMsg};
use crate::outbox::Outbox;
use crate::store::Store;
use crate::world::{AccountShare, World};
use parking_lot::{Mutex, MutexGuard};
use std::sync::{Arc, Weak};

/// How many messages consumers that lag may get in one turn.
const PUMP_BUDGET: usize = 512;

/// A stream. Cheap to share; all state is behind one lock.
pub struct Stream {
    account: Arc<AccountShare>,
    world: Arc<World>,
    name: String,
    me: Weak<Stream>,
    inner: Mutex<Inner>,
    gate: Mutex<Gate>,
    watchers: in_process::Watchers,
}

/// Held while messages leave.
#[derive(Default)]
struct Gate {
    outbox: Outbox,
    unwelcome: Unwelcome,
}

/// Deliveries that not all went well.
#[derive(Default)]
struct Unwelcome {
    /// Those that reached nobody: where to, and the reply.
    lost: Vec<(Vec<u8>, Vec<u8>)>,
    /// Deliver subjects with a receiver that is filling up.
    full: Vec<Vec<u8>>,
}

impl Stream {
    pub(crate) fn new(
        world: Arc<World>,
        account: Arc<AccountShare>,
        config: StreamConfig,
        created_ns: i64,
        store: Box<dyn Store>,
    ) -> Arc<Self> {
        let stream = Arc::new_cyclic(|me: &Weak<Self>| {
            let timer = world.timers.register(me.clone());
            Self {
                name: config.name.clone(),
                me: me.clone(),
                inner: Mutex::new(Inner::new(&world, &account, config, created_ns, store, timer)),
                gate: Mutex::default(),
                watchers: in_process::Watchers::default(),
                account,
                world,
            }
        });
        // Not before: a timer that is due at once must find the stream.
        stream.inner.lock().arm();
        stream
    }

    /// The account that the stream belongs to.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account.id
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream's configuration.
    #[must_use]
    pub fn config(&self) -> Arc<StreamConfig> {
        self.inner.lock().config.clone()
    }

    /// Takes a message that was published on one of the stream's subjects. The acknowledgement, deliveries and
    /// whatever else follows leave with the next [`Stream::commit`]; the caller publishes all that it has, then
    /// commits once.
    pub fn publish(&self, msg: &Inbound<'_>) {
        self.lock().publish(msg);
    }

    /// Makes what was published as durable as configured, then lets everything that waited for it leave, in order.
    pub fn commit(&self, host: &dyn Host) {
        let inner = self.inner.lock();
        self.release(inner, host);
    }

    /// Goes on delivering to consumers that lag. Includes a commit.
    pub fn pump(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        inner.pump(PUMP_BUDGET);
        self.release(inner, host);
    }

    /// Fires the timers that are due. Includes a commit.
    pub(crate) fn tick(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        inner.tick();
        self.release(inner, host);
    }

    /// The stream's state, locked, with the clock read.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut inner = self.inner.lock();
        inner.now_ns = self.world.clock.now_ns();
        Locked { inner: Some(inner) }
    }

    /// Flushes, and routes what is queued. Consumers that lag are pumped later.
    fn release(&self, mut inner: MutexGuard<'_, Inner>, host: &dyn Host) {
        inner.flush();
        for (subject, came) in inner.consumers.take_deliver_changes() {
            if came {
                self.account.watches.add(subject.clone(), &self.me);
                // Interest that came after the consumer asked for it and before this watch was told to nobody.
                let (consumers, mut ctx) = inner.parts();
                consumers.interest_changed(&mut ctx, &subject, None, false);
            } else {
                self.account.watches.remove(&subject, &self.me);
            }
        }
        inner.arm();
        let wants_pump = inner.consumers.wants_pump();
        if !inner.outbox.is_empty() {
            let mut gate = self.gate.lock();
            inner.swap_outbox(&mut gate.outbox);
            drop(inner);
            let unwelcome = gate.route(self.account.id, host);
            drop(gate);
            if !unwelcome.is_empty() {
                self.give_back(&unwelcome, host);
            }
        } else {
            drop(inner);
        }
        if wants_pump && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
        self.watchers.wake();
    }

    /// Tells consumers what reached nobody, and whose receivers are filling up. What they say to that leaves in
    /// another turn.
    fn give_back(&self, unwelcome: &Unwelcome, host: &dyn Host) {
        let mut inner = self.lock();
        let (consumers, mut ctx) = inner.parts();
        for (to, reply) in &unwelcome.lost {
            consumers.not_delivered(&mut ctx, to, reply);
        }
        for to in &unwelcome.full {
            consumers.receivers_fill_up(&mut ctx, to);
        }
        inner.arm();
        let waits = !inner.outbox.is_empty();
        drop(inner);
        if waits && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
    }
}

impl Gate {
    fn route(&mut self, account: AccountId, host: &dyn Host) -> Unwelcome {
        let Unwelcome { lost, full } = &mut self.unwelcome;
        for msg in self.outbox.iter() {
            match host.deliver(account, msg) {
                Delivery::Sent => {}
                Delivery::NoInterest if is_consumer_delivery(&msg) => {
                    lost.push((msg.to.to_vec(), msg.reply.to_vec()));
                }
                Delivery::Pressured if is_consumer_delivery(&msg) => {
                    if full.last().is_none_or(|last| last != msg.to) {
                        full.push(msg.to.to_vec());
                    }
                }
                Delivery::NoInterest | Delivery::Pressured => {}
            }
        }
        self.outbox.clear();
        std::mem::take(&mut self.unwelcome)
    }
}

impl Unwelcome {
    fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.full.is_empty()
    }
}

fn is_consumer_delivery(msg: &OutMsg<'_>) -> bool {
    msg.reply.starts_with(b"$JS.ACK.")
}

/// A locked stream. When it is released, consequences for consumers, accounts and timers are drawn.
pub(crate) struct Locked<'a> {
    inner: Option<MutexGuard<'a, Inner>>,
}

impl<'a> Locked<'a> {
    fn into_inner(mut self) -> MutexGuard<'a, Inner> {
        match self.inner.take() {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken here, by value"),
        }
    }
}

impl std::ops::Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken by value"),
        }
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        match &mut self.inner {
            Some(inner) => inner,
            None => unreachable!("the guard is only taken by value"),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.settle();
        }
    }
}

/// A message published to a stream.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// Subject.
    pub subject: &'a [u8],
    /// Where the acknowledgement goes, empty for nowhere.
    pub reply: &'a [u8],
    /// Raw header block with its `NATS/1.0` line and closing empty line, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// What a consumer works with, lent to it for the length of one call under its stream's lock.
pub struct StreamCtx<'a> {
    /// The account.
    pub account: AccountId,
    /// The stream's configuration.
    pub config: &'a StreamConfig,
    /// The stream's messages.
    pub store: &'a mut dyn Store,
    /// Where deliveries, acks, statuses and advisories are queued. What is queued leaves, in this order, once the
    /// store has been flushed.
    pub outbox: &'a mut Outbox,
    /// Asked for interest only; deliveries go through the outbox.
    pub host: &'a dyn Host,
    /// Now, nanoseconds since 1970, read once for the whole call.
    pub now_ns: u64,
}
