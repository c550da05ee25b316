//! One operation after the other.

use jetkv_protocol::{ClientOp, ProtocolError, Rejection, Step, encode, subject};

use super::connection::Connection;
use crate::auth::Check;
use crate::connections::{CloseReason, ConnectionHandle as _};
use crate::worker::{self, Batch, Streams, Turn, Worker};

/// Bytes that the log shows of what is not the protocol.
const SNIPPET_BYTES: usize = 32;

/// Deliveries after which a turn ends: one read of small messages for very many receivers is shared out, so that other
/// connections of the thread get theirs in between.
const DELIVERIES_MAX: u64 = 64 * 1024;
/// Bytes of answers that one turn collects. A packet may ask for far more than may wait for a connection.
const ANSWERS_BYTES_MAX: usize = 256 << 10;

/// How far a turn got.
pub(super) struct Progress {
    /// Bytes that were handled.
    pub consumed: usize,
    /// Bytes that the next operation needs from its first one, when it is not complete.
    pub need: usize,
    /// Why handling stopped before the end.
    pub stopped: Option<Stopped>,
    /// Index of the byte at which it stopped.
    pub stopped_at: usize,
}

/// A client that cannot be let in, or sent away, at once.
pub(super) struct Undecided {
    /// What its credentials led to so far.
    pub check: Check,
    /// It sent CONNECT.
    pub announced: bool,
}

/// Why a turn stopped.
pub(super) enum Stopped {
    /// The connection closes.
    Closing,
    /// A password has to be compared elsewhere; what follows CONNECT waits.
    Authenticating(Box<Undecided>),
    /// The answers of a direct get go before those to what follows.
    Getting,
    /// It delivered so much that others get their turn before it goes on.
    Delivering,
    /// It collected so many answers that they leave, and find room, before it goes on.
    Answering,
}

/// Whether what an operation brings must not leave before the answers to what came ahead of it. Subscriptions go on: the
/// one to the answers may stand behind the request for them.
fn waits_for_answers(op: &ClientOp<'_>) -> bool {
    matches!(op, ClientOp::Pub(_) | ClientOp::Ping | ClientOp::Connect(_))
}

/// Whether a turn did so much that others get their turn, or what it brought has to leave.
fn enough(batch: &Batch) -> Option<Stopped> {
    if batch.answers.size_bytes() >= ANSWERS_BYTES_MAX {
        return Some(Stopped::Answering);
    }
    (batch.tally.out_msgs >= DELIVERIES_MAX).then_some(Stopped::Delivering)
}

impl Connection {
    /// A turn: handles the whole operations in `bytes`, commits what they brought to streams, and flushes every receiver
    /// that got something: all on this thread, without waiting for anyone. Between turns the task waits for bytes, and a
    /// thread none of whose tasks has any rests ([`Worker::rest`]).
    pub(super) fn turn(&mut self, worker: &Worker, bytes: &[u8]) -> Progress {
        let mut turn = Turn::begin(worker, bytes.len());
        let progress = self.parse_and_route(&mut turn, bytes);
        turn.commit(self.jetstream.as_ref());
        self.note_activity(&mut turn);
        self.count(&mut turn);
        self.stalling = turn.batch.stalling.take();
        turn.end(self.engine());
        progress
    }

    /// The stream engine, as turns end in it.
    pub(super) fn engine(&self) -> Option<&dyn Streams> {
        self.jetstream.as_deref().map(|engine| engine as &dyn Streams)
    }

    /// Ends a turn that no read began.
    pub(super) fn end_turn(&self) {
        worker::with(|worker| worker.end_turn(self.engine()));
    }

