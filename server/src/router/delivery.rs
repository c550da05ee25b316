//! From a message to its receivers.

use std::sync::Arc;

use jetkv_jetstream::OutMsg;
use jetkv_jetstream::stream::Stream;
use jetkv_protocol::trie::Reach;
use rand::Rng;

use super::account::Account;
use super::exchange::{ImportedService, Importer, Responses, Shadowed};
use super::receiver::{Queued, Receiver};
use super::relays::{Relays, is_echo};
use super::sublist::{Listed as _, Matches, QueueMatch};
use super::subscription::{Subscription, Target};
use super::touched::Touched;

/// Who sends a message.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// A connection; it gets its own message only if it asked for echo.
    Receiver(&'a dyn Receiver),
    /// The server itself.
    Server,
    /// It came from another account, by way of a service: streams that others import it does not enter.
    Crossed(Option<&'a dyn Receiver>),
}

/// A way into another account.
pub(crate) enum Crossing {
    /// The message is a request to a service.
    Request(Arc<ImportedService>),
    /// The message is an answer.
    Answer(Arc<Responses>),
}

/// What became of a message.
#[derive(Default)]
pub(crate) struct Routed {
    /// Somebody got it, or a stream takes it.
    pub delivered: bool,
    /// A receiver that is filling up.
    pub pressured: Option<Arc<dyn Receiver>>,
    /// It is so full that whoever sends should wait.
    pub stalling: bool,
    /// Messages that connections got.
    pub sent_msgs: u64,
    /// Ways into other accounts, still to be gone.
    pub crossings: Vec<Crossing>,
}

/// The receivers of the last subject, kept until the account's subscriptions change. Publishing to one subject again and
/// again looks it up once, and so does publishing to many that reach the same, such as the keys of a bucket or the
/// answers to one client.
#[derive(Debug, Default)]
pub(crate) struct RouteCache {
    /// The account's generation, which no other account shares; 0 at first.
    generation: u64,
    subject: Vec<u8>,
    /// Which other subjects reach the same.
    reach: Reach,
    matches: Matches<Subscription>,
}

impl RouteCache {
    /// What `subject` reaches in `account`.
    #[inline(always)]
    pub(crate) fn matches(&mut self, account: &Account, subject: &[u8]) -> &Matches<Subscription> {
        let generation = account.generation();
        let is_known = self.generation == generation
            && (self.reach.covers(&self.subject, subject) || self.subject == subject);
        if !is_known {
            self.look_up(account, generation, subject);
        }
        &self.matches
    }

    #[inline(never)]
    fn look_up(&mut self, account: &Account, generation: u64, subject: &[u8]) {
        self.generation = generation;
        self.subject.clear();
        self.subject.extend_from_slice(subject);
        self.reach = account.matching(subject, &mut self.matches);
    }
}

impl RouteCache {
    /// Whether `subject` reaches nobody in `account`, nor does any other that has so many first bytes in common with it, and
    /// something behind them that has no empty token.
    pub(crate) fn reaches_nobody(&mut self, account: &Account, subject: &[u8], start_len: usize) -> bool {
        self.matches(account, subject).is_empty()
            && matches!(self.reach, Reach::Start(len) if len <= start_len)
            // The reach is that of the subject that was looked up, which `subject` has as many bytes in common with.
            && self.generation == account.generation()
    }
}

/// Gives `msg` to everything in `matches`. Streams are left to `capture`, each with the message as it enters that, because a
/// message may enter a stream only when no engine lock is held. Who got something is noted in `touched`.
pub(crate) fn route(
    matches: &Matches<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    mut capture: impl FnMut(&Arc<Stream>, &OutMsg<'_>),
) -> Routed {
    route_to(matches, origin, msg, |_| true, touched, &mut capture)
}

/// As [`route`], for a message from another server, which says what queue groups get it here. Where it came under another
/// subject than it goes on under, nobody has said so, and all do.
pub(crate) fn route_relayed<'q>(
    matches: &Matches<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    queues: Option<impl Iterator<Item = &'q [u8]> + Clone>,
    touched: &Touched,
    mut capture: impl FnMut(&Arc<Stream>, &OutMsg<'_>),
) -> Routed {
    let gets_it = |queue: &QueueMatch<Subscription>| {
        let name = queue.members_from(0).next().map(|member| member.queue()).unwrap_or_default();
        queues.as_ref().is_none_or(|queues| queues.clone().any(|wanted| wanted == name))
    };
    route_to(matches, origin, msg, gets_it, touched, &mut capture)
}

/// Gives `msg` to everything in `matches` but the queue groups that do not get it.
#[inline(always)]
fn route_to(
    matches: &Matches<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    gets_it: impl Fn(&QueueMatch<Subscription>) -> bool,
    touched: &Touched,
    capture: &mut impl FnMut(&Arc<Stream>, &OutMsg<'_>),
) -> Routed {
    let mut routed = Routed::default();
    let mut relays = Relays::default();
    for sub in matches.plain() {
        give(sub, origin, msg, touched, capture, &mut routed, &mut relays);
    }
    for queue in matches.queues() {
        if gets_it(queue) {
            give_one(queue, origin, msg, touched, capture, &mut routed, &mut relays);
        }
    }
    routed.relay(relays, msg, touched);
    routed
}

/// Gives `msg` to one member of a queue group: of those at other servers only where no other takes it.
#[inline(always)]
fn give_one<'m>(
    queue: &'m QueueMatch<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    capture: &mut impl FnMut(&Arc<Stream>, &OutMsg<'_>),
    routed: &mut Routed,
    relays: &mut Relays<'m>,
) {
    let start = if queue.len() > 1 { rand::rng().random_range(0..queue.len()) } else { 0 };
    let mut elsewhere = Vec::new();
    // The next member is tried when one cannot take the message.
    for sub in queue.members_from(start) {
        if let Target::Relay(_) = sub.target() {
            if !is_echo(origin, sub) {
                elsewhere.push(sub);
            }
        } else if give(sub, origin, msg, touched, capture, routed, relays) {
            return;
        }
    }
    if !elsewhere.is_empty() {
        relays.add_one_of(&elsewhere);
    }
}

/// What became of a message that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// It was taken, or would have been.
    Taken,
    /// It was not.
    Refused,
}

