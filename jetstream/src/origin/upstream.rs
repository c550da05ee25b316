//! One origin: where it stands, and what it is doing.

mod asking;
mod reading;
mod transforms;

use super::answer::Answer;
use super::name::Position;
use super::request::{self, Start};
use super::{Act, Brought, Heard, Here, SourceInfo};
use crate::clock::ElapsedNs;
use crate::config::StreamSource;
use crate::error::ApiError;
use crate::message::OutMsg;
use transforms::Transforms;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Time between two requests of one upstream.
const RETRY_THRESHOLD_NS: u64 = 2 * SECOND;
/// What a failure adds to that, and twice as much for each more.
const BACKOFF_NS: u64 = 5 * SECOND;
const BACKOFF_MAX_NS: u64 = 120 * SECOND;
/// No two begin at the same time.
const JITTER_NS: u64 = 100 * MS;
/// An origin that was not heard of for so long is asked again.
const SILENT_NS: u64 = 10 * SECOND;
/// How long an answer is waited for: that a consumer was made, and that one was reset.
const CREATE_WAIT_NS: u64 = 30 * SECOND;
const RESET_WAIT_NS: u64 = 5 * SECOND;
/// So often may a consumer say that it waits for the same answer before that is an error.
const STALLS_MAX: u32 = 3;
/// A mirror that lags no more than this answers direct gets.
const NEARLY_THERE: u64 = 10;
/// API levels that a request asks for: with detection of another stream of that name, without, and none at all.
const LEVEL_IDENTITY: u8 = 5;
const LEVEL_SOURCING: u8 = 4;
const LEVEL_NONE: u8 = 0;

/// What an upstream is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// It asks at `at`, or sooner where something is heard on `probe`.
    Waiting { at: ElapsedNs, probe: Option<u64> },
    /// It waits for an answer on `channel` until `until`.
    Asking { channel: u64, until: ElapsedNs, level: u8 },
    /// It gets messages on `channel`.
    Reading { channel: u64 },
    /// It is over.
    Ended,
}

/// One origin of a stream.
#[derive(Debug)]
pub(super) struct Upstream {
    source: StreamSource,
    is_mirror: bool,
    index_name: String,
    /// The name of the consumer that is asked for.
    consumer: String,
    /// The name of the consumer that delivers, as the answer says it.
    reads_from: String,
    transforms: Transforms,
    phase: Phase,
    /// The last sequence of the origin that was taken.
    seq: u64,
    /// The last one of the consumer.
    consumer_seq: u64,
    /// `seq` before the message that is being stored.
    before_seq: u64,
    /// Which of the streams that had the name it is, empty for unknown.
    identity: String,
    /// It is known to be another stream than it was.
    recreated: bool,
    lag: u64,
    error: Option<ApiError>,
    heard: Option<ElapsedNs>,
    asked: Option<ElapsedNs>,
    fails: u32,
    /// What the consumer waits for an answer to, and how often it said so.
    stalled_on: Vec<u8>,
    stalls: u32,
    /// Where it stands by what is stored, and the message of this stream that tells it.
    stored: Position,
    told_at: Option<u64>,
    told_before: (u64, Option<u64>),
    /// Whether a mirror is to answer direct gets of its origin, and whether it does.
    may_answer: bool,
    answers: bool,
}

impl Upstream {
    /// One that begins in a moment.
    pub(super) fn new(
        source: &StreamSource,
        (consumer, is_mirror): (String, bool),
        (position, told_at): (Option<&Position>, Option<u64>),
        here: &Here<'_>,
    ) -> Self {
        let stored = position.cloned().unwrap_or_default();
        let mut upstream = Self {
            source: source.clone(),
            is_mirror,
            index_name: source.index_name(),
            consumer,
            reads_from: String::new(),
            transforms: Transforms::new(&source.subject_transforms, here.stream),
            phase: Phase::Ended,
            seq: if is_mirror { here.held.last_seq } else { stored.seq },
            consumer_seq: 0,
            before_seq: 0,
            identity: stored.identity.clone(),
            recreated: false,
            lag: 0,
            error: None,
            heard: None,
            asked: None,
            fails: 0,
            stalled_on: Vec::new(),
            stalls: 0,
            stored,
            told_at,
            told_before: (0, None),
            may_answer: false,
            answers: false,
        };
        upstream.wait(here);
        upstream
    }