    fn parse_and_route(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> Progress {
        let mut progress = Progress { consumed: 0, need: 0, stopped: None, stopped_at: 0 };
        while progress.stopped.is_none() {
            let rest = bytes.get(progress.consumed..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.parser.parse(rest) {
                Ok(Step::Incomplete { need }) => {
                    progress.need = need;
                    if let Some(error) = self.judge_announced(rest, true) {
                        self.protocol_error(&error, rest);
                        progress.stopped_at = progress.consumed + self.fails_at(&error, rest);
                        progress.stopped = Some(Stopped::Closing);
                    }
                    break;
                }
                Ok(Step::Op { op, .. }) if !turn.batch.long_gets.is_empty() && waits_for_answers(&op) => {
                    progress.stopped = Some(Stopped::Getting);
                }
                Ok(Step::Op { op, consumed }) => {
                    progress.consumed += consumed;
                    progress.stopped_at = progress.consumed.saturating_sub(1);
                    progress.stopped = self.operation(turn, &op);
                    if progress.stopped.is_none() {
                        progress.stopped = enough(&turn.batch);
                    }
                }
                Err(ProtocolError::ConnectExpected) if self.admit_without_connect() => {}
                Err(error) => {
                    if error == ProtocolError::ConnectExpected
                        && let Some(undecided) = self.ask_without_connect()
                    {
                        progress.stopped = Some(Stopped::Authenticating(Box::new(undecided)));
                        break;
                    }
                    let error = self.judge_announced(rest, false).unwrap_or(error);
                    self.protocol_error(&error, rest);
                    progress.stopped_at = progress.consumed + self.fails_at(&error, rest);
                    progress.stopped = Some(Stopped::Closing);
                }
            }
        }
        progress
    }

    /// Messages and subscriptions keep a connection active.
    fn note_activity(&mut self, turn: &mut Turn<'_>) {
        let batch = &mut *turn.batch;
        if batch.tally.in_msgs > 0 || batch.tally.subscriptions > 0 {
            let stored_at = batch.stored_at.take();
            let now = stored_at.unwrap_or_else(|| self.shared.clock.wall());
            turn.worker.touched.at(now);
            self.client.set_active(now);
            self.heard();
        }
    }

    /// Adds what a turn brought so far to the counters of the connection, its account and the server.
    pub(super) fn count(&self, turn: &mut Turn<'_>) {
        let (account, server) = (&self.account.traffic, &self.shared.counters.traffic);
        let api_requests = turn.batch.tally.api_requests;
        if api_requests > 0 {
            self.account.services.count_api(api_requests);
        }
        turn.batch.tally.count([&self.client.traffic, account, server], [account, server]);
    }

    /// Index of the byte of an operation with which it is known to be wrong.
    fn fails_at(&self, error: &ProtocolError, operation: &[u8]) -> usize {
        match error {
            ProtocolError::UnknownOperation | ProtocolError::ConnectExpected => 0,
            ProtocolError::ControlLineTooLong => self.settings.limits.max_control_line_bytes,
            _ => memchr::memchr(b'\n', operation).unwrap_or(operation.len()),
        }
    }

    /// What nats-server v2.15.2 does with a message once it has read its line (observed): a pedantic client is told of a
    /// bad subject, and told again when the message is put aside because its body has not all arrived; HMSG from a client
    /// cannot be put aside.
    fn judge_announced(&mut self, rest: &[u8], put_aside: bool) -> Option<ProtocolError> {
        let subject = self.parser.take_announced(rest)?;
        if subject.is_empty() {
            return put_aside.then_some(ProtocolError::UnknownOperation);
        }
        if self.pedantic {
            self.subject_judged = put_aside;
            if !subject::is_valid_literal(subject) {
                for _ in 0..=usize::from(put_aside) {
                    self.reject(&Rejection::InvalidPublishSubject);
                }
            }
        }
        None
    }

    fn operation(&mut self, turn: &mut Turn<'_>, op: &ClientOp<'_>) -> Option<Stopped> {
        if self.client.is_observed() {
            self.observe(op);
        }
        match op {
            ClientOp::Pub(publish) => self.publish(turn, publish),
            ClientOp::Sub { subject, queue, sid } => {
                turn.batch.tally.subscriptions += 1;
                self.subscribe(turn, subject, queue.unwrap_or_default(), sid);
            }
            ClientOp::Unsub { sid, max } => {
                turn.batch.tally.subscriptions += 1;
                self.unsubscribe(turn, sid, *max);
            }
            ClientOp::Ping => self.ping(),
            ClientOp::Pong => self.pong(),
            ClientOp::Connect(json) => {
                // What follows belongs to another user; the engine must not see it mixed with what came before.
                if let Some(engine) = self.engine() {
                    turn.commit_here(engine);
                }
                return self.connect(json);
            }
            ClientOp::Ok => {}
            ClientOp::Info(json) => {
                if let Err(error) = jetkv_protocol::ServerInfo::from_json(json) {
                    tracing::error!("{} - {error}", self.client.label());
                    return self.stop(CloseReason::ProtocolViolation);
                }
            }
            ClientOp::Err(text) => {
                tracing::error!("{} - Client Error {}", self.client.label(), String::from_utf8_lossy(text));
                return self.stop(CloseReason::ClientClosed);
            }
        }
        None
    }

    fn protocol_error(&mut self, error: &ProtocolError, rest: &[u8]) {
        if let Some(text) = error.wire_text() {
            self.send_err(text);
        }
        let label = self.client.label();
        let reason = match error {
            ProtocolError::PayloadTooLarge { .. } => CloseReason::MaxPayloadExceeded,
            ProtocolError::ControlLineTooLong => CloseReason::MaxControlLineExceeded,
            ProtocolError::ConnectExpected => CloseReason::AuthenticationViolation,
            _ => CloseReason::ProtocolViolation,
        };
        if *error == ProtocolError::UnknownOperation {
            // nats-server leaves out the last byte of what is shorter than its snippets.
            let end = if rest.len() < SNIPPET_BYTES { rest.len().saturating_sub(1) } else { SNIPPET_BYTES };
            let snippet = rest.get(..end).unwrap_or_default();
            tracing::error!(
                "{label} - Client parser ERROR, state=0, i=0: proto='{}...'",
                jetkv_go_compat::quoted(snippet)
            );
        } else {
            tracing::error!("{label} - {error}");
        }
        if *error == ProtocolError::ConnectExpected {
            crate::events::refused(&self.shared, &*self.client, reason);
        }
        self.client.close(reason);
    }

    /// Says no, and closes when the refusal is one that closes.
    pub(super) fn reject(&mut self, rejection: &Rejection<'_>) {
        self.send_err(&rejection.wire_text());
    }

    pub(super) fn send_err(&mut self, text: &str) {
        if self.client.is_traced() {
            self.trace_out("-ERR", text);
        }
        self.client.queue(|out| encode::err(out, text));
    }

    pub(super) fn send_ok(&mut self) {
        if self.client.is_traced() {
            self.trace_out("OK", "");
        }
        self.client.queue(encode::ok);
    }

    /// Begins to close the connection.
    #[expect(clippy::unnecessary_wraps, reason = "the result of an operation that ends the connection")]
    pub(super) fn stop(&mut self, reason: CloseReason) -> Option<Stopped> {
        self.client.close(reason);
        Some(Stopped::Closing)
    }
}
