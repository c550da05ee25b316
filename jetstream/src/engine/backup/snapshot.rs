//! A backup: pieces of it go to a client, which acknowledges each.

use super::advisory::Advisor;
use super::source::Source;
use super::{ACK, BackupProgress, Job, time_since};
use crate::client::ClientInfo;
use crate::clock::{Deadline, ElapsedNs};
use crate::engine::Engine;
use crate::message::{AccountId, OutMsg};
use crate::settings::SyncPolicy;
use crate::stream::world::World;
use crate::stream::{Stream, StreamState};
use jetkv_go_compat::{GoTime, friendly_bytes};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Sizes, in bytes, that a request may leave open, and their bounds (nats-server v2.15.2).
const PIECE_BYTES: i64 = 128 << 10;
const PIECE_BYTES_MAX: i64 = 1 << 20;
const WINDOW_BYTES: i64 = 8 << 20;
const WINDOW_BYTES_MAX: i64 = 32 << 20;
const BYTES_MIN: i64 = 1 << 10;
/// A subscription may come so much later than the request.
const INTEREST_NS: u64 = 2_000_000_000;
/// Acknowledgements may stay away for so long.
const STALLED_NS: u64 = 5_000_000_000;

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotRequest {
    /// Where the pieces go.
    pub(crate) deliver_subject: String,
    /// Whether consumers stay out of it.
    pub(crate) no_consumers: bool,
    /// Size of a piece, bytes; 0 leaves it open.
    pub(crate) chunk_size: i64,
    /// Pieces that may be under way, in bytes; 0 leaves it open.
    pub(crate) window_size: i64,
    /// Whether to look at all checksums, which is done in any case.
    pub(crate) check_messages: bool,
}

impl SnapshotRequest {
    /// Size of a piece, and how many may be under way.
    fn sizes(&self) -> (usize, usize) {
        let or = |value: i64, default: i64| if value == 0 { default } else { value };
        let piece = or(self.chunk_size, PIECE_BYTES).clamp(BYTES_MIN, PIECE_BYTES_MAX);
        let window = or(self.window_size, WINDOW_BYTES).clamp(BYTES_MIN, WINDOW_BYTES_MAX).max(piece);
        let size = |value: i64| usize::try_from(value).unwrap_or(1);
        (size(piece), size(window / piece))
    }
}

/// A backup that is being made.
pub(crate) struct SnapshotJob {
    me: Weak<Self>,
    engine: Weak<Engine>,
    world: Arc<World>,
    account_name: String,
    stream: Arc<Stream>,
    client: ClientInfo,
    deliver: Box<[u8]>,
    /// Where acknowledgements come, without size and number of the piece.
    ack: Box<[u8]>,
    piece_bytes: usize,
    window: usize,
    start: GoTime,
    bytes: u64,
    control: Mutex<Control>,
    /// Held while a piece is read and sent.
    source: Mutex<Option<Source>>,
}

struct Control {
    /// Pieces that may be sent.
    slots: usize,
    /// Whether it began to send.
    sends: bool,
    /// Whether somebody subscribed to the deliver subject itself: then it ends when nobody does any more.
    has_interest: bool,
    /// Whether somebody sends, or is about to.
    busy: bool,
    ended: bool,
    deadline: ElapsedNs,
    sent: u64,
    sent_bytes: u64,
    progress: (u64, u64),
}

