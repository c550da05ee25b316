//! Frames: their headers, their masks, and which may follow which.

use std::fmt;

use super::close::{self, CloseError};
use super::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX};

const FINAL_BIT: u8 = 0x80;
const DEFLATED_BIT: u8 = 0x40;
const RESERVED_BITS: u8 = 0x30;
const OPCODE_BITS: u8 = 0x0f;
const MASK_BIT: u8 = 0x80;
const LENGTH_BITS: u8 = 0x7f;
/// The length is in the next two bytes, or in the next eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What came in a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A part of a message.
    Data {
        /// Its bytes, unmasked.
        bytes: &'a [u8],
        /// They belong to a message that is deflated.
        deflated: bool,
        /// The message ends with them.
        ends: bool,
    },
    /// A ping, to be answered with its payload.
    Ping(Vec<u8>),
    /// An answer to a ping.
    Pong,
    /// The peer closes; this is the payload of the answer.
    Close(Vec<u8>),
}

/// Why input is no WebSocket. `Display` is nats-server's wording, and the text of the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bits without a meaning are set.
    #[error("RSV2 and RSV3 must be clear")]
    Reserved,
    /// Nobody agreed on deflating.
    #[error("compressed frame received without negotiated permessage-deflate")]
    NotNegotiated,
    /// A client did not mask its frame.
    #[error("mask bit missing")]
    NotMasked,
    /// The payload of a control frame is too long.
    #[error("control frame length bigger than maximum allowed of {CONTROL_BYTES_MAX} bytes")]
    LongControl,
    /// A control frame is one of several.
    #[error("control frame does not have final bit set")]
    SplitControl,
    /// A control frame is deflated.
    #[error("control frame must not be compressed")]
    DeflatedControl,
    /// The last message has not ended.
    #[error("new message started before final frame for previous message was received")]
    Interrupted,
    /// There is nothing to go on with, or it goes on in another way than it began.
    #[error("invalid continuation frame")]
    Continuation,
    /// Nobody knows such a frame.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// The length is negative.
    #[error("invalid 64-bit payload length")]
    Length,
    /// A close frame has half a status.
    #[error("close frame payload cannot be 1 byte")]
    CloseOneByte,
    /// A close frame has a status that is not to be sent.
    #[error("invalid close status code {0}")]
    CloseStatus(u16),
}

impl From<CloseError> for FrameError {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::OneByte => Self::CloseOneByte,
            CloseError::Status(status) => Self::CloseStatus(status),
        }
    }
}

/// Takes a peer's bytes apart, however they are cut. It holds no more than a header and the payload of a control frame.
pub struct FrameReader {
    /// Frames must be masked.
    masked: bool,
    /// Messages may be deflated.
    deflated: bool,
    header: Header,
    /// The frame whose payload arrives.
    frame: Option<Frame>,
    /// The payload of a control frame, as far as it is here.
    control: Vec<u8>,
    /// A message has begun whose last frame has not.
    message_open: bool,
    /// That message is deflated.
    message_deflated: bool,
}

#[derive(Default)]
struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    count: usize,
}

#[derive(Clone, Copy)]
struct Frame {
    opcode: u8,
    is_final: bool,
    /// Bytes of the payload that are to come.
    left: u64,
    /// As its next byte is masked. All zero: it is not.
    mask: [u8; 4],
}

impl FrameReader {
    /// A reader at the beginning of a connection. `masked`: frames have to be. `deflated`: messages may be.
    pub fn new(masked: bool, deflated: bool) -> Self {
        Self {
            masked,
            deflated,
            header: Header::default(),
            frame: None,
            control: Vec::new(),
            message_open: false,
            message_deflated: false,
        }
    }