    /// Whether it is that mirror or source.
    pub(super) fn is(&self, index_name: &str, is_mirror: bool) -> bool {
        self.is_mirror == is_mirror && self.index_name == index_name
    }

    pub(super) fn is_mirror(&self) -> bool {
        self.is_mirror
    }

    pub(super) fn index_name(&self) -> &str {
        &self.index_name
    }

    /// Takes over what a configuration says that may change without a new beginning.
    pub(super) fn keep_as(&mut self, source: &StreamSource, consumer: String) {
        self.source = source.clone();
        self.consumer = consumer;
    }

    /// Whether the consumer that it asks for is the same one.
    pub(super) fn shares_consumer(&self, other: &Self) -> bool {
        let external = |one: &Self| one.source.external.as_ref().map(|external| external.api.clone());
        self.consumer == other.consumer
            && self.source.name == other.source.name
            && external(self) == external(other)
            && self.source.consumer.is_none()
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<ElapsedNs> {
        match self.phase {
            Phase::Waiting { at, .. } => Some(at),
            Phase::Asking { until, .. } => Some(until),
            Phase::Reading { .. } => Some(self.heard.unwrap_or_default().plus(SILENT_NS)),
            Phase::Ended => None,
        }
    }

    /// Whether what comes on a channel is for it.
    pub(super) fn listens_on(&self, on: u64) -> bool {
        self.channel() == Some(on)
    }

    fn channel(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { probe, .. } => probe,
            Phase::Asking { channel, .. } | Phase::Reading { channel } => Some(channel),
            Phase::Ended => None,
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, here: &Here<'_>, last_channel: &mut u64, acts: &mut Vec<Act>) {
        if self.deadline().is_none_or(|at| at > here.now) {
            return;
        }
        match self.phase {
            Phase::Waiting { .. } => self.ask(here, last_channel, acts),
            Phase::Asking { .. } => self.give_up(here, last_channel, acts),
            Phase::Reading { .. } => self.begin_again(here, acts),
            Phase::Ended => {}
        }
    }

    /// Takes in what came.
    pub(super) fn hear<'m>(
        &mut self,
        msg: &OutMsg<'m>,
        here: &Here<'_>,
        last_channel: &mut u64,
        acts: &mut Vec<Act>,
    ) -> Heard<'m> {
        match self.phase {
            Phase::Waiting { .. } => {
                // A consumer that is heard of lives: no need to wait any longer.
                if std::mem::take(&mut self.fails) > 0 {
                    self.stop_listening(acts);
                    self.wait(here);
                }
                Heard::Nothing
            }
            Phase::Asking { level, .. } => self.answered(msg, level, here, last_channel, acts),
            Phase::Reading { .. } => self.read(msg, here, acts),
            Phase::Ended => Heard::Nothing,
        }
    }

    /// Waits until it may ask.
    fn wait(&mut self, here: &Here<'_>) {
        let since = self.asked.map_or(RETRY_THRESHOLD_NS, |asked| here.now.since(asked));
        let backoff = BACKOFF_NS.saturating_mul(u64::from(self.fails) * 2).min(BACKOFF_MAX_NS);
        let jitter = JITTER_NS + here.random % JITTER_NS;
        let at = here.now.plus(RETRY_THRESHOLD_NS.saturating_sub(since) + backoff + jitter);
        self.phase = Phase::Waiting { at, probe: None };
    }

    /// Asks again for all that is not stored.
    fn begin_again(&mut self, here: &Here<'_>, acts: &mut Vec<Act>) {
        self.stop_listening(acts);
        self.wait(here);
    }

    /// The way to its origin may be open again: unless it reads, it asks soon, however often that failed. What it asked may have
    /// been lost on the way.
    pub(super) fn hurry(&mut self, here: &Here<'_>, acts: &mut Vec<Act>) {
        let reads = matches!(self.phase, Phase::Reading { .. }) && self.deadline() > Some(here.now);
        if !reads && self.phase != Phase::Ended {
            self.fails = 0;
            self.begin_again(here, acts);
        }
    }

    fn stop_listening(&mut self, acts: &mut Vec<Act>) {
        acts.extend(self.channel().map(|channel| Act::Unlisten { channel }));
        self.phase = Phase::Ended;
    }

    /// Goes back to where the stream stands by what it holds.
    pub(super) fn go_back_to(
        &mut self,
        (position, told_at): (Option<&Position>, Option<u64>),
        here: &Here<'_>,
        acts: &mut Vec<Act>,
    ) {
        self.stored = position.cloned().unwrap_or_default();
        self.told_at = told_at;
        self.seq = if self.is_mirror { here.held.last_seq } else { self.stored.seq };
        self.begin_again(here, acts);
    }

    /// The message that was taken is about to be stored: it tells where the source stands.
    pub(super) fn storing(&mut self) {
        self.told_before = (self.stored.seq, self.told_at.take());
        self.stored.seq = self.seq;
        if self.stored.identity != self.identity {
            self.stored.identity.clone_from(&self.identity);
        }
    }

    /// It was stored, as `told_at` of this stream; or nothing of it had to be.
    pub(super) fn stored(&mut self, told_at: Option<u64>) {
        match told_at {
            Some(_) => self.told_at = told_at,
            None => (self.stored.seq, self.told_at) = self.told_before,
        }
    }

    /// A message could not be stored.
    pub(super) fn refused(&mut self, here: &Here<'_>, acts: &mut Vec<Act>) {
        (self.stored.seq, self.told_at) = self.told_before;
        self.seq = if self.is_mirror { here.held.last_seq } else { self.before_seq };
        self.begin_again(here, acts);
    }

    /// Ends it.
    pub(super) fn end(&mut self, acts: &mut Vec<Act>) {
        self.stop_listening(acts);
        self.allow_answers(false, acts);
    }

    /// Has the consumer at the origin deleted, unless somebody made it.
    pub(super) fn delete_consumer(&self, acts: &mut Vec<Act>) {
        if self.source.consumer.is_none() {
            let subject = request::delete(&self.source, &self.consumer);
            acts.push(Act::Publish {
                subject,
                reply: String::new(),
                headers: Vec::new(),
                payload: Vec::new(),
            });
        }
    }

    /// Whether the mirror answers direct gets of its origin, once it has nearly caught up.
    pub(super) fn allow_answers(&mut self, allowed: bool, acts: &mut Vec<Act>) {
        self.may_answer = allowed;
        if !allowed && std::mem::take(&mut self.answers) {
            acts.push(Act::AnswerGets { of: self.source.name.clone(), answer: false });
        }
    }

    /// As [`allow_answers`](Self::allow_answers), without waiting for that.
    pub(super) fn answer_now(&mut self, acts: &mut Vec<Act>) {
        if self.may_answer && !std::mem::replace(&mut self.answers, true) {
            acts.push(Act::AnswerGets { of: self.source.name.clone(), answer: true });
        }
    }

    /// Where it stands by what is stored.
    pub(super) fn position(&self) -> &Position {
        &self.stored
    }

    /// The message of this stream that tells it, where there is one.
    pub(super) fn told_at(&self) -> Option<u64> {
        self.told_at
    }

    /// It is noted elsewhere.
    pub(super) fn is_noted(&mut self) {
        self.told_at = None;
    }

    /// Where the next consumer begins.
    fn start(&self, here: &Here<'_>) -> Start {
        let seq = self.seq.saturating_add(1);
        let is_first =
            if self.is_mirror { here.held.msgs == 0 && here.held.first_seq == 0 } else { seq <= 1 };
        Start { seq, is_first, recreated: self.recreated }
    }

    /// What stream information says of it.
    pub(super) fn info(&self, now: ElapsedNs) -> SourceInfo {
        let is_told = !self.is_mirror && !self.recreated;
        let is_same = self.stored.identity.is_empty() || self.stored.identity == self.identity;
        SourceInfo {
            name: self.source.name.clone(),
            external: self.source.external.clone(),
            lag: self.lag,
            seq: if is_told && is_same { self.stored.seq } else { 0 },
            active_ns: self.heard.map_or(-1, |heard| i64::try_from(now.since(heard)).unwrap_or(i64::MAX)),
            error: self.error.clone(),
            // Of a mirror it is shown once it was asked for (nats-server v2.15.2, observed).
            filter_subject: if self.is_mirror && self.asked.is_none() {
                String::new()
            } else {
                self.source.filter_subject.clone()
            },
            subject_transforms: self.source.subject_transforms.clone(),
        }
    }
}
