//! Who this server is.

use std::fmt;
use std::time::Instant;

use jetkv_jetstream::WallNs;
use nkeys::{KeyPair, XKey};
use rand::RngCore;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of an id of an event.
const EVENT_ID_LEN: usize = 22;

/// Who this server is, for as long as it runs.
pub(crate) struct ServerIdentity {
    /// Unique to this run: its public key.
    pub id: String,
    /// As configured, else the id.
    pub name: String,
    /// Public key that others seal for.
    pub xkey: String,
    /// The key that the server signs with.
    pub key: KeyPair,
    /// The key that opens what is sealed for the server.
    pub sealing: XKey,
    /// When it started, by the wall clock.
    pub started_at: WallNs,
    /// When it started.
    pub started: Instant,
}

/// Secrets do not reach the log.
impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({})", self.id)
    }
}

impl ServerIdentity {
    pub(crate) fn new(name: Option<&str>, now: WallNs) -> Self {
        let (key, sealing) = (KeyPair::new_server(), XKey::new());
        let id = key.public_key();
        Self {
            name: name.map_or_else(|| id.clone(), str::to_owned),
            id,
            xkey: sealing.public_key(),
            key,
            sealing,
            started_at: now,
            started: Instant::now(),
        }
    }
}

/// A random id as events carry it.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; EVENT_ID_LEN];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| char::from(digit(BASE62, usize::from(*byte) % BASE62.len()))).collect()
}

fn digit(alphabet: &[u8], value: usize) -> u8 {
    alphabet.get(value).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_ids_in_the_form_of_public_keys() {
        let identity = ServerIdentity::new(None, WallNs::default());
        assert!(identity.id.starts_with('N') && identity.id.len() == 56, "{}", identity.id);
        assert!(identity.xkey.starts_with('X') && identity.xkey.len() == 56);
        assert_eq!(identity.name, identity.id);
        assert_ne!(identity.id, ServerIdentity::new(None, WallNs::default()).id);
        assert_eq!(ServerIdentity::new(Some("n1"), WallNs::default()).name, "n1");
        assert_eq!(random_id().len(), EVENT_ID_LEN);
    }
}
