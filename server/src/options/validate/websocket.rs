//! What must hold of the block `websocket`.

use super::check_listed;
use crate::options::model::Options;
use crate::options::origin::Origin;
use crate::options::websocket_model::WebsocketOptions;
use jetkv_go_compat::quoted;

/// Headers that an upgrade has by itself.
const OWN_HEADERS: [&str; 5] = ["host", "content-length", "connection", "upgrade", "nats-no-masking"];

/// Checks the block. The error is nats-server's text.
pub(super) fn check(options: &Options) -> Result<(), String> {
    let Some(websocket) = &options.websocket else { return Ok(()) };
    if websocket.tls.is_none() && !websocket.no_tls {
        return Err("websocket requires TLS configuration".to_owned());
    }
    websocket.allowed_origins.iter().try_for_each(|origin| check_origin(origin))?;
    check_auth(options, websocket)?;
    for key in websocket.headers.keys() {
        let lower = key.to_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) {
            return Err(format!("websocket: invalid header {} not allowed", quoted(key)));
        }
        if lower.starts_with("sec-websocket-") {
            let key = quoted(key);
            return Err(format!("websocket: invalid header {key}, \"Sec-WebSocket-\" prefix not allowed"));
        }
    }
    Ok(())
}

fn check_origin(text: &str) -> Result<(), String> {
    let refused = |error: String| format!("unable to parse allowed origin: {error}");
    let origin = Origin::parse(text).map_err(refused)?;
    if !matches!(origin.scheme.as_str(), "http" | "https") {
        return Err(format!(
            "unable to parse allowed origin {}: allowed origins must be absolute URLs with http or https scheme",
            quoted(text)
        ));
    }
    if origin.authority.is_empty() {
        return Err(format!("unable to parse allowed origin {}: host is required", quoted(text)));
    }
    origin.host_and_port().map(drop).map_err(refused)
}

fn check_auth(options: &Options, websocket: &WebsocketOptions) -> Result<(), String> {
    let auth = &websocket.auth;
    if let Some(name) = &auth.no_auth_user {
        check_listed(options, name)?;
    }
    if options.auth.has_users() {
        for (what, given) in [("username", &auth.username), ("token", &auth.token)] {
            if given.is_some() {
                return Err(format!(
                    "websocket authentication {what} not compatible with presence of users/nkeys"
                ));
            }
        }
    }
    if let Some(cookie) = websocket.cookies.jwt.as_ref().filter(|_| !options.operators.is_on()) {
        return Err(format!(
            "trusted operators or trusted keys configuration is required for JWT authentication via cookie {}",
            quoted(cookie)
        ));
    }
    Ok(())
}
