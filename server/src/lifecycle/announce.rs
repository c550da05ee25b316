//! What a server says in its log while it starts, in nats-server's words.

use std::sync::Arc;
use std::time::Instant;

use jetkv_jetstream::EngineError;
use sha2::{Digest, Sha256};

use crate::jetstream::JetStream;
use crate::options::defaults::MAX_PAYLOAD_WARN_BYTES;
use crate::state::{JETSTREAM_API_LEVEL, Shared, VERSION};

/// Characters of the short name that replicas know a server by.
const NODE_LEN: usize = 8;

pub(super) fn starting(shared: &Shared) {
    let options = shared.options();
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  {VERSION}");
    tracing::info!("  Git:      [not set]");
    tracing::info!("  Name:     {}", shared.identity.name);
    if options.jetstream.enabled {
        tracing::info!("  Node:     {}", node(&shared.identity.name));
    }
    tracing::info!("  ID:       {}", shared.identity.id);
    if shared.auth().has_plain_passwords() {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if let Some(file) = &options.config_file {
        let digest = options.config_digest.as_ref().map(|digest| format!("({digest})")).unwrap_or_default();
        tracing::info!("Using configuration file: {file} {digest}");
    }
    if options.limits.max_payload_bytes > MAX_PAYLOAD_WARN_BYTES {
        tracing::warn!(
            "Maximum payloads over {} are generally discouraged and could lead to poor performance",
            friendly_bytes(MAX_PAYLOAD_WARN_BYTES as u64)
        );
    }
}

/// Logs around the start of the engine.
pub(super) fn jetstream(
    shared: &Shared,
    start: impl FnOnce() -> Result<Arc<JetStream>, EngineError>,
) -> Result<(), EngineError> {
    tracing::info!("Starting JetStream");
    let began = Instant::now();
    let engine = start()?;
    let config = engine.engine().config();
    let limit = |bytes: i64| friendly_bytes(u64::try_from(bytes).unwrap_or(0));
    tracing::info!("---------------- JETSTREAM ----------------");
    tracing::info!("  Strict:          {}", config.strict);
    tracing::info!("  Max Memory:      {}", limit(config.max_memory_bytes));
    tracing::info!("  Max Storage:     {}", limit(config.max_file_bytes));
    if let Some(directory) = &config.store_dir {
        tracing::info!("  Store Directory: \"{}\"", directory.join("jetstream").display());
    }
    if !config.domain.is_empty() {
        tracing::info!("  Domain:          {}", config.domain);
    }
    tracing::info!("  API Level:       {JETSTREAM_API_LEVEL}");
    tracing::info!("-------------------------------------------");
    for account in shared.accounts.all().iter().filter(|account| account.has_jetstream()) {
        tracing::debug!("JetStream state for account {:?} recovered", account.name());
    }
    tracing::info!("Took {:?} to start JetStream", began.elapsed());
    Ok(())
}

pub(super) fn listening(shared: &Shared, host: &str, port: u16) {
    tracing::info!("Listening for client connections on {}", host_port(host, port));
    let advertised = shared.options().client_advertise.clone().and_then(|advertised| {
        let (host, port) = advertised.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
    });
    let (host, port) = advertised.unwrap_or_else(|| (host.to_owned(), port));
    shared.set_listening(host, port);
}

/// Host and port, IPv6 addresses in brackets.
pub(super) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Bytes with the largest unit that leaves a whole number of them.
fn friendly_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS.get(unit).unwrap_or(&"EB"))
}

fn node(name: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(name.as_bytes());
    let digit = |byte: &u8| DIGITS.get(usize::from(*byte) % DIGITS.len()).copied().unwrap_or(b'0');
    digest.iter().take(NODE_LEN).map(|byte| char::from(digit(byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_name_of_a_server_is_the_one_that_nats_server_logs() {
        assert_eq!(node("NALTIOCDHCQZJJXEKAV7SDVSH35FI7DIZ5SM7EL7SCIPHYOG7W57QHKR"), "29307O64");
    }

    #[test]
    fn sizes_are_worded_as_nats_server_words_them() {
        assert_eq!(friendly_bytes(18_957_385_728), "17.66 GB");
        assert_eq!(friendly_bytes(59_217_417_216), "55.15 GB");
        assert_eq!(friendly_bytes(8 * 1024 * 1024), "8.00 MB");
        assert_eq!(friendly_bytes(1023), "1023 B");
    }
}
