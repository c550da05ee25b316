//! Users with keys: the server sends a nonce, the client shows that it has the key by signing it.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use nkeys::KeyPair;
use rand::RngCore;

/// Random bytes in a nonce.
const NONCE_BYTES: usize = 11;
/// Go does not mind bits that are left over at the end.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
/// What signatures are written in, without padding.
const URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    LENIENT.with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
/// What is tried next.
const PADDED: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, LENIENT.with_decode_padding_mode(DecodePaddingMode::RequireCanonical));

/// Why a signature does not let anybody in. The texts are those that the log shows, at level debug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// There is none.
    #[error("Signature missing")]
    Missing,
    /// It is written in something else.
    #[error("Signature not valid base64")]
    NotBase64,
    /// It is not that of the nonce by the key.
    #[error("Signature not verified")]
    NotVerified,
}

/// A text that nobody can guess, for a client to sign.
pub(crate) fn nonce() -> String {
    let mut bytes = [0; NONCE_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    URL.encode(bytes)
}

/// Whether `signature`, as text, is that of `nonce` by `key`.
pub(crate) fn verify(key: &KeyPair, nonce: &str, signature: &str) -> Result<(), SignatureError> {
    if signature.is_empty() {
        return Err(SignatureError::Missing);
    }
    let text: Vec<u8> = signature.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let signature =
        URL.decode(&text).or_else(|_| PADDED.decode(&text)).map_err(|_| SignatureError::NotBase64)?;
    // Whoever was sent no nonce has nothing to sign.
    if nonce.is_empty() {
        return Err(SignatureError::NotVerified);
    }
    key.verify(nonce.as_bytes(), &signature).map_err(|_| SignatureError::NotVerified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &KeyPair, text: &str) -> Vec<u8> {
        key.sign(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_nonce_is_signed_by_its_key_in_either_alphabet() {
        let key = KeyPair::new_user();
        let nonce = nonce();
        assert_eq!(nonce.len(), 15);
        assert_ne!(nonce, super::nonce());
        let signature = signed(&key, &nonce);
        for text in [
            URL.encode(&signature),
            PADDED.encode(&signature),
            PADDED.encode(&signature).replace('=', "\r\n=\n"),
        ] {
            assert_eq!(verify(&key, &nonce, &text), Ok(()), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_signature() {
        let key = KeyPair::new_user();
        let good = signed(&key, "nonce");
        let mut bent = good.clone();
        bent[0] ^= 1;
        let other = signed(&KeyPair::new_user(), "nonce");
        for wrong in [
            bent,
            other,
            signed(&key, "another"),
            good[..63].to_vec(),
            [good.clone(), vec![0]].concat(),
            vec![0; 64],
        ] {
            assert_eq!(verify(&key, "nonce", &URL.encode(&wrong)), Err(SignatureError::NotVerified));
        }
        for garbage in ["*", "====", "AAA", "\u{1F511}", &"A".repeat(1 << 16), &"?".repeat(1 << 16)] {
            assert!(verify(&key, "nonce", garbage).is_err());
        }
        assert_eq!(verify(&key, "nonce", ""), Err(SignatureError::Missing));
        assert_eq!(verify(&key, "", &URL.encode(signed(&key, ""))), Err(SignatureError::NotVerified));
    }
}
