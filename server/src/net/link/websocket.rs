//! WebSocket over any other link, once the upgrade is done.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use jetkv_protocol::websocket::{
    DEFLATED_BYTES_MIN, FrameReader, Framing, INFLATED_TAIL, Inflater, Piece, close_payload, control_frame,
    deflated_bytes_max, status,
};
use parking_lot::Mutex;

use super::{Reader, Writer};
use crate::worker;

/// Bytes of the client protocol that one write puts into frames at most.
const WRITE_BYTES_MAX: usize = 128 * 1024;
/// Answers to pings that may wait for a peer that does not read, in bytes; until then no more is read.
const ANSWERS_BYTES_MAX: usize = 16 * 1024;

/// What was agreed on by the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The peer masks its frames.
    pub masked: bool,
    /// How the server cuts and deflates what it sends.
    pub framing: Framing,
}

/// The half that is read from.
pub(crate) struct WebsocketReader {
    lower: Reader,
    session: Arc<Session>,
    frames: FrameReader,
    /// Bytes of frames behind a message that is not inflated yet.
    left: Vec<u8>,
    /// A deflated message, as far as it is here.
    deflated: Vec<u8>,
    inflating: Option<Inflating>,
    /// Largest message of the client protocol, in bytes.
    max_payload: usize,
    /// How the link ends, once what came before is taken.
    end: Option<Result<(), String>>,
}

/// A deflated message that is whole, on its way out.
struct Inflating {
    inflater: Box<Inflater>,
    /// Bytes of it that were taken.
    taken: usize,
    /// Bytes that came of it.
    bytes: usize,
}

/// The half that is written to.
pub(crate) struct WebsocketWriter {
    session: Arc<Session>,
    framing: Framing,
}

/// Both directions, as pings are answered and a close is told by who reads.
struct Session {
    state: Mutex<State>,
    lower: Arc<Writer>,
    /// Answers wait for the link, and nobody writes.
    answers_wait: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Whole frames, of which `sent` bytes are gone.
    out: Vec<u8>,
    sent: usize,
    /// Bytes of the last write that are in frames which did not all leave. The caller comes again with the same bytes, and
    /// is told then that they were taken.
    taken: Option<usize>,
    /// Payload of the close frame that is due, as what came asks for it.
    close: Option<Vec<u8>>,
    /// A close frame was sent, which is the last frame.
    closed: bool,
}

/// Both halves of a link whose upgrade is done.
pub(crate) fn over(lower: Reader, writer: Arc<Writer>, terms: Terms) -> (Reader, Writer) {
    let session = Session { state: Mutex::default(), lower: writer, answers_wait: AtomicBool::new(false) };
    let session = Arc::new(session);
    let reader = WebsocketReader {
        lower,
        session: Arc::clone(&session),
        frames: FrameReader::new(terms.masked, terms.framing.deflate),
        left: Vec::new(),
        deflated: Vec::new(),
        inflating: None,
        max_payload: usize::MAX,
        end: None,
    };
    let writer = WebsocketWriter { session, framing: terms.framing };
    (Reader::Websocket(Box::new(reader)), Writer::Websocket(writer))
}

impl Session {
    /// Sends frames that wait.
    fn flush(&self, state: &mut State) -> io::Result<()> {
        while let Some(bytes) = state.out.get(state.sent..).filter(|bytes| !bytes.is_empty()) {
            match self.lower.try_write(bytes) {
                Ok(count) => state.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        state.sent = 0;
        worker::with(|worker| worker.buffers.give_outbound(std::mem::take(&mut state.out)));
        self.answers_wait.store(false, Ordering::Release);
        Ok(())
    }

    fn answer(&self, ping: &[u8]) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        control_frame::pong(state.frames(), ping);
        if self.flush(&mut state).is_err() {
            // Whoever writes or reads next tries again, and sees what is wrong with the link.
            self.answers_wait.store(true, Ordering::Release);
        }
    }

    /// Sends answers that wait for the link; not ready while more of them wait than may.
    fn poll_answers(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let waiting = {
                let mut state = self.state.lock();
                match self.flush(&mut state) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.out.len() - state.sent,
                    flushed => return Poll::Ready(flushed),
                }
            };
            match self.lower.poll_writable(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending if waiting <= ANSWERS_BYTES_MAX => return Poll::Ready(Ok(())),
                other => return other,
            }
        }
    }
}

impl State {
    fn frames(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = worker::with(|worker| worker.buffers.take_outbound());
        }
        &mut self.out
    }

    /// Puts bytes into frames.
    fn frame(&mut self, framing: &Framing, bytes: &[u8]) -> io::Result<()> {
        if !framing.deflate || bytes.len() <= DEFLATED_BYTES_MIN {
            framing.plain(self.frames(), bytes);
            return Ok(());
        }
        let mut deflated = worker::with(|worker| worker.buffers.take_outbound());
        let mut deflater = worker::with(|worker| worker.buffers.take_deflater());
        let done = deflater.message(bytes, &mut deflated).map_err(io::Error::other);
        if done.is_ok() {
            framing.deflated(self.frames(), &deflated);
        }
        worker::with(|worker| {
            worker.buffers.give_deflater(deflater);
            worker.buffers.give_outbound(deflated);
        });
        done
    }
}

