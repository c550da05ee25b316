//! One operation after the other.

use jetkv_protocol::{ClientOp, ProtocolError, Rejection, Step, encode, subject};

use super::batch::{Bench, settle_batch, settle_with};
use super::closing::CloseReason;
use super::connection::Connection;
use super::turn::{self, SHARED_BYTES_MAX};
use crate::auth::Check;

/// Bytes that the log shows of what is not the protocol.
const SNIPPET_BYTES: usize = 32;

/// How far a batch got.
pub(super) struct Batch {
    /// Bytes that were handled.
    pub consumed: usize,
    /// Bytes that the next operation needs from its first one, when it is not complete.
    pub need: usize,
    /// Why handling stopped before the end.
    pub stopped: Option<Stopped>,
    /// Index of the byte at which it stopped.
    pub stopped_at: usize,
}

/// Why handling of a batch stopped.
pub(super) enum Stopped {
    /// The connection closes.
    Closing,
    /// A password has to be compared elsewhere; what follows CONNECT waits.
    Authenticating(Box<Check>),
    /// The answers of a direct get go before those to what follows.
    Getting,
}

/// Whether what an operation brings must not leave before the answers to what came ahead of it. Subscriptions go on: the
/// one to the answers may stand behind the request for them.
fn waits_for_answers(op: &ClientOp<'_>) -> bool {
    matches!(op, ClientOp::Pub(_) | ClientOp::Ping | ClientOp::Connect(_))
}

impl Connection {
    /// Handles the whole operations in `bytes`, commits what they brought to streams, and flushes every connection
    /// that got something: all on this thread, without waiting for anyone.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Batch {
        let mut bench = Bench::take();
        let batch = self.operations(&mut bench, bytes);
        self.finish_batch(&mut bench, bytes.len() <= SHARED_BYTES_MAX);
        bench.give();
        batch
    }

    fn operations(&mut self, bench: &mut Bench, bytes: &[u8]) -> Batch {
        let mut batch = Batch { consumed: 0, need: 0, stopped: None, stopped_at: 0 };
        while batch.stopped.is_none() {
            let rest = bytes.get(batch.consumed..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.parser.parse(rest) {
                Ok(Step::Incomplete { need }) => {
                    batch.need = need;
                    if let Some(error) = self.judge_announced(rest, true) {
                        self.protocol_error(&error, rest);
                        batch.stopped_at = batch.consumed + self.fails_at(&error, rest);
                        batch.stopped = Some(Stopped::Closing);
                    }
                    break;
                }
                Ok(Step::Op { op, .. }) if bench.long_get.is_some() && waits_for_answers(&op) => {
                    batch.stopped = Some(Stopped::Getting);
                }
                Ok(Step::Op { op, consumed }) => {
                    batch.consumed += consumed;
                    batch.stopped_at = batch.consumed.saturating_sub(1);
                    batch.stopped = self.operation(bench, op);
                }
                Err(ProtocolError::ConnectExpected) if self.admit_without_connect() => {}
                Err(error) => {
                    let error = self.judge_announced(rest, false).unwrap_or(error);
                    self.protocol_error(&error, rest);
                    batch.stopped_at = batch.consumed + self.fails_at(&error, rest);
                    batch.stopped = Some(Stopped::Closing);
                }
            }
        }
        batch
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

    fn operation(&mut self, bench: &mut Bench, op: ClientOp<'_>) -> Option<Stopped> {
        if self.client.is_traced() {
            self.trace_in(&op);
        }
        match op {
            ClientOp::Pub(publish) => self.publish(bench, publish),
            ClientOp::Sub { subject, queue, sid } => {
                bench.tally.subscriptions += 1;
                self.subscribe(bench, subject, queue.unwrap_or_default(), sid);
            }
            ClientOp::Unsub { sid, max } => {
                bench.tally.subscriptions += 1;
                self.unsubscribe(bench, sid, max);
            }
            ClientOp::Ping => self.ping(),
            ClientOp::Pong => self.pong(),
            ClientOp::Connect(json) => {
                // What follows belongs to another user; the engine must not see it mixed with what came before.
                bench.commit(&self.shared, self.jetstream.as_deref());
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

    /// The end of a batch: one commit for each stream, then one write for each connection. Where other connections
    /// of the thread were ready too, a batch `may_share` the commit with theirs, and all that follows from it.
    fn finish_batch(&mut self, bench: &mut Bench, may_share: bool) {
        let shares = may_share && !bench.has_requests() && turn::share(bench, self.jetstream.as_ref());
        let publishes = !bench.streams.is_empty() || bench.has_requests();
        bench.commit(&self.shared, self.jetstream.as_deref());
        if bench.tally.in_msgs > 0 || bench.tally.subscriptions > 0 {
            let stored_at = bench.stored_at.take();
            self.client.set_active(stored_at.unwrap_or_else(|| self.shared.clock.wall()));
            self.heard();
        }
        bench.count(&self.shared, &self.account, &self.client);
        self.stalling = bench.stalling.take();
        match self.jetstream.as_deref() {
            _ if shares => {}
            // What waits goes with what was just committed, and never waits for a connection that sends without end.
            jetstream if publishes || !may_share || turn::is_due() => settle_with(jetstream),
            jetstream => settle_batch(jetstream),
        }
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
