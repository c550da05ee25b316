//! Short names that stand for longer ones in subjects.

use sha2::{Digest, Sha256};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LEN: usize = 8;

/// Eight digits to base 62, made from a hash of `name`: what nats-server puts into subjects and logs for the name of
/// an account or a server.
#[must_use]
pub fn short_hash(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let digit = |byte: &u8| DIGITS.get(usize::from(*byte) % DIGITS.len()).copied().unwrap_or(b'0');
    digest.iter().take(LEN).map(|byte| char::from(digit(byte))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_of_nats_server() {
        assert_eq!(super::short_hash("foo"), "icujg7CJ");
    }
}