    /// The next piece of `input`, which begins behind it afterwards. `None`: all of `input` was taken. Masked bytes are
    /// unmasked where they are.
    ///
    /// # Errors
    /// [`FrameError`]; nothing after it can be understood.
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => match self.header(input)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        let here = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
        if here == 0 && frame.left > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        let (bytes, rest) = std::mem::take(input).split_at_mut(here);
        *input = rest;
        unmask(bytes, &mut frame.mask);
        frame.left -= here as u64;
        let is_whole = frame.left == 0;
        if frame.opcode >= CLOSE {
            self.control.extend_from_slice(bytes);
            if is_whole {
                return self.control(frame.opcode).map(Some);
            }
            self.frame = Some(frame);
            return Ok(None);
        }
        if !is_whole {
            self.frame = Some(frame);
        }
        let ends = is_whole && frame.is_final;
        Ok(Some(Piece::Data { bytes, deflated: self.message_deflated, ends }))
    }

    fn control(&mut self, opcode: u8) -> Result<Piece<'static>, FrameError> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            PONG => Ok(Piece::Pong),
            CLOSE => Ok(Piece::Close(close::answer(&payload)?)),
            _ => Ok(Piece::Ping(payload)),
        }
    }

    /// Takes bytes of a header from `input`, and the frame once it is whole.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            let known = self.header.bytes.get(..self.header.count).unwrap_or_default();
            let needed = self.header_size(known)?;
            if self.header.count == needed {
                let frame = self.begin()?;
                self.header.count = 0;
                return Ok(Some(frame));
            }
            let missing = (needed - self.header.count).min(input.len());
            if missing == 0 {
                return Ok(None);
            }
            let (bytes, rest) = std::mem::take(input).split_at_mut(missing);
            *input = rest;
            let end = self.header.count + missing;
            if let Some(into) = self.header.bytes.get_mut(self.header.count..end) {
                into.copy_from_slice(bytes);
            }
            self.header.count = end;
        }
    }

    /// How long the header is, as far as its first bytes tell, which are checked as soon as they are here.
    fn header_size(&self, known: &[u8]) -> Result<usize, FrameError> {
        let &[first, ref after @ ..] = known else { return Ok(1) };
        if first & RESERVED_BITS != 0 {
            return Err(FrameError::Reserved);
        }
        let deflated = first & DEFLATED_BIT != 0;
        if deflated && !self.deflated {
            return Err(FrameError::NotNegotiated);
        }
        let &[second, ..] = after else { return Ok(2) };
        if self.masked && second & MASK_BIT == 0 {
            return Err(FrameError::NotMasked);
        }
        let is_final = first & FINAL_BIT != 0;
        match first & OPCODE_BITS {
            CLOSE | PING | PONG => {
                if usize::from(second & LENGTH_BITS) > CONTROL_BYTES_MAX {
                    return Err(FrameError::LongControl);
                }
                if !is_final {
                    return Err(FrameError::SplitControl);
                }
                if deflated {
                    return Err(FrameError::DeflatedControl);
                }
            }
            TEXT | BINARY if self.message_open => return Err(FrameError::Interrupted),
            TEXT | BINARY => {}
            CONTINUATION if !self.message_open || deflated => return Err(FrameError::Continuation),
            CONTINUATION => {}
            opcode => return Err(FrameError::Opcode(opcode)),
        }
        let length = match second & LENGTH_BITS {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        // Who may leave the mask out is not read with one, as nats-server does.
        Ok(2 + length + if self.masked { 4 } else { 0 })
    }

    /// The frame whose header is whole.
    fn begin(&mut self) -> Result<Frame, FrameError> {
        let mut bytes = self.header.bytes.iter().copied();
        let mut byte = || bytes.next().unwrap_or_default();
        let (first, second) = (byte(), byte());
        let mut number = |count: usize| (0..count).fold(0u64, |number, _| number << 8 | u64::from(byte()));
        let left = match second & LENGTH_BITS {
            LENGTH_16 => number(2),
            LENGTH_64 => number(8),
            short => u64::from(short),
        };
        if left > i64::MAX as u64 {
            return Err(FrameError::Length);
        }
        let mask = if self.masked { (number(4) as u32).to_be_bytes() } else { [0; 4] };
        let (opcode, is_final) = (first & OPCODE_BITS, first & FINAL_BIT != 0);
        if opcode < CLOSE {
            if opcode != CONTINUATION {
                self.message_deflated = first & DEFLATED_BIT != 0;
            }
            self.message_open = !is_final;
        }
        Ok(Frame { opcode, is_final, left, mask })
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameReader")
    }
}

/// Takes the mask off, and turns it to where it goes on.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    if *mask == [0; 4] {
        return;
    }
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
}

/// How the server cuts what it sends into frames, which are not masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// Longest payload of a frame, in bytes. `None`: any.
    pub frame_bytes_max: Option<usize>,
    /// Messages are deflated where that is worth it.
    pub deflate: bool,
    /// A deflated message is one frame, however long.
    pub whole_deflated: bool,
}

impl Framing {
    /// Writes messages with these bytes in them.
    pub fn plain(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        for part in bytes.chunks(self.frame_bytes_max.unwrap_or(bytes.len()).max(1)) {
            frame_header(out, FINAL_BIT | BINARY, part.len());
            out.extend_from_slice(part);
        }
    }

    /// Writes one message whose deflated bytes these are.
    pub fn deflated(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        let max = self.frame_bytes_max.filter(|_| !self.whole_deflated);
        let mut parts = bytes.chunks(max.unwrap_or(bytes.len()).max(1)).peekable();
        let mut first = DEFLATED_BIT | BINARY;
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { FINAL_BIT } else { 0 };
            frame_header(out, first | last, part.len());
            out.extend_from_slice(part);
            first = CONTINUATION;
        }
    }
}

/// A control frame that the server sends.
pub mod control_frame {
    /// An answer to a ping.
    pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
        super::frame_header(out, super::FINAL_BIT | super::PONG, payload.len());
        out.extend_from_slice(payload);
    }

    /// A close, with the payload that [`close_payload`](super::super::close_payload) makes or an empty one.
    pub fn close(out: &mut Vec<u8>, payload: &[u8]) {
        super::frame_header(out, super::FINAL_BIT | super::CLOSE, payload.len());
        out.extend_from_slice(payload);
    }
}

fn frame_header(out: &mut Vec<u8>, first: u8, length: usize) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < LENGTH_16 => out.extend_from_slice(&[first, short]),
        (_, Ok(length)) => {
            out.extend_from_slice(&[first, LENGTH_16]);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[first, LENGTH_64]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
