//! Mirrors and sources: what a stream takes from other streams, its *origins*.
//!
//! An origin is read as any client would read it: by requests of the JetStream API and by deliveries of a push consumer, all
//! of which go through the router. So one in the same account, one in another account (imports and exports) and one in
//! another domain are the same code, told apart by the prefixes of `external` alone.
//!
//! This is a state machine without a lock, a thread or a clock of its own. It is told of time (`Origins::tick`), of what
//! came (`Origins::hear`) and of what became of a message that was to be stored (`Origins::stored`,
//! `Origins::refused`); what it wants done outside of the stream's lock it leaves as `Act`s. `stream/receive.rs` drives
//! it. Where a source stands is told by what is stored: by the last sequence of a mirror, by the headers of what came from a
//! source (`position`).

mod answer;
mod inbox;
mod info;
mod mirrors;
mod name;
mod position;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use inbox::{Inbox, channel_of};
pub use info::SourceInfo;
pub(crate) use mirrors::Mirrors;
pub(crate) use position::{Positions, Told, encode, recover};

use crate::clock::{ElapsedNs, WallNs};
use crate::config::StreamConfig;
use crate::message::OutMsg;
use std::borrow::Cow;
use upstream::Upstream;

/// Header that says where a message of a source comes from.
pub(crate) const SOURCE_HEADER: &[u8] = b"Nats-Stream-Source";

/// The world that a stream and its origins live in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) stream: &'a str,
    pub(crate) account: &'a str,
    /// The domain of this server, empty for none.
    pub(crate) domain: &'a str,
    pub(crate) now: ElapsedNs,
    /// What the stream holds.
    pub(crate) held: Held,
    /// A number that nobody can guess, another one each time.
    pub(crate) random: u64,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) msgs: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Time of the last message, if there ever was one.
    pub(crate) last: Option<WallNs>,
}

/// What is to be done without the stream's lock, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Subscribe to `subject`: what comes is heard on `channel`.
    Listen { channel: u64, subject: String },
    /// End that subscription.
    Unlisten { channel: u64 },
    /// Publish, as a client would.
    Publish { subject: String, reply: String, headers: Vec<u8>, payload: Vec<u8> },
    /// Begin, or cease, to answer direct gets of the stream of that name.
    AnswerGets { of: String, answer: bool },
    /// Say something in the log.
    Warn(String),
}

/// A message of an origin, to be stored.
#[derive(Debug)]
pub(crate) struct Brought<'a> {
    /// Of which of the origins, for what becomes of it.
    pub(crate) of: usize,
    pub(crate) subject: Cow<'a, [u8]>,
    pub(crate) headers: Cow<'a, [u8]>,
    pub(crate) payload: &'a [u8],
    /// The sequence that it has in the origin, and, of a mirror, here as well.
    pub(crate) seq: u64,
    /// When a mirror's origin stored it.
    pub(crate) mirrored: Option<WallNs>,
}

/// What came of something that was heard.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    Nothing,
    /// What is to be done now says that all before is taken: it is to be as durable as configured first.
    Settle,
    /// The mirror begins behind this sequence.
    SkipTo(u64),
    Store(Brought<'a>),
}

/// The origins of a stream.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    upstreams: Vec<Upstream>,
    acts: Vec<Act>,
    last_channel: u64,
    /// Somebody was called for what is due, and has not begun.
    pub(crate) is_called: bool,
}

