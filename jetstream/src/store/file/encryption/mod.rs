//! Encryption at rest, in nats-server's format.
//!
//! From the configured key, the account and a name (a stream's, a stream's and a block's number, a stream's and a
//! consumer's) comes the key that wraps the seed of an asset: `meta.key` beside `meta.inf`, and `N.key` beside `N.blk`. The
//! seed encrypts what is written as a whole (metadata, states, `index.db`), with a nonce of its own and proof; and blocks
//! byte by byte, by their position and without proof, so that they can be appended to.
//!
//! What is not encrypted as configured, with another key, another cipher or not at all, is converted when it is opened.

mod blocks;
mod convert;
mod directory;
mod keys;
mod storage;

pub(super) use blocks::EncryptedBlocks;
pub(super) use convert::convert_blocks;
pub(super) use directory::{Contents, DirectoryKey, Frame, KEY, Protection};
pub(super) use keys::AssetKey;

use crate::settings::{Cipher, Encryption};
use std::sync::Arc;

impl Cipher {
    fn other(self) -> Self {
        match self {
            Self::ChaCha => Self::Aes,
            Self::Aes => Self::ChaCha,
        }
    }
}

/// The keys of one account's assets.
#[derive(Clone)]
pub(super) struct AccountKeys {
    pub(super) encryption: Arc<Encryption>,
    pub(super) account: String,
}
