//! How a stream takes in what its origins send (`origin/`).
//!
//! Whoever delivers only queues ([`Stream::hear`]); one thread at a time takes it in ([`Stream::receive`]), a bounded part
//! under the stream's lock, and does without the lock what the origins want done: subscribe, publish. Answers to flow control
//! leave behind the commit of what they say was taken.

use super::{Inner, Stream};
use crate::clock::WallNs;
use crate::message::OutMsg;
use crate::origin::{Act, Heard, Held, Here, Origins, Positions, Told, channel_of, encode, recover};
use crate::outbox::Outbox;

/// Messages that are taken in under one hold of the lock.
const TURN_MSGS: usize = 256;

impl Stream {
    /// Takes something that came on a subscription of the stream's own ([`Host::listen`](crate::Host::listen)). Only queues it: a gate may be
    /// held.
    pub fn hear(&self, channel: u64, msg: &OutMsg<'_>) {
        if self.inbox.push(channel, msg) {
            self.call_receiver();
        }
    }

    /// Has what the origins want done soon.
    pub(crate) fn wake_receiver(&self) {
        if self.inbox.wake() {
            self.call_receiver();
        }
    }

    fn call_receiver(&self) {
        if let Some(me) = self.me.upgrade() {
            self.world.host.receive_later(&me);
        }
    }

    /// Takes in what came from the stream's origins, and does what they want done. The host calls it some time after
    /// [`Host::receive_later`](crate::Host::receive_later), on a thread that may block, without any lock.
    pub fn receive(&self) {
        if !self.inbox.begin() {
            return;
        }
        let mut msgs = Outbox::new();
        while self.inbox.take(&mut msgs) {
            let mut coming = msgs.iter();
            loop {
                let more = self.receive_part(&mut coming);
                self.world.host.end_turn();
                if !more {
                    break;
                }
            }
            drop(coming);
            msgs.clear();
        }
    }

    /// Takes in a part. Says whether there may be more.
    fn receive_part<'m>(&self, coming: &mut impl Iterator<Item = OutMsg<'m>>) -> bool {
        let host = &*self.world.host;
        let mut inner = self.lock();
        let mut settles = false;
        let mut more = true;
        let mut rolling = None;
        inner.begin_receive();
        for _ in 0..TURN_MSGS {
            let Some(msg) = coming.next() else {
                more = false;
                break;
            };
            settles |= inner.take_in(&msg);
            rolling = inner.take_rolling();
            if rolling.is_some() {
                break;
            }
        }
        let acts = inner.origins.take_acts();
        let settles = settles && inner.syncs_always();
        match rolling {
            Some(rolling) => self.roll_up_slices(inner, &rolling),
            None => drop(inner),
        }
        if settles {
            self.commit_now(host);
        } else {
            self.commit(host);
        }
        acts.iter().for_each(|act| self.perform(act));
        more
    }

    fn perform(&self, act: &Act) {
        let host = &*self.world.host;
        match act {
            Act::Listen { channel, subject } => {
                if let Some(me) = self.me.upgrade() {
                    host.listen(&me, *channel, subject.as_bytes());
                }
            }
            Act::Unlisten { channel } => host.unlisten(self, *channel),
            Act::Publish { subject, reply, headers, payload } => {
                let subject = subject.as_bytes();
                host.publish(
                    self.account.id,
                    OutMsg { to: subject, subject, reply: reply.as_bytes(), headers, payload },
                );
            }
            Act::AnswerGets { of, answer } => self.account.mirrors.set(of, &self.me, *answer),
            Act::Warn(text) => tracing::warn!("{text}"),
        }
    }

    /// Goes on taking from others what it took before [`end_origins`](Self::end_origins).
    pub(crate) fn resume_origins(&self) {
        self.lock().recover_origins();
        self.wake_receiver();
    }

    /// The ways to its origins may be open again: those that are not read are asked soon.
    pub(crate) fn hurry_origins(&self) {
        let mut inner = self.lock();
        if inner.origins.is_empty() {
            return;
        }
        inner.with_origins(Origins::hurry);
        drop(inner);
        self.wake_receiver();
    }

    /// Ends what the stream takes from others; with `delete` also the consumers that it made. What is to be done for that
    /// is done at once.
    pub(crate) fn end_origins(&self, delete: bool) {
        let mut inner = self.lock();
        inner.origins.end(delete);
        let acts = inner.origins.take_acts();
        drop(inner);
        acts.iter().for_each(|act| self.perform(act));
    }
}

