//! The request for an upgrade: whether it is one, and what comes of it. The order of the checks and all texts are those of
//! nats-server v2.15.2.

use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Request};
use jetkv_protocol::websocket::{BROWSER_FRAME_BYTES, Framing, is_key};

use super::response::Status;
use crate::net::client::Upgraded;
use crate::net::link::websocket::Terms;
use crate::options::WebsocketOptions;
use crate::options::origin::{Origin, host_and_port};

/// Headers that a request may have.
const HEADERS_MAX: usize = 128;

const BAD_REQUEST: Status = Status(400, "Bad Request");

/// The head of a request.
#[derive(Debug)]
pub(super) struct Parsed {
    /// How long it is.
    pub head_bytes: usize,
    pub is_http_10: bool,
    /// Another request may come behind it.
    pub keeps_alive: bool,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// An upgrade that is granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub key: Vec<u8>,
    pub terms: Terms,
    pub kind: Kind,
    pub upgraded: Upgraded,
}

/// Who asks for the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Leafnode,
}

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: Status,
    /// For the log.
    pub reason: String,
}

/// Whether the end of a head is in `bytes`, of which the first `looked_at` were looked at before.
pub(super) fn ends_head(bytes: &[u8], looked_at: usize) -> bool {
    let new = bytes.get(looked_at.saturating_sub(3)..).unwrap_or_default();
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

/// Takes a head apart. `None`: it is not whole.
///
/// # Errors
/// It is no request; the status line that says so.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, &'static str> {
    const MALFORMED: &str = "400 Bad Request";
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let head_bytes = match request.parse(bytes) {
        Ok(httparse::Status::Complete(count)) => count,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("431 Request Header Fields Too Large"),
        Err(httparse::Error::Version) if names_version(bytes) => {
            return Err("505 HTTP Version Not Supported: unsupported protocol version");
        }
        Err(_) => return Err(MALFORMED),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = request.headers.iter().map(|header| (header.name.to_owned(), text(header.value)));
    let mut parsed = Parsed {
        head_bytes,
        is_http_10: request.version == Some(0),
        keeps_alive: false,
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        headers: headers.collect(),
    };
    if !parsed.is_http_10 && parsed.get("Host").is_none() {
        return Err("400 Bad Request: missing required Host header");
    }
    let has_body = parsed.get("Transfer-Encoding").is_some()
        || parsed.get("Content-Length").is_some_and(|length| length.trim() != "0");
    parsed.keeps_alive = !parsed.is_http_10 && !has_body && !parsed.lists("Connection", "close");
    Ok(Some(parsed))
}

/// Whether the first line ends in what looks like a version.
fn names_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(last, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

impl Parsed {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first header of that name.
    fn get(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether `value` is among what a header lists.
    fn lists(&self, name: &'static str, value: &str) -> bool {
        let mut listed = self.all(name).flat_map(|list| list.split(','));
        listed.any(|one| one.trim_matches([' ', '\t']).eq_ignore_ascii_case(value))
    }

    fn offers_deflate(&self) -> bool {
        let mut parts = self.all("Sec-WebSocket-Extensions").flat_map(|list| list.split([',', ';']));
        parts.any(|part| part.trim_matches([' ', '\t']).eq_ignore_ascii_case("permessage-deflate"))
    }

    fn path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Decides on a request. `is_secure`: it came under TLS.
pub(super) fn judge(
    request: &Parsed,
    websocket: &WebsocketOptions,
    is_secure: bool,
) -> Result<Granted, Refusal> {
    let refused = |status, reason: &str| Err(Refusal { status, reason: reason.to_owned() });
    let bad = |reason| refused(BAD_REQUEST, reason);
    let kind = if request.path().ends_with("/leafnode") { Kind::Leafnode } else { Kind::Client };
    if request.path().ends_with("/mqtt") {
        return refused(Status(404, "Not Found"), "mqtt websocket endpoint not enabled");
    }
    if request.method != "GET" {
        return refused(Status(405, "Method Not Allowed"), "request method must be GET");
    }
    let Some(host) = request.get("Host").filter(|host| !host.is_empty()) else {
        return bad("'Host' missing in request");
    };
    for (header, value) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        if !request.lists(header, value) {
            return bad(&format!("invalid value for header '{header}'"));
        }
    }
    let key = match request.get("Sec-WebSocket-Key") {
        None | Some("") => return bad("key missing"),
        Some(key) if !is_key(key.as_bytes()) => return bad("invalid websocket key"),
        Some(key) => key.as_bytes().to_vec(),
    };
    if !request.lists("Sec-WebSocket-Version", "13") {
        return bad("invalid version");
    }
    check_origin(request, websocket, host, is_secure).map_err(|reason| Refusal {
        status: Status(403, "Forbidden"),
        reason: format!("origin not allowed: {reason}"),
    })?;
    let deflate = websocket.compression && request.offers_deflate();
    let agent = request.get("User-Agent").unwrap_or_default();
    let is_browser = kind == Kind::Client && agent.starts_with("Mozilla/");
    let framing = Framing {
        frame_bytes_max: is_browser.then_some(BROWSER_FRAME_BYTES),
        deflate,
        // Safari cannot put the frames of a deflated message together.
        whole_deflated: agent.contains("Version/") && agent.contains("Safari/"),
    };
    let terms = Terms { masked: request.get("Nats-No-Masking") != Some("true"), framing };
    let mut upgraded = Upgraded { forwarded_for: forwarded_for(request), ..Upgraded::default() };
    for header in request.all("Cookie") {
        upgraded.cookies.take(header, &websocket.cookies);
    }
    Ok(Granted { key, terms, kind, upgraded })
}

/// The address of the client, where the first header that tells it has one and nothing else.
fn forwarded_for(request: &Parsed) -> Option<String> {
    request.get("X-Forwarded-For").filter(|text| text.parse::<IpAddr>().is_ok()).map(str::to_owned)
}

fn check_origin(
    request: &Parsed,
    websocket: &WebsocketOptions,
    host: &str,
    is_secure: bool,
) -> Result<(), String> {
    if !websocket.same_origin && websocket.allowed_origins.is_empty() {
        return Ok(());
    }
    let given = |name: &'static str| request.get(name).filter(|origin| !origin.is_empty());
    // Who is no browser need not say where it comes from.
    let Some(text) = given("Origin").or_else(|| given("Sec-WebSocket-Origin")) else { return Ok(()) };
    let origin = Origin::parse(text)?;
    let place = origin.host_and_port()?;
    if websocket.same_origin {
        let own = host_and_port(is_secure, host)?;
        let scheme = if is_secure { "https" } else { "http" };
        if place != own || origin.scheme != scheme {
            return Err("not same origin".to_owned());
        }
    }
    let allows = |allowed: &String| {
        Origin::parse(allowed).is_ok_and(|allowed| {
            allowed.scheme == origin.scheme && allowed.host_and_port().is_ok_and(|allowed| allowed == place)
        })
    };
    if websocket.allowed_origins.is_empty() || websocket.allowed_origins.iter().any(allows) {
        return Ok(());
    }
    Err("not in the allowed list".to_owned())
}
