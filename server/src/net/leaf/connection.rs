//! The task of one leaf node connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use jetkv_jetstream::ClientInfo;
use jetkv_protocol::{LeafOp, LeafParser, ProtocolError, ServerInfo, Step, encode};
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::Leaf;
use super::handshake::Stage;
use super::remote::Solicited;
use crate::connections::{CloseReason, LeafnodeHandle};
use crate::crossing;
use crate::events;
use crate::jetstream::JetStream;
use crate::net::keepalive::{Beat, Keepalive};
use crate::net::link::{Link, Reader};
use crate::net::outbound::{Drained, Next, Outbound, OutboundLimits};
use crate::net::starved::Starved;
use crate::options::Options;
use crate::router::Receiver;
use crate::state::Shared;
use crate::traffic::Traffic;
use crate::worker::{self, GetDone, READ_BUFFER_BYTES, Streams, Turn, Worker};

/// Bytes of answers that one turn collects.
const ANSWERS_BYTES_MAX: usize = 256 << 10;
/// How many times more may wait for another server than for a client.
const PENDING_FACTOR: usize = 8;
/// Bytes that the log shows of what is not the protocol.
const SNIPPET_BYTES: usize = 32;

/// What the task of a connection works with. Other threads see only its [`Leaf`].
pub(super) struct Connection {
    pub shared: Arc<Shared>,
    pub leaf: Arc<Leaf>,
    pub jetstream: Option<Arc<JetStream>>,
    /// The options in force, looked at anew with every reload.
    pub settings: Arc<Options>,
    pub stage: Stage,
    /// What INFO asked the other server to sign.
    pub nonce: String,
    /// Where this server connected to, if it did.
    pub solicited: Option<Arc<Solicited>>,
    pub keepalive: Keepalive,
    /// Until when the next step of getting to know each other has to be done.
    pub deadline: Option<Instant>,
    /// For how long the connection is not to be opened again, where that is longer than usual.
    pub delay: Option<Duration>,
    /// What takes long: nothing is read until its answers have left.
    pub long_gets: Vec<GetDone>,
    /// The first INFO of the server that this one connected to, until it let this one in.
    pub first_info: Option<Box<ServerInfo>>,
    /// Made when first needed.
    pub client_info: Option<Arc<ClientInfo>>,
    pub reader: Reader,
    parser: LeafParser,
    /// What came and is not handled yet.
    pub partial: Vec<u8>,
    /// Everything is under TLS.
    pub is_secured: bool,
    /// Bytes that `partial` must hold before another look is worth it.
    need: usize,
    /// Whether operations that came are left for another turn.
    goes_on: bool,
    timer: Pin<Box<Sleep>>,
}

/// What woke the task.
enum Event {
    /// So many bytes came; none at the end.
    Read(usize),
    /// What was left can be handled.
    GoOn,
    ReadError,
    /// Something waits to be sent.
    Flush,
    Overdue,
    Timer,
    Reload,
    Close(CloseReason),
}

/// Why a turn stopped before the end of what came.
enum Stopped {
    /// More has to be done first that may take long.
    For(Greeting),
    /// Answers leave, or are waited for, before it goes on.
    Later,
    Closing,
}

/// What is done between turns.
pub(super) enum Greeting {
    Info(Vec<u8>),
    Connect(Vec<u8>),
}

/// Serves a leaf node connection until one side closes it. Tells for how long it is not to be opened again, where that is
/// longer than usual.
pub(in crate::net) async fn serve(
    shared: Arc<Shared>,
    link: Link,
    solicited: Option<Arc<Solicited>>,
) -> Option<Duration> {
    let _task = shared.begin_task();
    if !shared.is_running() {
        return None;
    }
    let mut connection = Connection::new(&shared, link, solicited);
    shared.leafnodes.add(Arc::clone(&connection.leaf) as Arc<dyn LeafnodeHandle>);
    // Whoever stops the server enters the phase first and looks at the connections then.
    let reason = if shared.is_running() {
        match connection.begin().await {
            Ok(()) => connection.run().await,
            Err(reason) => reason,
        }
    } else {
        CloseReason::ServerShutdown
    };
    connection.finish(reason).await
}

fn limits(options: &Options) -> OutboundLimits {
    let limits = OutboundLimits::new(&options.limits);
    OutboundLimits {
        // More may wait for another server than for a client, and a write is tried again as long as some of it gets through
        // (nats-server v2.15.2, which has no bound at all).
        cut_beyond_bytes: limits.max_pending_bytes.saturating_mul(PENDING_FACTOR),
        max_pending_bytes: limits.max_pending_bytes,
        retries_writes: true,
        drops_when_stalling: false,
        write_deadline: options.leafnodes.write_deadline.unwrap_or(limits.write_deadline),
    }
}

