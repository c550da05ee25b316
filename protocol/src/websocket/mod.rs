//! WebSocket (RFC 6455) as nats-server v2.15.2 speaks it: frames, messages under permessage-deflate (RFC 7692), and the
//! words of a close. The bytes inside are those of the client protocol; where a frame ends means nothing to it.

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