/// As [`route`], one by one, with `observe` told of each: whether it took the message, or, where nothing is to be
/// delivered, that it would be its turn. A stream is only observed: whoever observes has it take the message.
pub(crate) fn route_observed<'m>(
    matches: &'m Matches<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    only: bool,
    mut observe: impl FnMut(&Subscription, Option<bool>) -> Observed,
) -> Routed {
    let mut routed = Routed::default();
    // Other servers observe for themselves.
    let mut relays = Relays::default();
    let mut one = |sub: &'m Arc<Subscription>, routed: &mut Routed| {
        let leads_on = matches!(sub.target(), Target::Service(_) | Target::Responses(_) | Target::Relay(_));
        let given = (!only || leads_on).then(|| {
            give(sub, origin, msg, touched, &mut |_: &Arc<Stream>, _: &OutMsg<'_>| {}, routed, &mut relays)
        });
        if let Target::Relay(_) = sub.target() {
            return false;
        }
        let is_taken = observe(sub, given.filter(|_| !only)) == Observed::Taken;
        routed.delivered |= only && is_taken && !leads_on;
        is_taken
    };
    for sub in matches.plain() {
        one(sub, &mut routed);
    }
    for queue in matches.queues() {
        let start = if queue.len() > 1 { rand::rng().random_range(0..queue.len()) } else { 0 };
        for sub in queue.members_from(start) {
            if one(sub, &mut routed) {
                break;
            }
        }
    }
    routed.relay(relays, msg, touched);
    routed
}

/// Whether receivers have room for more, as far as the engine has to care: every plain subscription, and of each
/// queue group one member. `starved` tells whether a connection has none.
pub(crate) fn has_room(matches: &Matches<Subscription>, starved: impl Fn(&dyn Receiver) -> bool) -> bool {
    let full = |sub: &Arc<Subscription>| match sub.target() {
        Target::Receiver(receiver) | Target::Relay(receiver) => starved(&**receiver),
        Target::Shadowed(shadowed) => match &shadowed.to {
            Importer::Receiver(receiver) => starved(&**receiver),
            Importer::Stream(_) => false,
        },
        Target::Stream(_) | Target::Service(_) | Target::Responses(_) => false,
    };
    !matches.plain().any(full) && !matches.queues().any(|queue| queue.members_from(0).all(full))
}

#[inline(always)]
fn give<'m>(
    sub: &'m Arc<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    capture: &mut impl FnMut(&Arc<Stream>, &OutMsg<'_>),
    routed: &mut Routed,
    relays: &mut Relays<'m>,
) -> bool {
    let receiver = match sub.target() {
        Target::Stream(stream) => {
            sub.count();
            capture(stream, msg);
            routed.delivered = true;
            return true;
        }
        Target::Receiver(receiver) => receiver,
        Target::Relay(_) => {
            if !is_echo(origin, sub) {
                relays.add(sub);
            }
            return false;
        }
        Target::Shadowed(shadowed) => {
            return give_shadowed(shadowed, sub, origin, msg, touched, capture, routed);
        }
        Target::Service(service) => {
            sub.count();
            routed.crossings.push(Crossing::Request(Arc::clone(service)));
            return true;
        }
        Target::Responses(responses) => {
            sub.count();
            routed.crossings.push(Crossing::Answer(Arc::clone(responses)));
            return true;
        }
    };
    give_receiver(receiver, sub, origin, msg, touched, routed)
}