impl SnapshotJob {
    /// Prepares a backup of what the stream holds now. It goes its way with [`SnapshotJob::start`].
    pub(crate) fn new(
        engine: &Engine,
        stream: &Arc<Stream>,
        state: StreamState,
        request: &SnapshotRequest,
        client: &ClientInfo,
        account_name: &str,
    ) -> Arc<Self> {
        let world = Arc::clone(&engine.world);
        let (piece_bytes, window) = request.sizes();
        let ack = [ACK, stream.name().as_bytes(), b".", world.ids.next().as_bytes()].concat();
        let what = if request.check_messages { "health check and snapshot" } else { "snapshot" };
        tracing::info!("Starting {what} for stream '{account_name} > {}'", stream.name());
        let progress = (0, state.last_seq);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            engine: Weak::clone(&engine.me),
            account_name: account_name.to_owned(),
            stream: Arc::clone(stream),
            client: client.clone(),
            deliver: request.deliver_subject.as_bytes().into(),
            ack: ack.into(),
            piece_bytes,
            window,
            start: world.now_time(),
            bytes: state.bytes,
            control: Mutex::new(Control {
                slots: window,
                sends: false,
                has_interest: false,
                busy: false,
                ended: false,
                deadline: world.clock.elapsed().plus(INTEREST_NS),
                sent: 0,
                sent_bytes: 0,
                progress,
            }),
            source: Mutex::new(Some(Source::new(stream, &world, state, !request.no_consumers))),
            world,
        })
    }

    /// Begins to send, once somebody listens.
    pub(crate) fn start(&self, state: &StreamState) {
        let (Some(engine), Some(me)) = (self.engine.upgrade(), self.me.upgrade()) else { return };
        self.advisor().snapshot_begun(state);
        engine.jobs.insert(self.account(), &self.ack, Job::Snapshot(me));
        self.interest_changed(&self.deliver);
        let deadline = self.control.lock().deadline;
        self.world.host.wake_at(Deadline::Elapsed(deadline));
    }

    pub(super) fn account(&self) -> AccountId {
        self.stream.account()
    }

    fn advisor(&self) -> Advisor<'_> {
        let (account, stream) = (self.account(), self.stream.name());
        Advisor { world: &self.world, account, stream, client: &self.client }
    }

    pub(super) fn progress(&self) -> BackupProgress {
        let control = self.control.lock();
        let (seq, last_seq) = control.progress;
        let (account, stream) = (self.account(), self.stream.name().to_owned());
        BackupProgress { account, stream, restores: false, bytes: control.sent_bytes, seq, last_seq }
    }

    fn is_listened_to(&self) -> bool {
        self.world.host.has_exact_interest(self.account(), &self.deliver, b"")
    }

    /// Interest in a subject came or went.
    pub(super) fn interest_changed(&self, subject: &[u8]) {
        if subject != &*self.deliver {
            return;
        }
        let listens = self.is_listened_to();
        let mut control = self.control.lock();
        if listens && !control.sends {
            control.has_interest = true;
            self.begin_to_send(&mut control);
        }
        // That nobody listens any more, whoever sends next finds out.
        self.go_on(&mut control);
    }

    fn begin_to_send(&self, control: &mut Control) {
        control.sends = true;
        control.deadline = self.world.clock.elapsed().plus(STALLED_NS);
        self.go_on(control);
    }

    /// A piece was acknowledged.
    pub(super) fn acknowledged(&self) {
        let mut control = self.control.lock();
        control.slots = (control.slots + 1).min(self.window);
        self.go_on(&mut control);
    }

    /// Has pieces sent, if there is room for any.
    fn go_on(&self, control: &mut Control) {
        let has_left = control.has_interest && !self.is_listened_to();
        if control.ended || !control.sends || control.busy || (control.slots == 0 && !has_left) {
            return;
        }
        control.busy = true;
        if let Some(me) = self.me.upgrade() {
            self.world.host.run_later(Box::new(move || me.send()));
        }
    }

    /// Sends pieces until the window is full.
    fn send(&self) {
        let mut source = self.source.lock();
        let Some(reading) = &mut *source else { return };
        if self.world.config.sync == SyncPolicy::Always {
            // Nothing that is not durable is shown.
            self.stream.await_durable(&*self.world.host);
        }
        loop {
            let mut control = self.control.lock();
            if control.ended {
                return;
            }
            if control.has_interest && !self.is_listened_to() {
                drop(control);
                return self.end(&mut source, "no interest", b"NATS/1.0 408 No Interest\r\n\r\n");
            }
            if control.slots == 0 {
                control.busy = false;
                return;
            }
            control.slots -= 1;
            drop(control);
            match reading.next_piece(self.piece_bytes) {
                Ok(piece) if piece.len() == self.piece_bytes => self.send_piece(&piece, reading.progress()),
                Ok(rest) => return self.send_last(&mut source, &rest),
                Err(error) => {
                    let headers = format!("NATS/1.0 500 {error}\r\n\r\n");
                    return self.end(&mut source, &error, headers.as_bytes());
                }
            }
        }
    }

    fn send_piece(&self, piece: &[u8], progress: (u64, u64)) {
        let mut control = self.control.lock();
        control.sent += 1;
        control.sent_bytes += piece.len() as u64;
        control.progress = progress;
        control.deadline = self.world.clock.elapsed().plus(STALLED_NS);
        let reply = [&*self.ack, format!(".{}.{}", piece.len(), control.sent).as_bytes()].concat();
        drop(control);
        self.deliver(&reply, b"", piece);
        self.world.host.end_turn();
    }

    fn send_last(&self, source: &mut Option<Source>, rest: &[u8]) {
        let mut control = self.control.lock();
        control.sent_bytes += rest.len() as u64;
        let any = control.sent > 0;
        drop(control);
        if !rest.is_empty() {
            self.deliver(b"", b"", rest);
        }
        let headers: &[u8] = if any { b"NATS/1.0 204\r\n\r\n" } else { b"" };
        self.end(source, "", headers);
    }

    fn deliver(&self, reply: &[u8], headers: &[u8], payload: &[u8]) {
        let to = &*self.deliver;
        self.world.host.deliver(self.account(), OutMsg { to, subject: to, reply, headers, payload });
    }

    /// Tells that it is over, and why if not because all was sent.
    fn end(&self, source: &mut Option<Source>, error: &str, headers: &[u8]) {
        self.control.lock().ended = true;
        *source = None;
        if let Some(engine) = self.engine.upgrade() {
            engine.jobs.remove(self.account(), &self.ack);
        }
        self.deliver(b"", headers, b"");
        self.advisor().snapshot_ended(self.start, error);
        let full_name = format!("{} > {}", self.account_name, self.stream.name());
        let took = time_since(&self.world, self.start);
        match error {
            "" => {
                let bytes = friendly_bytes(i64::try_from(self.bytes).unwrap_or(i64::MAX));
                tracing::info!("Completed snapshot of {bytes} for stream '{full_name}' in {took}");
            }
            error => tracing::warn!("Snapshot for stream '{full_name}' failed after {took}: {error}"),
        }
        self.world.host.end_turn();
    }

    /// Begins to send, or ends, where something was waited for long enough; says when to look again.
    pub(super) fn tick(&self, now: ElapsedNs) -> Option<ElapsedNs> {
        let mut control = self.control.lock();
        if control.ended {
            return None;
        }
        if control.deadline > now {
            return Some(control.deadline);
        }
        if !control.sends {
            self.begin_to_send(&mut control);
            return Some(control.deadline);
        }
        if control.busy {
            control.deadline = now.plus(STALLED_NS);
            return Some(control.deadline);
        }
        // Nobody else ends it: whoever sends is busy.
        control.busy = true;
        drop(control);
        if let Some(me) = self.me.upgrade() {
            self.world.host.run_later(Box::new(move || {
                let mut source = me.source.lock();
                if source.is_some() {
                    me.end(&mut source, "no flow response", b"NATS/1.0 408 No Flow Response\r\n\r\n");
                }
            }));
        }
        None
    }

    pub(super) fn cancel(&self) {
        self.control.lock().ended = true;
        *self.source.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotRequest;

    #[test]
    fn sizes_are_kept_within_their_bounds() {
        let sizes = |chunk_size, window_size| {
            SnapshotRequest { chunk_size, window_size, ..Default::default() }.sizes()
        };
        assert_eq!(sizes(0, 0), (128 << 10, 64));
        assert_eq!(sizes(1, 1), (1024, 1));
        assert_eq!(sizes(-5, -5), (1024, 1));
        assert_eq!(sizes(i64::MAX, i64::MAX), (1 << 20, 32));
        assert_eq!(sizes(1 << 20, 1024), (1 << 20, 1), "one piece at least");
        assert_eq!(sizes(1024, 32 << 20), (1024, 32768));
    }
}
