//! Digits to base 62, in the order that nats-server uses: in ids, and in short names that stand for longer ones.

use sha2::{Digest, Sha256};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of an id: of an event, an advisory, an inbox.
const ID_LEN: usize = 22;
/// Digits of a short name.
const SHORT_LEN: usize = 8;

fn digit(value: u8) -> char {
    DIGITS.get(usize::from(value) % DIGITS.len()).map_or('0', |digit| char::from(*digit))
}

/// An id of 22 digits from bytes that `random` fills in.
#[must_use]
pub fn id(random: impl FnOnce(&mut [u8])) -> String {
    let mut bytes = [0; ID_LEN];
    random(&mut bytes);
    bytes.into_iter().map(digit).collect()
}

/// Eight digits made from a hash of `name`: what nats-server puts into subjects and logs for the name of an account or a
/// server.
#[must_use]
pub fn short_hash(name: impl AsRef<[u8]>) -> String {
    Sha256::digest(name).iter().take(SHORT_LEN).map(|byte| digit(*byte)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_of_nats_server() {
        assert_eq!(super::short_hash("foo"), "icujg7CJ");
    }

    #[test]
    fn ids_have_22_digits() {
        let id = super::id(|bytes| {
            bytes.copy_from_slice(&[
                0, 9, 10, 35, 36, 61, 62, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
            ])
        });
        assert_eq!(id, "09AZaz07123456789ABCDE");
    }
}