impl WebsocketReader {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let before = into.len();
        loop {
            if self.session.answers_wait.load(Ordering::Acquire) {
                ready!(self.session.poll_answers(context))?;
            }
            if !self.left.is_empty() || self.inflating.is_some() {
                let mut left = std::mem::take(&mut self.left);
                self.take(&mut left, into);
            }
            if into.len() > before {
                return Poll::Ready(Ok(into.len() - before));
            }
            if let Some(end) = &self.end {
                return Poll::Ready(end.clone().map(|()| 0).map_err(io::Error::other));
            }
            let mut raw = worker::with(|worker| worker.buffers.take_frames());
            let polled = self.lower.poll_read(context, &mut raw);
            match &polled {
                Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
                Poll::Ready(Ok(_)) => self.take(&mut raw, into),
                _ => {}
            }
            worker::with(|worker| worker.buffers.give_frames(raw));
            ready!(polled)?;
        }
    }

    /// Takes what came apart, and keeps what there is no room for yet.
    fn take(&mut self, raw: &mut [u8], into: &mut Vec<u8>) {
        let mut input = raw;
        match self.pieces(&mut input, into) {
            Ok(()) => self.left = input.to_vec(),
            Err(reason) => {
                self.inflating = None;
                self.end = Some(Err(reason));
            }
        }
    }

    fn pieces(&mut self, input: &mut &mut [u8], into: &mut Vec<u8>) -> Result<(), String> {
        while self.end.is_none() {
            if self.inflating.is_some() && !self.inflate(into)? {
                return Ok(());
            }
            let piece = self.frames.next(input).map_err(|error| {
                let text = error.to_string();
                self.session.state.lock().close = Some(close_payload(status::PROTOCOL_ERROR, &text));
                text
            })?;
            match piece {
                None => return Ok(()),
                Some(Piece::Data { bytes, deflated: false, .. }) => into.extend_from_slice(bytes),
                Some(Piece::Data { bytes, ends, .. }) => self.gather(bytes, ends)?,
                Some(Piece::Ping(payload)) => self.session.answer(&payload),
                Some(Piece::Pong) => {}
                Some(Piece::Close(answer)) => {
                    self.session.state.lock().close = Some(answer);
                    self.end = Some(Ok(()));
                }
            }
        }
        *input = &mut [];
        Ok(())
    }

    /// Adds to a deflated message.
    fn gather(&mut self, bytes: &[u8], ends: bool) -> Result<(), String> {
        let tail = if ends { INFLATED_TAIL } else { &[] };
        if self.deflated.len() + bytes.len() + tail.len() > deflated_bytes_max(self.max_payload) {
            return Err(self.too_big());
        }
        self.deflated.extend_from_slice(bytes);
        if ends {
            self.deflated.extend_from_slice(tail);
            let inflater = worker::with(|worker| worker.buffers.take_inflater());
            self.inflating = Some(Inflating { inflater, taken: 0, bytes: 0 });
        }
        Ok(())
    }

    fn too_big(&self) -> String {
        const TEXT: &str = "maximum payload exceeded";
        self.session.state.lock().close = Some(close_payload(status::TOO_BIG, TEXT));
        TEXT.to_owned()
    }

    /// Inflates what there is room for; tells whether the message is done.
    fn inflate(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let Some(Inflating { inflater, taken, bytes }) = &mut self.inflating else { return Ok(true) };
        while into.len() < into.capacity() {
            let before = into.len();
            let input = self.deflated.get(*taken..).unwrap_or_default();
            let (count, ended) = inflater.inflate(input, into).map_err(|error| error.to_string())?;
            *taken += count;
            *bytes += into.len() - before;
            if *bytes > self.max_payload {
                // What fits is looked at, as on nats-server.
                into.truncate(into.len() - (*bytes - self.max_payload));
                return Err(self.too_big());
            }
            if ended {
                self.deflated = Vec::new();
                if let Some(done) = self.inflating.take() {
                    worker::with(|worker| worker.buffers.give_inflater(done.inflater));
                }
                return Ok(true);
            }
            if count == 0 && into.len() == before {
                return Err("unexpected EOF".to_owned());
            }
        }
        Ok(false)
    }

    /// Bounds messages to what one of the client protocol may have, in bytes.
    pub(super) fn limit_messages(&mut self, max_payload: usize) {
        self.max_payload = max_payload;
    }

    pub(super) fn end_with_reset(&self) {
        self.lower.end_with_reset();
    }
}

impl WebsocketWriter {
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.session.state.lock();
        let taken = match state.taken {
            Some(taken) => taken,
            None => {
                let part = bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes);
                state.frame(&self.framing, part)?;
                part.len()
            }
        };
        state.taken = Some(taken);
        self.session.flush(&mut state)?;
        state.taken = None;
        Ok(taken)
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.lower.poll_writable(context)
    }

    pub(super) fn failed_write(&self, error: &io::Error) -> String {
        self.session.lower.failed_write(error)
    }

    /// Tells the peer that the link ends, in the way that what came asks for, else with `payload`.
    pub(super) fn say_end(&self, payload: Option<Vec<u8>>) {
        let mut state = self.session.state.lock();
        let Some(payload) = state.close.take().or(payload).filter(|_| !state.closed) else { return };
        control_frame::close(state.frames(), &payload);
        state.closed = true;
        // Who does not take it sees the link end without it.
        let _ = self.session.flush(&mut state);
    }
}

impl fmt::Debug for WebsocketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebsocketWriter")
    }
}