/// Gives a message to who imports it, under the subject that it has there. One that is delivered for another
/// subject than its own, as those of streams are, keeps that. It does not count for the number of messages after which the
/// subscription is to end (nats-server v2.15.2, observed).
#[cold]
fn give_shadowed(
    shadowed: &Shadowed,
    sub: &Arc<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    capture: &mut impl FnMut(&Arc<Stream>, &OutMsg<'_>),
    routed: &mut Routed,
) -> bool {
    if let Origin::Crossed(_) = origin {
        return false;
    }
    sub.count();
    let mut renamed = Vec::new();
    shadowed.import.rename(msg.to, &mut renamed);
    let subject = if msg.subject == msg.to { &renamed } else { msg.subject };
    match &shadowed.to {
        Importer::Receiver(receiver) => {
            give_receiver(receiver, sub, origin, &OutMsg { subject, ..*msg }, touched, routed)
        }
        Importer::Stream(stream) => {
            capture(stream, &OutMsg { to: &renamed, subject, ..*msg });
            routed.delivered = true;
            true
        }
    }
}

#[inline(always)]
fn give_receiver(
    receiver: &Arc<dyn Receiver>,
    sub: &Arc<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    routed: &mut Routed,
) -> bool {
    let queued = offer(receiver, sub, origin, msg, touched);
    routed.note(queued, receiver);
    queued.is_accepted()
}

/// Offers a message to a connection.
#[inline(always)]
fn offer(
    receiver: &Arc<dyn Receiver>,
    sub: &Arc<Subscription>,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    touched: &Touched,
) -> Queued {
    // Where it lies behind the counts of its `Arc` is worked out once.
    let target = &**receiver;
    let is_own = matches!(origin, Origin::Receiver(sender) | Origin::Crossed(Some(sender)) if std::ptr::addr_eq(sender, target));
    let receipt = target.deliver(sub, msg, is_own, touched.thread());
    touched.note(receipt, receiver, sub);
    receipt.queued
}

/// What became of a message of the server's own that only one connection listens for.
pub(crate) enum ForOne {
    /// It waits for the connection's next flush, or was not taken.
    Done(bool),
    /// The connection is filling up, or others listen too.
    Routed(Routed),
}

/// As [`route`] of a message of the server's own, by a shorter way where one connection gets it and nobody else, as most
/// answers.
#[inline(always)]
pub(crate) fn route_answer(
    matches: &Matches<Subscription>,
    msg: &OutMsg<'_>,
    touched: &Touched,
    capture: impl FnMut(&Arc<Stream>, &OutMsg<'_>),
) -> ForOne {
    let Some(sub) = matches.only() else {
        return ForOne::Routed(route(matches, Origin::Server, msg, touched, capture));
    };
    let Target::Receiver(receiver) = sub.target() else {
        return ForOne::Routed(route(matches, Origin::Server, msg, touched, capture));
    };
    match offer(receiver, sub, Origin::Server, msg, touched) {
        Queued::Waiting => ForOne::Done(true),
        Queued::Closed | Queued::Overflowed => ForOne::Done(false),
        queued => {
            let mut routed = Routed::default();
            routed.note(queued, receiver);
            ForOne::Routed(routed)
        }
    }
}

impl Routed {
    /// Sends a message to other servers.
    #[inline(always)]
    fn relay(&mut self, relays: Relays<'_>, msg: &OutMsg<'_>, touched: &Touched) {
        if relays.are_none() {
            return;
        }
        relays.send(msg, touched.thread(), |receipt, receiver, sub| {
            touched.note(receipt, receiver, sub);
            self.note(receipt.queued, receiver);
        });
    }

    /// Notes what became of the message at a connection.
    #[inline(always)]
    fn note(&mut self, queued: Queued, receiver: &Arc<dyn Receiver>) {
        match queued {
            Queued::Closed | Queued::Overflowed => return,
            Queued::Waiting => {}
            // Who has to be waited for stays known, whoever else is filling up.
            Queued::Pressured | Queued::Stuck if self.stalling => {}
            Queued::Pressured | Queued::Stalling | Queued::Stuck => {
                self.stalling = queued != Queued::Pressured;
                self.pressured = Some(Arc::clone(receiver));
            }
        }
        self.delivered = true;
        self.sent_msgs += 1;
    }
}
