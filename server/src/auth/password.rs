//! Comparing passwords.

pub(super) use crate::options::is_bcrypt;

/// Compares a plain password, or another secret, in a time that depends on its length alone.
pub(crate) fn matches_plain(configured: impl AsRef<[u8]>, given: impl AsRef<[u8]>) -> bool {
    let (configured, given) = (configured.as_ref(), given.as_ref());
    configured.len() == given.len()
        && configured.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Compares with a bcrypt hash. Takes tens of milliseconds by design: not for a thread that serves connections.
pub(super) fn matches_bcrypt(hash: &str, given: &str) -> bool {
    bcrypt::verify(given, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_hashed_passwords_are_told_apart_and_compared() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        assert!(is_bcrypt(&hash) && !is_bcrypt("$2secret") && !is_bcrypt(""));
        assert!(matches_bcrypt(&hash, "secret") && !matches_bcrypt(&hash, "Secret"));
        assert!(!matches_bcrypt("$2a$broken", "secret"));
        assert!(matches_plain("secret", "secret") && !matches_plain("secret", "secre"));
        assert!(matches_plain("", "") && !matches_plain("", "x"));
    }
}
