//! A restore: pieces of a backup come, and a stream stands at the end.

use super::advisory::Advisor;
use super::intake::{Intake, Site};
use super::{Job, RESTORE, RestoreError, time_since};
use crate::client::ClientInfo;
use crate::clock::Deadline;
use crate::clock::ElapsedNs;
use crate::config::StreamConfig;
use crate::engine::Engine;
use crate::engine::account::Account;
use crate::error::ApiError;
use crate::message::{AccountId, OutMsg};
use crate::stream::Stream;
use crate::stream::world::World;
use jetkv_go_compat::{GoTime, friendly_bytes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A restore of which nothing came for so long is given up (nats-server v2.15.2).
const STALLED_NS: u64 = 5_000_000_000;
/// Pieces that may wait, bytes. A client that waits for its answers has one.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How the end of a restore is told: the API words it.
#[derive(Clone, Copy)]
pub(crate) struct RestoreWording {
    /// The advisory that the stream was created.
    pub(crate) created: fn(&World, &str) -> Vec<u8>,
    /// The last answer: what stands now, or why nothing does.
    pub(crate) end: fn(&World, Result<&Arc<Stream>, &ApiError>) -> Vec<u8>,
}

/// A restore that is going on.
pub(crate) struct RestoreJob {
    wording: RestoreWording,
    me: Weak<Self>,
    engine: Weak<Engine>,
    world: Arc<World>,
    account: Arc<Account>,
    stream: String,
    client: ClientInfo,
    /// Where its pieces come.
    subject: Box<[u8]>,
    start: GoTime,
    inbox: Mutex<Inbox>,
    /// Held while a piece is taken in; empty once the restore has ended.
    intake: Mutex<Taking>,
}

/// What has become of what came.
enum Taking {
    Good(Box<Intake>),
    /// It cannot be restored. As with nats-server, what comes still is answered as if it could, and the end tells.
    Failed(RestoreError),
    Ended,
}

struct Inbox {
    pieces: VecDeque<Piece>,
    waiting_bytes: usize,
    /// Whether somebody takes pieces in, or is about to.
    busy: bool,
    ended: bool,
    deadline: ElapsedNs,
    taken_bytes: u64,
    progress: (u64, u64),
}

struct Piece {
    reply: Box<[u8]>,
    bytes: Box<[u8]>,
}

impl RestoreJob {
    /// Begins a restore of a stream whose configuration was checked.
    pub(crate) fn begin(
        engine: &Engine,
        account: &Arc<Account>,
        config: StreamConfig,
        client: &ClientInfo,
        wording: RestoreWording,
    ) -> Arc<Self> {
        let world = Arc::clone(&engine.world);
        let name = config.name.clone();
        let subject =
            [RESTORE, name.as_bytes(), b".", world.ids.next().as_bytes()].concat().into_boxed_slice();
        let deadline = world.clock.elapsed().plus(STALLED_NS);
        let site = Site {
            world: Arc::clone(&world),
            account: Arc::clone(account),
            storage: engine.storage.clone(),
            config,
            image: None,
        };
        let job = Arc::new_cyclic(|me| Self {
            wording,
            me: Weak::clone(me),
            engine: Weak::clone(&engine.me),
            account: Arc::clone(account),
            client: client.clone(),
            start: world.now_time(),
            stream: name,
            subject,
            inbox: Mutex::new(Inbox {
                pieces: VecDeque::new(),
                waiting_bytes: 0,
                busy: false,
                ended: false,
                deadline,
                taken_bytes: 0,
                progress: (0, 0),
            }),
            intake: Mutex::new(Taking::Good(Box::new(Intake::new(site)))),
            world,
        });
        tracing::info!("Starting restore for stream '{} > {}'", account.share.name, job.stream);
        job.advisor().restore_begun();
        engine.jobs.insert(job.account(), &job.subject, Job::Restore(Arc::clone(&job)));
        job.world.host.wake_at(Deadline::Elapsed(deadline));
        job
    }

    /// Where the pieces are to be sent.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(super) fn account(&self) -> AccountId {
        self.account.share.id
    }

    fn advisor(&self) -> Advisor<'_> {
        Advisor { world: &self.world, account: self.account(), stream: &self.stream, client: &self.client }
    }

    pub(super) fn progress(&self) -> super::BackupProgress {
        let inbox = self.inbox.lock();
        let (bytes, (seq, last_seq)) = (inbox.taken_bytes, inbox.progress);
        super::BackupProgress {
            account: self.account(),
            stream: self.stream.clone(),
            restores: true,
            bytes,
            seq,
            last_seq,
        }
    }

    /// Takes a piece; an empty one says that there are no more. Says whether the restore still takes any.
    pub(super) fn take(&self, reply: &[u8], bytes: &[u8]) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.ended {
            return false;
        }
        inbox.deadline = self.world.clock.elapsed().plus(STALLED_NS);
        inbox.waiting_bytes += bytes.len();
        inbox.pieces.push_back(Piece { reply: reply.into(), bytes: bytes.into() });
        if !std::mem::replace(&mut inbox.busy, true) {
            drop(inbox);
            self.later(Self::take_in);
        }
        true
    }

    fn later(&self, work: fn(&Self)) {
        let Some(me) = self.me.upgrade() else { return };
        self.world.host.run_later(Box::new(move || work(&me)));
    }

    /// Takes in what waits.
    fn take_in(&self) {
        let mut intake = self.intake.lock();
        loop {
            let mut inbox = self.inbox.lock();
            let too_much = inbox.waiting_bytes > WAITING_BYTES_MAX;
            let Some(piece) = inbox.pieces.pop_front().filter(|_| !inbox.ended) else {
                inbox.busy = false;
                return;
            };
            inbox.waiting_bytes -= piece.bytes.len();
            drop(inbox);
            let refused = self.check(&piece, too_much);
            if refused.is_some() || piece.bytes.is_empty() {
                // What comes next comes after the end.
                self.remove();
                let taken = std::mem::replace(&mut *intake, Taking::Ended);
                let outcome = match (refused, taken) {
                    // Nothing is left before anyone hears of it.
                    (Some(error), taken) => {
                        drop(taken);
                        Err(error)
                    }
                    (None, Taking::Good(intake)) => self.place(*intake),
                    (None, Taking::Failed(error)) => Err(error),
                    (None, Taking::Ended) => return,
                };
                return self.end(&piece.reply, outcome);
            }
            if let Taking::Good(good) = &mut *intake
                && let Err(error) = good.push(&piece.bytes)
            {
                *intake = Taking::Failed(error);
            }
            let progress = match &*intake {
                Taking::Good(good) => good.progress(),
                _ => (0, 0),
            };
            self.answer(&piece, progress);
        }
    }

    /// What makes an end of the restore at once.
    fn check(&self, piece: &Piece, too_much: bool) -> Option<RestoreError> {
        let what = match piece.reply.is_empty() {
            _ if too_much => "is sent more than is waited for",
            true => "requires reply subject for each chunk",
            false => return None,
        };
        let text = format!("restore for stream '{} > {}' {what}", self.account.share.name, self.stream);
        tracing::warn!("{text}");
        Some(RestoreError::text(text))
    }

    fn answer(&self, piece: &Piece, progress: (u64, u64)) {
        let mut inbox = self.inbox.lock();
        inbox.taken_bytes += piece.bytes.len() as u64;
        inbox.progress = progress;
        inbox.deadline = self.world.clock.elapsed().plus(STALLED_NS);
        drop(inbox);
        self.send(&piece.reply, b"");
        self.world.host.end_turn();
    }

    fn send(&self, to: &[u8], payload: &[u8]) {
        if !to.is_empty() {
            self.world
                .host
                .deliver(self.account(), OutMsg { to, subject: to, reply: b"", headers: b"", payload });
        }
    }

    fn place(&self, intake: Intake) -> Result<Arc<Stream>, RestoreError> {
        let restored = intake.finish()?;
        let engine = self.engine.upgrade().ok_or_else(|| RestoreError::text("server shutting down"))?;
        engine.place(&self.account, restored)
    }

    /// Tells how it ended.
    fn end(&self, reply: &[u8], outcome: Result<Arc<Stream>, RestoreError>) {
        let bytes = self.inbox.lock().taken_bytes;
        let shown = friendly_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        let full_name = format!("{} > {}", self.account.share.name, self.stream);
        let took = time_since(&self.world, self.start);
        let advisor = self.advisor();
        let response = match outcome {
            Ok(stream) => {
                advisor.send("CREATED", &(self.wording.created)(&self.world, &self.stream));
                let took = took.rounded(Duration::from_millis(1));
                tracing::info!("Completed restore of {shown} for stream '{full_name}' in {took}");
                (self.wording.end)(&self.world, Ok(&stream))
            }
            Err(error) => {
                let error = error.told(&self.account.share.name);
                tracing::warn!("Restore failed for {shown} for stream '{full_name}' in {took}");
                (self.wording.end)(&self.world, Err(&error))
            }
        };
        advisor.restore_ended(self.start, bytes);
        self.send(reply, &response);
        self.world.host.end_turn();
    }

    /// Takes no pieces from here on.
    fn remove(&self) {
        let mut inbox = self.inbox.lock();
        inbox.ended = true;
        inbox.pieces.clear();
        drop(inbox);
        if let Some(engine) = self.engine.upgrade() {
            engine.jobs.remove(self.account(), &self.subject);
        }
    }

    /// Gives it up where nothing came for too long; says when to look again. As with nats-server, nobody is told.
    pub(super) fn tick(&self, now: ElapsedNs) -> Option<ElapsedNs> {
        let mut inbox = self.inbox.lock();
        if inbox.ended {
            return None;
        }
        if inbox.busy {
            inbox.deadline = now.plus(STALLED_NS);
        }
        if inbox.deadline > now {
            return Some(inbox.deadline);
        }
        drop(inbox);
        tracing::debug!("restore for stream '{} > {}' is stalled", self.account.share.name, self.stream);
        self.remove();
        self.later(|job| *job.intake.lock() = Taking::Ended);
        None
    }

    pub(super) fn cancel(&self) {
        self.inbox.lock().ended = true;
        *self.intake.lock() = Taking::Ended;
    }
}
