//! The block `websocket`.

use std::time::Duration;

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, duration, integer, listen, map, string, strings, text};
use super::{Draft, tls};
use crate::options::grammar::{Node, Value};
use crate::options::websocket_model::{WebsocketAuth, WebsocketOptions};
use jetkv_go_compat::GoDuration;

/// What the block says.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebsocketDraft {
    /// All but the port.
    pub(crate) options: WebsocketOptions,
    /// As given: -1 is any free one; there is no listener without one.
    pub(crate) port: i64,
}

/// Reads the block if the key is its own. A block by another of its names goes on with what the first said.
pub(super) fn read(key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<bool> {
    if !matches!(key, "websocket" | "ws") {
        return Ok(false);
    }
    let Value::Map(entries) = &node.value else {
        return Err(Problem::at(node, format!("Expected websocket to be a map, got {}", node.value.kind())));
    };
    for (key, value) in entries.iter() {
        match entry(&key.to_ascii_lowercase(), value, &mut draft.websocket, report) {
            Ok(true) => {}
            Ok(false) if value.is_used_variable() => {}
            Ok(false) => report.error(Problem::unknown_field(value, key)),
            Err(problem) => report.error(problem),
        }
    }
    Ok(true)
}

fn entry(key: &str, node: &Node, draft: &mut WebsocketDraft, report: &mut Report) -> Checked<bool> {
    let options = &mut draft.options;
    match key {
        "listen" => (options.host, draft.port) = listen(node)?,
        "port" => draft.port = integer(node)?,
        "host" | "net" => string(node)?.clone_into(&mut options.host),
        "advertise" => options.advertise = text(node)?,
        "no_tls" => options.no_tls = boolean(node)?,
        "tls" => options.tls = Some(tls::read(node)?),
        "same_origin" => options.same_origin = boolean(node)?,
        "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins" | "origin" => {
            options.allowed_origins = strings(node, "allowed origins", report)?;
        }
        "handshake_timeout" => options.handshake_timeout = handshake_timeout(node)?,
        "compress" | "compression" => options.compression = boolean(node)?,
        "authorization" | "authentication" => authorization(node, &mut options.auth, report)?,
        "jwt_cookie" => options.cookies.jwt = text(node)?,
        "user_cookie" => options.cookies.user = text(node)?,
        "pass_cookie" => options.cookies.password = text(node)?,
        "token_cookie" => options.cookies.token = text(node)?,
        "no_auth_user" => options.auth.no_auth_user = text(node)?,
        "headers" => headers(node, options, report)?,
        "ping_interval" => {
            let interval = duration(node, key, report)?;
            options.ping_interval = (interval.0 > 0).then(|| interval.as_duration());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn handshake_timeout(node: &Node) -> Checked<Option<Duration>> {
    let time = match &node.value {
        Value::Integer(seconds) => GoDuration(seconds.saturating_mul(1_000_000_000)),
        Value::String(text) => {
            GoDuration::parse(text).map_err(|error| Problem::at(node, error.to_string()))?
        }
        other => {
            let text = format!("error parsing handshake timeout: unsupported type {}", other.kind());
            return Err(Problem::at(node, text));
        }
    };
    Ok((time.0 > 0).then(|| time.as_duration()))
}

/// One name and password, or a token.
fn authorization(node: &Node, auth: &mut WebsocketAuth, report: &mut Report) -> Checked<()> {
    for (key, value) in map(node)?.iter() {
        match key.to_ascii_lowercase().as_str() {
            "user" | "username" => auth.username = text(value)?,
            "pass" | "password" => auth.password = text(value)?,
            "token" => auth.token = text(value)?,
            "timeout" => auth.timeout = authorization_timeout(value)?,
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(())
}

/// A number of seconds. A text is one second, whatever it says (nats-server v2.15.2).
#[allow(clippy::cast_precision_loss)]
fn authorization_timeout(node: &Node) -> Checked<Option<Duration>> {
    let seconds = match node.value {
        Value::Integer(seconds) => seconds as f64,
        Value::Float(seconds) => seconds,
        Value::String(_) => 1.0,
        _ => return Err(Problem::at(node, "error parsing authorization config, 'timeout' wrong type")),
    };
    Ok((seconds != 0.0).then(|| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

fn headers(node: &Node, options: &mut WebsocketOptions, report: &mut Report) -> Checked<()> {
    let Value::Map(entries) = &node.value else {
        let text = format!("error parsing headers: unsupported type {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    options.headers.clear();
    for (key, value) in entries.iter() {
        match string(value) {
            Ok(text) => drop(options.headers.insert(key.to_owned(), text.to_owned())),
            Err(_) => {
                let kind = value.value.kind();
                let text = format!("error parsing header key {key}: unsupported type {kind}");
                report.error(Problem::at(value, text));
            }
        }
    }
    Ok(())
}
