//! WebSocket (RFC 6455) as nats-server v2.15.2 speaks it: frames, messages under permessage-deflate (RFC 7692), and the
//! words of a close. The bytes inside are those of the client protocol; where a frame ends means nothing to it.
//!
//! ```
//! use jetkv_protocol::websocket::{self, Deflater, FrameError, FrameReader, Framing, Inflater, Piece, status};
//!
//! // The handshake.
//! let key = b"dGhlIHNhbXBsZSBub25jZQ==";
//! assert!(websocket::is_key(key));
//! assert_eq!(websocket::accept_key(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
//!
//! // What a server sends is not masked, and is cut into frames as browsers want them.
//! let framing = Framing { frame_bytes_max: Some(websocket::BROWSER_FRAME_BYTES), ..Framing::default() };
//! let mut sent = Vec::new();
//! framing.plain(&mut sent, b"PING\r\n");
//! assert!(sent.len() <= 6 + websocket::HEADER_BYTES_MAX);
//! let mut reader = FrameReader::new(false, false);
//! let piece = reader.next(&mut &mut sent[..])?;
//! assert_eq!(piece, Some(Piece::Data { bytes: b"PING\r\n", deflated: false, ends: true }));
//!
//! // Longer messages may be deflated.
//! let message = [b'x'; websocket::DEFLATED_BYTES_MIN * 10];
//! let (mut small, mut large) = (Vec::new(), Vec::with_capacity(message.len()));
//! Deflater::default().message(&message, &mut small)?;
//! let mut framed = Vec::new();
//! framing.deflated(&mut framed, &small);
//! let mut inflater = Inflater::default();
//! inflater.reset();
//! inflater.inflate(&small, &mut large)?;
//! inflater.inflate(websocket::INFLATED_TAIL, &mut large)?;
//! assert_eq!(large, message);
//! assert!(small.len() < websocket::deflated_bytes_max(message.len()));
//!
//! // The end.
//! let payload = websocket::close_payload(status::NORMAL, "done");
//! assert!(payload.len() <= websocket::CONTROL_BYTES_MAX);
//! let mut end = Vec::new();
//! websocket::control_frame::close(&mut end, &payload);
//! assert!(matches!(reader.next(&mut &mut end[..])?, Some(Piece::Close(_))));
//! let masked: Result<_, FrameError> = FrameReader::new(true, false).next(&mut &mut sent[..]);
//! assert!(masked.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod close;
mod deflate;
mod frame;
mod handshake;

pub use close::{close_payload, status};
pub use deflate::{Deflater, INFLATED_TAIL, InflateError, Inflater};
pub use frame::{FrameError, FrameReader, Framing, Piece, control_frame};
pub use handshake::{accept_key, is_key};

/// Longest payload of a control frame, in bytes.
pub const CONTROL_BYTES_MAX: usize = 125;
/// Longest header of a frame, in bytes.
pub const HEADER_BYTES_MAX: usize = 14;
/// Payload of a frame that browsers get, in bytes at most.
pub const BROWSER_FRAME_BYTES: usize = 4096;
/// What is not longer is sent as it is, in bytes.
pub const DEFLATED_BYTES_MIN: usize = 64;

/// Bytes that a deflated message may have, where the largest message of the client protocol has `max_payload`.
///
/// nats-server v2.15.2 lets a few messages come in one.
pub fn deflated_bytes_max(max_payload: usize) -> usize {
    const MESSAGES: usize = 8;
    const LIMIT: usize = 64 << 20;
    max_payload.saturating_mul(MESSAGES).min(LIMIT)
}