impl Origins {
    /// Goes by a configuration: sources that stay go on, others begin after a moment. `told` says which messages of the
    /// stream tell where its sources stand.
    pub(crate) fn adopt(
        &mut self,
        config: &StreamConfig,
        (positions, told): (&Positions, &Told),
        here: &Here<'_>,
    ) {
        let Self { upstreams, acts, .. } = self;
        let mut old = std::mem::take(upstreams);
        let mirror = config.mirror.iter().map(|mirror| (mirror, true));
        for (source, is_mirror) in mirror.chain(config.sources.iter().map(|source| (source, false))) {
            let index_name = source.index_name();
            let consumer = request::consumer_name(source, is_mirror, config, here);
            let known = old.iter().position(|one| one.is(&index_name, is_mirror)).map(|at| old.remove(at));
            let mut upstream = match known {
                Some(mut kept) => {
                    kept.keep_as(source, consumer);
                    kept
                }
                None => {
                    let position = positions.get(&index_name);
                    let told_at = told.get(&index_name).copied();
                    Upstream::new(source, (consumer, is_mirror), (position, told_at), here)
                }
            };
            upstream.allow_answers(is_mirror && config.mirror_direct, acts);
            upstreams.push(upstream);
        }
        for gone in &mut old {
            gone.end(acts);
            if !upstreams.iter().any(|kept| kept.shares_consumer(gone)) {
                gone.delete_consumer(acts);
            }
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<ElapsedNs> {
        if self.is_called {
            return None;
        }
        if !self.acts.is_empty() {
            return Some(ElapsedNs::default());
        }
        self.upstreams.iter().filter_map(Upstream::deadline).min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, here: &Here<'_>) {
        let Self { upstreams, acts, last_channel, .. } = self;
        for upstream in upstreams {
            upstream.tick(here, last_channel, acts);
        }
    }

    /// The ways to the origins may be open again: those that are not read are asked soon.
    pub(crate) fn hurry(&mut self, here: &Here<'_>) {
        let Self { upstreams, acts, .. } = self;
        upstreams.iter_mut().for_each(|upstream| upstream.hurry(here, acts));
    }

    /// Takes in what came on a channel.
    pub(crate) fn hear<'m>(&mut self, channel: u64, msg: &OutMsg<'m>, here: &Here<'_>) -> Heard<'m> {
        let Self { upstreams, acts, last_channel, .. } = self;
        let Some(of) = upstreams.iter().position(|one| one.listens_on(channel)) else {
            return Heard::Nothing;
        };
        let Some(upstream) = upstreams.get_mut(of) else { return Heard::Nothing };
        match upstream.hear(msg, here, last_channel, acts) {
            Heard::Store(brought) => Heard::Store(Brought { of, ..brought }),
            other => other,
        }
    }

    /// A message of one is about to be stored: the one before does not tell any more where it stands.
    pub(crate) fn storing(&mut self, of: usize) {
        if let Some(upstream) = self.upstreams.get_mut(of) {
            upstream.storing();
        }
    }

    /// A message was stored, as `seq` of this stream; or it was there already.
    pub(crate) fn stored(&mut self, of: usize, seq: Option<u64>) {
        if let Some(upstream) = self.upstreams.get_mut(of) {
            upstream.stored(seq);
        }
    }

    /// A message could not be stored: its origin is asked again for all from there on.
    pub(crate) fn refused(&mut self, of: usize, here: &Here<'_>) {
        if let Some(upstream) = self.upstreams.get_mut(of) {
            upstream.refused(here, &mut self.acts);
        }
    }

    /// What was stored was taken back: everything is asked for again that is behind these positions.
    pub(crate) fn taken_back(&mut self, (positions, told): (&Positions, &Told), here: &Here<'_>) {
        for upstream in &mut self.upstreams {
            let told_at = told.get(upstream.index_name()).copied();
            let position = positions.get(upstream.index_name());
            upstream.go_back_to((position, told_at), here, &mut self.acts);
        }
    }

    /// Ends all of it; with `delete` also the consumers that were made.
    pub(crate) fn end(&mut self, delete: bool) {
        for mut upstream in std::mem::take(&mut self.upstreams) {
            upstream.end(&mut self.acts);
            if delete {
                upstream.delete_consumer(&mut self.acts);
            }
        }
    }

    /// Takes what is to be done.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// What stream information says of the mirror.
    pub(crate) fn mirror_info(&self, now: ElapsedNs) -> Option<SourceInfo> {
        self.upstreams.iter().find(|one| one.is_mirror()).map(|one| one.info(now))
    }

    /// What stream information says of the sources.
    pub(crate) fn sources_info(&self, now: ElapsedNs) -> Vec<SourceInfo> {
        self.upstreams.iter().filter(|one| !one.is_mirror()).map(|one| one.info(now)).collect()
    }

    /// Where the sources stand, as it is kept.
    pub(crate) fn positions(&self) -> Positions {
        let sources = self.upstreams.iter().filter(|one| !one.is_mirror());
        sources.map(|one| (one.index_name().to_owned(), one.position().clone())).collect()
    }

    /// Whether one of the messages in question is the last one of a source: it alone tells where that stands.
    pub(crate) fn are_told_by(&self, goes: impl Fn(u64) -> bool) -> bool {
        self.upstreams.iter().filter_map(Upstream::told_at).any(goes)
    }

    /// Where the sources stand is noted elsewhere: no message has to tell it.
    pub(crate) fn are_noted(&mut self) {
        self.upstreams.iter_mut().for_each(Upstream::is_noted);
    }
}
