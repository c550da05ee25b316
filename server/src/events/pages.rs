//! Monitoring pages as answers to `$SYS.REQ.SERVER.PING.<page>` and `$SYS.REQ.SERVER.<id>.<page>`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::model::ServerPart;
use crate::monitor;
use crate::snapshot::MonitorSource;
use crate::state::Shared;

/// What went wrong, with the code of an HTTP response.
#[derive(Debug, Serialize)]
struct Failure {
    code: u16,
    description: String,
}

/// An answer with a page in it.
#[derive(Debug, Serialize)]
pub(super) struct PageAnswer {
    server: ServerPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// The path of the page that a question stands for.
pub(super) fn path(question: &[u8]) -> Option<&'static str> {
    Some(match question {
        b"VARZ" => "/varz",
        b"CONNZ" => "/connz",
        b"SUBSZ" => "/subsz",
        b"JSZ" => "/jsz",
        b"ACCOUNTZ" => "/accountz",
        b"HEALTHZ" => "/healthz",
        _ => return None,
    })
}

/// The answer, unless the request is meant for other servers. `request` is empty or an object with options and with
/// what the server must be like.
pub(super) fn answer(shared: &Arc<Shared>, path: &str, request: &[u8]) -> Option<PageAnswer> {
    let server = ServerPart::new(shared);
    let options = match request {
        b"" => Value::Null,
        _ => match serde_json::from_slice(request) {
            Ok(options) => options,
            Err(error) => {
                let error = Some(Failure { code: 400, description: error.to_string() });
                return Some(PageAnswer { server, data: None, error });
            }
        },
    };
    if !is_meant(shared, &options) {
        return None;
    }
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), shared.options().port);
    let source = MonitorSource::new(Arc::clone(shared), address);
    match monitor::json_page(&source, path, parameters(&options)) {
        Ok((status, page)) => {
            let mut data = serde_json::from_str(&page).unwrap_or_default();
            // What HTTP says in its status line.
            if let ("/healthz", Value::Object(fields)) = (path, &mut data) {
                fields.shift_insert(1, "status_code".to_owned(), status.into());
            }
            Some(PageAnswer { server, data: Some(data), error: None })
        }
        Err(description) => {
            let error = Some(Failure { code: 500, description });
            Some(PageAnswer { server, data: Some(Value::Null), error })
        }
    }
}

/// Whether this server is what the request asks for.
fn is_meant(shared: &Shared, request: &Value) -> bool {
    let field = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let exact = request.get("exact_match").and_then(Value::as_bool).unwrap_or(false);
    let fits = |name: &str, own: &str| {
        let wanted = field(name);
        wanted.is_empty() || if exact { wanted == own } else { own.contains(wanted) }
    };
    let options = shared.options();
    let has_tags = match request.get("tags").and_then(Value::as_array) {
        Some(tags) => tags.iter().all(|tag| options.tags.iter().any(|own| tag == own)),
        None => true,
    };
    let domain = field("domain");
    fits("server_name", &shared.identity.name)
        && fits("host", &shared.listening().0)
        && fits("cluster", "")
        && has_tags
        && (domain.is_empty() || options.jetstream.domain.as_deref() == Some(domain))
}

/// Options of a request as the parameters of the page's address.
fn parameters(request: &Value) -> Vec<(String, String)> {
    let Value::Object(fields) = request else { return Vec::new() };
    let mut parameters = Vec::new();
    for (name, value) in fields {
        let (name, text) = match (name.as_str(), value) {
            ("subscriptions_detail", Value::Bool(true)) => ("subs", "detail".to_owned()),
            ("subscriptions", Value::Bool(on)) => ("subs", on.to_string()),
            ("account", Value::String(account)) => {
                parameters.push(("acc".to_owned(), account.clone()));
                ("account", account.clone())
            }
            // Open, closed, all.
            ("state", Value::Number(state)) => {
                let name = match state.as_u64() {
                    Some(1) => "closed",
                    Some(2) => "any",
                    _ => "open",
                };
                ("state", name.to_owned())
            }
            (name, Value::String(text)) => (name, text.clone()),
            (name, Value::Bool(_) | Value::Number(_)) => (name, value.to_string()),
            _ => continue,
        };
        // The first of two parameters with the same name counts.
        if text == "detail" {
            parameters.insert(0, (name.to_owned(), text));
        } else {
            parameters.push((name.to_owned(), text));
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn options_become_the_parameters_of_the_page() {
        let request = serde_json::json!({
            "subscriptions": true, "subscriptions_detail": true, "state": 1, "limit": 5, "account": "A", "tags": ["x"]
        });
        let found = parameters(&request);
        let value =
            |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (value("subs"), value("state"), value("limit")),
            (Some("detail"), Some("closed"), Some("5"))
        );
        assert_eq!((value("acc"), value("account"), value("tags")), (Some("A"), Some("A"), None));
    }
}
