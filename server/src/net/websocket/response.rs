//! What a request on the listener for WebSocket is answered with, byte by byte as Go's server writes it.

use std::collections::BTreeMap;

use jetkv_protocol::websocket::accept_key;

use super::request::Granted;

/// The extension as the server grants it.
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

/// A refusal of a request that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub u16, pub &'static str);

/// Grants the upgrade.
pub(super) fn switching(granted: &Granted, headers: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        accept_key(&granted.key)
    );
    if granted.terms.framing.deflate {
        text.push_str(DEFLATE);
    }
    if !granted.terms.masked {
        text.push_str("Nats-No-Masking: true\r\n");
    }
    for (key, value) in headers {
        text.push_str(&format!("{key}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Refuses the upgrade.
pub(super) fn refused(Status(code, text): Status, is_http_10: bool, goes_on: bool) -> Vec<u8> {
    let version = if is_http_10 { "1.0" } else { "1.1" };
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let length = text.len() + 1;
    // Who speaks 1.0 expects nothing else.
    let close = if goes_on || is_http_10 { "" } else { "Connection: close\r\n" };
    format!(
        "HTTP/{version} {code} {text}\r\nContent-Type: text/plain; charset=utf-8\r\nSec-Websocket-Version: 13\r\n\
         X-Content-Type-Options: nosniff\r\nDate: {date}\r\nContent-Length: {length}\r\n{close}\r\n{text}\n"
    )
    .into_bytes()
}

/// Refuses what is no request.
pub(super) fn malformed(status: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{status}"
    )
    .into_bytes()
}
