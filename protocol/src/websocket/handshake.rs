//! The key of an upgrade, and what answers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// What every server adds to a key, from section 1.3 of RFC 6455.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a key before they are text.
const KEY_BYTES: usize = 16;

/// Whether `text` is a key: base64 of sixteen bytes.
pub fn is_key(text: &[u8]) -> bool {
    STANDARD.decode(text).is_ok_and(|key| key.len() == KEY_BYTES)
}

/// What `Sec-WebSocket-Accept` answers a key with.
pub fn accept_key(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        assert!(is_key(key));
        assert_eq!(accept_key(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for wrong in
            ["", "x", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZVI=", "dGhl IHNhbXBsZSBub25jZQ=="]
        {
            assert!(!is_key(wrong.as_bytes()), "{wrong}");
        }
    }
}