impl Connection {
    fn new(shared: &Arc<Shared>, link: Link, solicited: Option<Arc<Solicited>>) -> Self {
        let options = shared.options();
        let now = Instant::now();
        let Link { reader, writer, peer } = link;
        let leaf = Arc::new(Leaf {
            id: shared.next_client_id(),
            peer,
            is_solicited: solicited.is_some(),
            out: Outbound::new(writer, limits(&options)),
            joined: OnceLock::new(),
            subs: Mutex::new(HashMap::new()),
            told: Mutex::new(None),
            headers: AtomicBool::new(false),
            is_queued: AtomicBool::new(false),
            must_reload: AtomicBool::new(false),
            traffic: Traffic::default(),
            rtt_ns: AtomicI64::new(0),
            starved: Starved::default(),
        });
        let keepalive = Keepalive::new(options.limits.ping_interval, options.limits.ping_max, now);
        let timer = Box::pin(shared.timers.sleep_until(keepalive.due_at()));
        let payload = options.limits.max_payload_bytes.unwrap_or(usize::MAX);
        Self {
            shared: Arc::clone(shared),
            leaf,
            jetstream: shared.jetstream(),
            stage: if solicited.is_some() { Stage::AwaitsInfo } else { Stage::AwaitsConnect },
            nonce: String::new(),
            solicited,
            keepalive,
            deadline: None,
            delay: None,
            long_gets: Vec::new(),
            first_info: None,
            client_info: None,
            reader,
            parser: LeafParser::new(options.limits.max_control_line_bytes, payload),
            partial: Vec::new(),
            is_secured: false,
            need: 0,
            goes_on: false,
            timer,
            settings: options,
        }
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            let event = std::future::poll_fn(|context| self.poll_event(context)).await;
            match event {
                Event::Read(0) => return CloseReason::ClientClosed,
                Event::Read(_) | Event::GoOn => {
                    worker::with(Worker::worked);
                    self.handle().await;
                }
                Event::ReadError => return CloseReason::ReadError,
                Event::Flush => self.flush(),
                Event::Overdue => {
                    if !self.leaf.out.retry_write() {
                        self.shared.counters.count_slow_consumer();
                        return CloseReason::SlowConsumerWriteDeadline;
                    }
                }
                Event::Timer => self.timer_fired(),
                Event::Reload => self.reload(),
                Event::Close(reason) => return reason,
            }
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let mut wake_at = self.next_deadline();
        match self.leaf.out.poll_next(context) {
            Next::Close(reason) => return Poll::Ready(Event::Close(reason)),
            Next::Writable => return Poll::Ready(Event::Flush),
            Next::Overdue => return Poll::Ready(Event::Overdue),
            Next::Blocked(overdue_at) => wake_at = wake_at.min(overdue_at),
            Next::Idle => {}
        }
        if self.leaf.is_queued.swap(false, Ordering::AcqRel) {
            return Poll::Ready(Event::Flush);
        }
        if self.leaf.must_reload.swap(false, Ordering::AcqRel) {
            return Poll::Ready(Event::Reload);
        }
        if self.timer.deadline().into_std() > wake_at {
            self.timer.as_mut().reset(wake_at.into());
        }
        if self.timer.as_mut().poll(context).is_ready() {
            let next = self.next_deadline();
            self.timer.as_mut().reset(next.into());
            return Poll::Ready(Event::Timer);
        }
        while let Some(done) = self.long_gets.last_mut() {
            ready!(done.poll(context));
            self.long_gets.pop();
        }
        if self.goes_on {
            return Poll::Ready(Event::GoOn);
        }
        let missing = self.need.saturating_sub(self.partial.len());
        self.partial.reserve(missing.max(READ_BUFFER_BYTES));
        match ready!(self.reader.poll_read(context, &mut self.partial)) {
            Ok(count) => Poll::Ready(Event::Read(count)),
            Err(_) => Poll::Ready(Event::ReadError),
        }
    }

    fn next_deadline(&self) -> Instant {
        self.deadline.into_iter().fold(self.keepalive.due_at(), Instant::min)
    }

    /// Handles what came, as far as it can be handled.
    async fn handle(&mut self) {
        loop {
            self.goes_on = false;
            match self.turn() {
                Some(Stopped::For(Greeting::Info(json))) => self.info(&json).await,
                Some(Stopped::For(Greeting::Connect(json))) => self.connect(&json).await,
                Some(Stopped::Later) => {
                    self.goes_on = true;
                    // Other connections of the thread get their turn.
                    tokio::task::yield_now().await;
                    return;
                }
                Some(Stopped::Closing) | None => return,
            }
            self.flush();
            self.end_turn();
            if self.leaf.out.closing().is_some() {
                return;
            }
        }
    }

