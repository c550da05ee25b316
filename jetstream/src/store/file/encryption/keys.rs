//! Keys of assets: how they are made, wrapped and used.

use super::AccountKeys;
use crate::settings::Cipher;
use aes::Aes256;
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::Sha256;
use std::io;

type Aes256Gcm16 = AesGcm<Aes256, U16>;
type Aes256Ctr = ctr::Ctr128BE<Aes256>;

const SEED_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// Key files that are shorter are damaged.
pub(super) const KEY_FILE_MIN_LEN: usize = 64;

impl Cipher {
    fn nonce_len(self) -> usize {
        match self {
            Self::ChaCha => 24,
            Self::Aes => 16,
        }
    }

    /// Encrypts `plain`; what comes is the nonce, then the encrypted bytes, then their proof.
    fn seal(self, key: &[u8; SEED_LEN], nonce: &[u8], plain: &[u8]) -> io::Result<Vec<u8>> {
        let sealed = match (self, nonce.try_into(), nonce.try_into()) {
            (Self::ChaCha, Ok(nonce), _) => XChaCha20Poly1305::new(key.into()).encrypt(nonce, plain),
            (Self::Aes, _, Ok(nonce)) => Aes256Gcm16::new(key.into()).encrypt(nonce, plain),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let sealed = sealed.map_err(|_| io::Error::other("could not encrypt"))?;
        Ok([nonce, &sealed].concat())
    }

    /// Decrypts what [`Cipher::seal`] brought; `None` where the key is another one, or the bytes are.
    fn unseal(self, key: &[u8; SEED_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(self.nonce_len())?;
        match self {
            Self::ChaCha => XChaCha20Poly1305::new(key.into()).decrypt(nonce.try_into().ok()?, sealed).ok(),
            Self::Aes => Aes256Gcm16::new(key.into()).decrypt(nonce.try_into().ok()?, sealed).ok(),
        }
    }
}

fn random<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// The key of one asset.
pub(in crate::store::file) struct AssetKey {
    cipher: Cipher,
    seed: [u8; SEED_LEN],
    /// As long as the cipher's; that which the seed was wrapped with.
    nonce: Vec<u8>,
}

impl AssetKey {
    /// Encrypts a file that is written as a whole.
    pub(in crate::store::file) fn seal(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let nonce: [u8; 24] = random()?;
        let nonce = nonce.get(..self.cipher.nonce_len()).unwrap_or_default();
        self.cipher.seal(&self.seed, nonce, plain)
    }

    /// Decrypts such a file; `None` where it was encrypted with another key, or is damaged.
    pub(in crate::store::file) fn unseal(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.cipher.unseal(&self.seed, sealed)
    }

    /// Encrypts, or decrypts, bytes of a block that stand at `offset` in it.
    pub(in crate::store::file) fn apply_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let (seed, nonce) = (&self.seed, self.nonce.as_slice());
        let applied = match (self.cipher, nonce.try_into(), nonce.try_into()) {
            (Cipher::ChaCha, Ok(nonce), _) => {
                let mut stream = XChaCha20::new(seed.into(), nonce);
                stream.try_seek(offset).is_ok() && stream.try_apply_keystream(bytes).is_ok()
            }
            (Cipher::Aes, _, Ok(nonce)) => {
                let mut stream = Aes256Ctr::new(seed.into(), nonce);
                stream.try_seek(offset).is_ok() && stream.try_apply_keystream(bytes).is_ok()
            }
            _ => false,
        };
        if applied { Ok(()) } else { Err(io::Error::other("a block is too long to be encrypted")) }
    }
}

/// Why a key file does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyProblem {
    /// It is this short.
    TooShort(usize),
    /// It was made with another key, for another name, or is damaged.
    Unknown,
}

impl AccountKeys {
    /// Makes the key of an asset, and what stands in its key file. `context` is the name that the asset has for its key.
    pub(super) fn create(&self, context: &str) -> io::Result<(AssetKey, Vec<u8>)> {
        let cipher = self.encryption.cipher;
        let (seed, nonce) = (random::<SEED_LEN>()?, random::<24>()?);
        let nonce = nonce.get(..cipher.nonce_len()).unwrap_or_default();
        let wrapped = cipher.seal(&self.wrapping_key(&self.encryption.key, context), nonce, &seed)?;
        Ok((AssetKey { cipher, seed, nonce: nonce.to_vec() }, wrapped))
    }

    /// Opens a key file. Says whether it is as configured: with the key, and not the previous one, and the cipher.
    pub(super) fn open(&self, context: &str, wrapped: &[u8]) -> Result<(AssetKey, bool), KeyProblem> {
        if wrapped.len() < KEY_FILE_MIN_LEN {
            return Err(KeyProblem::TooShort(wrapped.len()));
        }
        let cipher = self.encryption.cipher;
        let keys = [Some(&self.encryption.key), self.encryption.previous_key.as_ref()];
        let ways = keys.into_iter().flatten().flat_map(|key| [(key, cipher), (key, cipher.other())]);
        for (number, (key, cipher)) in ways.enumerate() {
            let Some(seed) = cipher.unseal(&self.wrapping_key(key, context), wrapped) else { continue };
            let (Ok(seed), Some(nonce)) = (seed.try_into(), wrapped.get(..cipher.nonce_len())) else {
                continue;
            };
            return Ok((AssetKey { cipher, seed, nonce: nonce.to_vec() }, number == 0));
        }
        Err(KeyProblem::Unknown)
    }

    fn wrapping_key(&self, key: &str, context: &str) -> [u8; SEED_LEN] {
        // A key of any length will do.
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key.as_bytes()) else { return [0; SEED_LEN] };
        mac.update(self.account.as_bytes());
        mac.update(context.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Bytes that an encrypted file of either cipher has at least.
pub(super) const SEALED_MIN_LEN: usize = 16 + TAG_LEN;
