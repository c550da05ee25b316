//! Who this server is.

use std::time::Instant;

use jetkv_jetstream::WallNs;
use rand::RngCore;

/// Prefix byte of a server's public key in text form, `N`.
const SERVER_PREFIX: u8 = 13 << 3;
/// Prefix byte of a public key for sealing, `X`.
const CURVE_PREFIX: u8 = 23 << 3;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Length of an id of an event.
const EVENT_ID_LEN: usize = 22;

/// Who this server is, for as long as it runs.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    /// Unique to this run; has the form of a server's public key.
    pub id: String,
    /// As configured, else the id.
    pub name: String,
    /// Has the form of a public key for sealing.
    pub xkey: String,
    /// When it started, by the wall clock.
    pub started_at: WallNs,
    /// When it started.
    pub started: Instant,
}

impl ServerIdentity {
    pub(crate) fn new(name: Option<&str>, now: WallNs) -> Self {
        let id = random_key(SERVER_PREFIX);
        Self {
            name: name.map_or_else(|| id.clone(), str::to_owned),
            id,
            xkey: random_key(CURVE_PREFIX),
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

fn random_key(prefix: u8) -> String {
    let mut raw = vec![prefix];
    raw.resize(33, 0);
    if let Some(key) = raw.get_mut(1..) {
        rand::rng().fill_bytes(key);
    }
    raw.extend_from_slice(&crc16(&raw).to_le_bytes());
    base32(&raw)
}

/// CRC-16/XMODEM, the checksum at the end of keys in text form.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(digit(BASE32, (held >> bits) as usize & 31)));
        }
    }
    if bits > 0 {
        text.push(char::from(digit(BASE32, (held << (5 - bits)) as usize & 31)));
    }
    text
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

    #[test]
    fn the_checksum_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
    }
}