    /// A turn: handles the whole operations that came, commits what they brought to streams, and flushes every receiver that
    /// got something.
    fn turn(&mut self) -> Option<Stopped> {
        if self.partial.len() < self.need {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.partial);
        let stopped = worker::with(|worker| {
            let mut turn = Turn::begin(worker, bytes.len());
            let (consumed, stopped) = self.operations(&mut turn, &bytes);
            bytes.drain(..consumed);
            turn.commit(self.jetstream.as_ref());
            self.count(&mut turn);
            // Only clients wait for receivers that are filling up (nats-server v2.15.2).
            turn.batch.stalling = None;
            turn.end(self.engine());
            stopped
        });
        self.partial = bytes;
        stopped
    }

    fn operations(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> (usize, Option<Stopped>) {
        let mut consumed = 0;
        self.need = 0;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            if rest.is_empty() {
                return (consumed, None);
            }
            if self.stage == Stage::AwaitsConnect
                && !rest.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'C'))
            {
                self.refuse_unannounced();
                return (consumed, Some(Stopped::Closing));
            }
            let (op, length) = match self.parser.parse(rest) {
                Ok(Step::Incomplete { need }) => {
                    self.need = need;
                    return (consumed, None);
                }
                Ok(Step::Op { op, consumed: length }) => (op, length),
                Err(error) => {
                    self.protocol_error(&error, rest);
                    return (consumed, Some(Stopped::Closing));
                }
            };
            if !turn.batch.long_gets.is_empty() && matches!(op, LeafOp::Msg(_) | LeafOp::Ping) {
                return (consumed, Some(Stopped::Later));
            }
            consumed += length;
            if let Some(stopped) = self.operation(turn, &op) {
                return (consumed, Some(stopped));
            }
            if turn.batch.answers.size_bytes() >= ANSWERS_BYTES_MAX {
                return (consumed, Some(Stopped::Later));
            }
        }
    }

    fn operation(&mut self, turn: &mut Turn<'_>, op: &LeafOp<'_>) -> Option<Stopped> {
        match op {
            LeafOp::Info(json) => return Some(Stopped::For(Greeting::Info(json.to_vec()))),
            LeafOp::Connect(json) => return Some(Stopped::For(Greeting::Connect(json.to_vec()))),
            LeafOp::Ping => {
                self.leaf.queue(encode::pong);
                self.keepalive.heard();
            }
            LeafOp::Pong => {
                if let Some(rtt) = self.keepalive.answered() {
                    let ns = i64::try_from(rtt.as_nanos()).unwrap_or(i64::MAX).max(1);
                    self.leaf.rtt_ns.store(ns, Ordering::Relaxed);
                }
            }
            LeafOp::Ok => {}
            LeafOp::Err(text) => self.told_error(&String::from_utf8_lossy(text)),
            LeafOp::Sub { key, subject, queue, weight } => {
                self.keepalive.heard();
                self.subscribe(turn, key, subject, queue.unwrap_or_default(), *weight);
            }
            LeafOp::Unsub { key } => {
                self.keepalive.heard();
                self.unsubscribe(turn, key);
            }
            LeafOp::Msg(msg) => {
                self.keepalive.heard();
                self.message(turn, msg);
            }
        }
        self.leaf.out.closing().map(|_| Stopped::Closing)
    }

    /// Adds what a turn brought so far to the counters of the connection, its account and the server.
    pub(super) fn count(&self, turn: &mut Turn<'_>) {
        let Some(joined) = self.leaf.joined.get() else { return };
        let (account, server) = (&joined.account.traffic, &self.shared.counters.traffic);
        let api_requests = turn.batch.tally.api_requests;
        if api_requests > 0 {
            joined.account.services.count_api(api_requests);
        }
        let tally = turn.batch.tally;
        if tally.in_msgs > 0 {
            joined.account.leafnode_traffic.received(tally.in_msgs, tally.in_bytes);
        }
        turn.batch.tally.count([&self.leaf.traffic, account, server], [account, server]);
    }

    /// The stream engine, as turns end in it.
    pub(super) fn engine(&self) -> Option<&dyn Streams> {
        self.jetstream.as_deref().map(|engine| engine as &dyn Streams)
    }

    /// Ends a turn that no read began.
    pub(super) fn end_turn(&self) {
        worker::with(|worker| worker.end_turn(self.engine()));
    }

    /// Writes what the link takes, and lets those that waited for room go on.
    pub(super) fn flush(&self) {
        if self.leaf.flush(None)
            && let Some(engine) = self.engine()
        {
            engine.feed_again(&*self.leaf);
        }
    }

    fn timer_fired(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            return self.too_late();
        }
        if now < self.keepalive.due_at() {
            return;
        }
        let label = self.leaf.label();
        tracing::debug!("{label} - Leafnode Ping Timer");
        match self.keepalive.beat(now) {
            Beat::Wait => {}
            Beat::Ping => self.leaf.queue(encode::ping),
            Beat::Stale => {
                tracing::debug!("{label} - Stale Client Connection - Closing");
                self.leaf.send_err("Stale Connection");
                self.leaf.out.close(CloseReason::StaleConnection);
            }
        }
        self.flush();
    }

    fn reload(&mut self) {
        self.settings = self.shared.options();
        self.jetstream = self.shared.jetstream();
        let limits = &self.settings.limits;
        self.keepalive.set_limits(limits.ping_interval, limits.ping_max);
        self.parser.set_limits(limits.max_control_line_bytes, limits.max_payload_bytes.unwrap_or(usize::MAX));
        self.leaf.out.set_limits(self::limits(&self.settings));
        if self.solicited.as_ref().is_some_and(|solicited| !solicited.is_wanted(&self.settings)) {
            return self.leaf.out.close(CloseReason::ClientClosed);
        }
        if self.leaf.joined.get().is_some_and(|joined| !joined.account.is_configured()) {
            self.leaf.out.close(CloseReason::MissingAccount);
        }
    }

    fn protocol_error(&mut self, error: &ProtocolError, rest: &[u8]) {
        if let Some(text) = error.wire_text() {
            self.leaf.send_err(text);
        }
        let label = self.leaf.label();
        let reason = match error {
            ProtocolError::PayloadTooLarge { .. } => CloseReason::MaxPayloadExceeded,
            ProtocolError::ControlLineTooLong => CloseReason::MaxControlLineExceeded,
            _ => CloseReason::ProtocolViolation,
        };
        if *error == ProtocolError::UnknownOperation {
            let snippet = rest.get(..SNIPPET_BYTES.min(rest.len())).unwrap_or_default();
            let snippet = jetkv_go_compat::quoted(snippet);
            tracing::error!("{label} - Leafnode parser ERROR, state=0, i=0: proto='{snippet}...'");
        } else {
            tracing::error!("{label} - {error}");
        }
        self.leaf.out.close(reason);
    }

    /// Closes the connection: tells the rest of the server at once, and gives the peer time to take its last bytes.
    async fn finish(mut self, reason: CloseReason) -> Option<Duration> {
        self.end_turn();
        self.leaf.out.close(reason);
        // Somebody else may have begun to close it for another reason.
        let reason = self.leaf.out.closing().unwrap_or(reason);
        let label = self.leaf.label();
        match self.leaf.joined.get() {
            Some(joined) => {
                tracing::info!("{label} - Leafnode connection closed: {reason} - Remote: {}", joined.server);
            }
            None => tracing::info!("{label} - Leafnode connection closed: {reason}"),
        }
        self.leave();
        self.tell_count();
        self.end_turn();
        if !reason.drops_pending() {
            let leaf = Arc::clone(&self.leaf);
            let drained = std::future::poll_fn(move |context| leaf.out.poll_drained(context));
            let deadline = self.settings.limits.write_deadline;
            // A peer that does not take its last bytes in time goes without them.
            let timed = self.shared.timers.timeout(deadline, drained).await;
            if timed != Ok(Drained::Whole) {
                self.shared.counters.count_slow_consumer();
            }
        }
        self.delay.take()
    }

    /// Takes the connection out of its account and of the server.
    fn leave(&self) {
        if let Some(joined) = self.leaf.joined.get() {
            joined.account.unwatch_interest(Receiver::id(&*self.leaf));
            *self.leaf.told.lock() = None;
            let subs: Vec<_> = std::mem::take(&mut *self.leaf.subs.lock()).into_values().collect();
            let ended = joined.account.unsubscribe_all(subs.iter());
            if let Some(engine) = self.engine() {
                let of_shadows = engine.shadows_ended(&ended.shadows);
                of_shadows.iter().for_each(|stream| engine.commit(stream));
                for sub in &subs {
                    let concerned = engine.subscription_ended(&joined.account, sub);
                    concerned.iter().for_each(|stream| engine.commit(stream));
                }
            }
            if !ended.requests.is_empty() {
                crossing::give_up(&self.shared, events::publish, &ended.requests);
            }
        }
        self.shared.leafnodes.remove(Receiver::id(&*self.leaf));
    }

    /// Tells those who count connections that this one came, or went.
    pub(super) fn tell_count(&self) {
        if let Some(joined) = self.leaf.joined.get() {
            events::connections_changed(&self.shared, &joined.account);
        }
    }
}

/// However the task ends, by a panic or by the end of its thread too, nothing of the connection stays behind.
impl Drop for Connection {
    fn drop(&mut self) {
        self.leaf.out.release();
        self.leave();
        if let Some(engine) = self.engine() {
            engine.feed_again(&*self.leaf);
        }
    }
}