impl Inner {
    /// The stream as its origins know it.
    fn here(&self) -> Here<'_> {
        let totals = self.store.totals();
        let needs_time = self.config.mirror.is_none();
        let last_ns = if needs_time { self.store.state().last_ts_ns } else { 0 };
        Here {
            stream: &self.config.name,
            account: &self.account.name,
            domain: &self.world.config.domain,
            now: self.now.elapsed(),
            held: Held {
                msgs: totals.msgs,
                first_seq: totals.first_seq,
                last_seq: totals.last_seq,
                last: (last_ns != 0).then(|| WallNs::from_ns(last_ns)),
            },
            random: self.world.ids.seed(),
        }
    }

    /// Calls `work` with the origins, and what they know of the stream.
    fn with_origins<R>(&mut self, work: impl FnOnce(&mut Origins, &Here<'_>) -> R) -> R {
        let mut origins = std::mem::take(&mut self.origins);
        let result = work(&mut origins, &self.here());
        self.origins = origins;
        result
    }

    /// Finds out where the origins stand by what is stored.
    pub(super) fn recover_origins(&mut self) {
        // It looks at all that is stored where a source is new.
        let _holding = self.busy.begin();
        if self.config.mirror.is_none() && self.config.sources.is_empty() {
            return;
        }
        let (config, noted) = (self.config.clone(), self.store.noted_positions());
        let found = recover(&config, &mut *self.store, noted.as_deref()).unwrap_or_else(|error| {
            tracing::error!(stream = %config.name, %error, "cannot tell where all sources stand");
            Default::default()
        });
        self.with_origins(|origins, here| origins.adopt(&config, (&found.positions, &found.told), here));
        if found.is_misled {
            self.note_positions();
        }
    }

    /// The configuration is another one.
    pub(super) fn adopt_origins(&mut self) {
        let has_origins = self.config.mirror.is_some() || !self.config.sources.is_empty();
        if !has_origins && self.origins.is_empty() {
            return;
        }
        self.recover_origins();
        if !has_origins {
            let config = self.config.clone();
            self.with_origins(|origins, here| {
                origins.adopt(&config, (&Positions::new(), &Told::new()), here)
            });
        }
    }

    /// What was stored was taken back.
    pub(super) fn origins_go_back(&mut self) {
        if self.origins.is_empty() {
            return;
        }
        let (config, noted) = (self.config.clone(), self.store.noted_positions());
        match recover(&config, &mut *self.store, noted.as_deref()) {
            Ok(found) => {
                self.with_origins(|origins, here| origins.taken_back((&found.positions, &found.told), here))
            }
            Err(error) => {
                tracing::error!(stream = %config.name, %error, "cannot tell where all sources stand");
            }
        }
    }

    /// Messages go. Where one of them is all that tells where a source stands, that is noted elsewhere.
    pub(super) fn origins_lose(&mut self, goes: impl Fn(&Self, u64) -> bool) {
        if !self.origins.is_empty() && self.origins.are_told_by(|seq| goes(self, seq)) {
            self.note_positions();
        }
    }

    fn note_positions(&mut self) {
        let positions = self.origins.positions();
        let through_seq = self.store.totals().last_seq + 1;
        let noted = encode(&positions, through_seq);
        let noted = self.store.note_positions(&noted, self.syncs_always());
        match noted {
            Ok(()) => self.origins.are_noted(),
            Err(error) => {
                tracing::error!(stream = %self.config.name, %error, "cannot note where sources stand");
            }
        }
    }

    /// Notes where the sources stand, for a fast start.
    pub(super) fn close_origins(&mut self) {
        if !self.config.sources.is_empty() {
            self.note_positions();
        }
    }

    fn begin_receive(&mut self) {
        self.with_origins(|origins, here| {
            origins.is_called = false;
            origins.tick(here);
        });
    }

    /// Whether the origins have something to do. They are called once for it.
    pub(super) fn calls_receiver(&mut self) -> bool {
        let is_due = self.origins.deadline().is_some_and(|at| at <= self.now.elapsed());
        self.origins.is_called |= is_due;
        is_due
    }

    /// Takes in one message. Says whether what is to be done then says that all before it is taken.
    fn take_in(&mut self, msg: &OutMsg<'_>) -> bool {
        if !self.takes_more() {
            return false;
        }
        let heard = self.with_origins(|origins, here| origins.hear(channel_of(msg), msg, here));
        match heard {
            Heard::Nothing => {}
            Heard::Settle => return true,
            Heard::SkipTo(seq) => self.skip_to(seq),
            Heard::Store(brought) => {
                if !self.store_brought(&brought) {
                    self.with_origins(|origins, here| origins.refused(brought.of, here));
                }
            }
        }
        false
    }
}
