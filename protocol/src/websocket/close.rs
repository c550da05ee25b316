//! What a close frame says.

use super::CONTROL_BYTES_MAX;

/// Statuses, from section 7.4.1 of RFC 6455.
///
/// ```
/// use jetkv_protocol::websocket::status::{
///     GOING_AWAY, INTERNAL_ERROR, INVALID_PAYLOAD, NONE, NORMAL, POLICY_VIOLATION, PROTOCOL_ERROR, TLS_HANDSHAKE,
///     TOO_BIG,
/// };
///
/// let sent = [NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_PAYLOAD, POLICY_VIOLATION, TOO_BIG, INTERNAL_ERROR];
/// assert!(!sent.contains(&NONE) && !sent.contains(&TLS_HANDSHAKE));
/// ```
pub mod status {
    /// The connection has done what it was for.
    pub const NORMAL: u16 = 1000;
    /// One end goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// Something that is not the protocol came.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A frame says that it has no status; never sent.
    pub const NONE: u16 = 1005;
    /// Text is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// Somebody may not do what was asked for.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message is too big.
    pub const TOO_BIG: u16 = 1009;
    /// The server failed.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// A TLS handshake failed.
    pub const TLS_HANDSHAKE: u16 = 1015;
}

/// The payload of a close frame. A text that is too long for one ends in `...`.
pub fn close_payload(status: u16, text: &str) -> Vec<u8> {
    const TEXT_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;
    const CUT: &str = "...";
    let mut payload = status.to_be_bytes().to_vec();
    if text.len() <= TEXT_BYTES_MAX {
        payload.extend_from_slice(text.as_bytes());
    } else {
        let mut end = TEXT_BYTES_MAX - CUT.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend_from_slice(text.get(..end).unwrap_or_default().as_bytes());
        payload.extend_from_slice(CUT.as_bytes());
    }
    payload
}

/// Whether a peer may close with this status.
fn is_allowed(status: u16) -> bool {
    matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What answers a peer's close frame with this payload, or nats-server's words for what is wrong with it.
pub(super) fn answer(payload: &[u8]) -> Result<Vec<u8>, CloseError> {
    match payload {
        [] => Ok(Vec::new()),
        [_] => Err(CloseError::OneByte),
        [high, low, text @ ..] => {
            let given = u16::from_be_bytes([*high, *low]);
            if !is_allowed(given) {
                return Err(CloseError::Status(given));
            }
            Ok(match std::str::from_utf8(text) {
                Ok(text) => close_payload(given, text),
                Err(_) => close_payload(status::INVALID_PAYLOAD, "invalid utf8 body in close frame"),
            })
        }
    }
}

/// What is wrong with a peer's close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseError {
    OneByte,
    Status(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_answered_with_what_it_said() {
        assert_eq!(answer(b""), Ok(Vec::new()));
        assert_eq!(answer(&[3, 232]), Ok(vec![3, 232]));
        assert_eq!(answer(&[3, 233, b'a']), Ok(vec![3, 233, b'a']));
        let no_text = answer(&[3, 232, 0xff]).unwrap();
        assert_eq!(no_text, close_payload(1007, "invalid utf8 body in close frame"));
        assert_eq!(answer(&[3]), Err(CloseError::OneByte));
    }

    #[test]
    fn statuses_that_nobody_may_send_are_refused() {
        for wrong in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert_eq!(answer(&u16::to_be_bytes(wrong)), Err(CloseError::Status(wrong)));
        }
        for right in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1014, 3000, 4999] {
            assert!(answer(&u16::to_be_bytes(right)).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "é".repeat(100);
        let payload = close_payload(1008, &long);
        assert!(payload.len() <= CONTROL_BYTES_MAX);
        let text = std::str::from_utf8(&payload[2..]).unwrap();
        assert!(text.ends_with("é...") && text.len() > 110, "{text}");
        assert_eq!(close_payload(1000, &"x".repeat(123)).len(), 125);
    }
}
