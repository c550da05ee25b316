//! The header of a proxy in front of what a client says.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use jetkv_protocol::ProxyHeader;

use super::connection::Connection;
use crate::connections::{CloseReason, Peer};
use crate::net::outbound::Next;

/// Time in which the header has to be there.
const HEADER_MAX: Duration = Duration::from_secs(5);
/// Bytes that one read takes at most.
const READ_BYTES: usize = 1024;

impl Connection {
    /// Reads the header where the options say that there may be one. Returns what came behind it.
    pub(super) async fn behind_proxy(&mut self) -> Result<Vec<u8>, CloseReason> {
        if !self.settings.proxy_protocol || self.client.upgraded().is_some() {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        let shared = Arc::clone(&self.shared);
        let header = shared.timers.timeout(HEADER_MAX, self.read_header(&mut bytes)).await;
        let header = header.unwrap_or_else(|_| Err(Unread::Failed(late(&bytes))));
        self.begin_authentication(Instant::now());
        match header {
            Ok(ProxyHeader::Present { length, source }) => {
                bytes.drain(..length.min(bytes.len()));
                if let Some(source) = source {
                    self.client.set_proxied(Peer::Address(source));
                }
                Ok(bytes)
            }
            Ok(_) => Ok(bytes),
            Err(Unread::Failed(reason)) => {
                tracing::warn!(
                    "Error reading PROXY protocol header from {}: {reason}",
                    self.client.direct_peer()
                );
                Err(CloseReason::ProtocolViolation)
            }
            Err(Unread::Closing(reason)) => Err(reason),
        }
    }

    async fn read_header(&mut self, bytes: &mut Vec<u8>) -> Result<ProxyHeader, Unread> {
        loop {
            let header = ProxyHeader::read(bytes).map_err(|error| Unread::Failed(error.to_string()))?;
            if header != ProxyHeader::Incomplete {
                return Ok(header);
            }
            bytes.reserve(READ_BYTES);
            let (client, reader) = (&self.client, &mut self.reader);
            let read = poll_fn(|context| match client.poll_next(context) {
                Next::Close(reason) => Poll::Ready(Err(Unread::Closing(reason))),
                _ => {
                    // INFO may still be on its way, and many wait for it.
                    let _ = client.poll_drained(context);
                    reader.poll_read(context, bytes).map(Ok)
                }
            });
            match read.await? {
                Ok(0) => {
                    return Err(Unread::Failed(ended(bytes)));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(Unread::Failed(unread(bytes, &jetkv_go_compat::os_text(&error))));
                }
            }
        }
    }
}

/// Why there is no header.
enum Unread {
    Failed(String),
    Closing(CloseReason),
}

/// What could not be read, in nats-server's words.
fn unread(bytes: &[u8], reason: &str) -> String {
    let what = match bytes.len() {
        0..6 => "protocol version",
        _ if bytes.starts_with(b"PROXY ") => "v1 line",
        6..12 => "v2 signature",
        12..16 => "v2 header",
        _ if bytes.get(13).is_some_and(|family| family & 0xf0 == 0x20) => "IPv6 address data",
        _ => "IPv4 address data",
    };
    format!("failed to read {what}: {reason}")
}

/// The peer ended in the middle of a header. Whether that was expected depends on whether it began the part that is missing.
fn ended(bytes: &[u8]) -> String {
    let at_a_part = matches!(bytes.len(), 0 | 6 | 12 | 16) || bytes.starts_with(b"PROXY ");
    unread(bytes, if at_a_part { "EOF" } else { "unexpected EOF" })
}

/// The header took too long. The first bytes are waited for once and read again, so what is missing of them is an end.
fn late(bytes: &[u8]) -> String {
    if bytes.len() < 6 { ended(bytes) } else { unread(bytes, "i/o timeout") }
}
