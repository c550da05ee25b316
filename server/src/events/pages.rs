//! Monitoring pages as answers to `$SYS.REQ.SERVER.PING.<page>` and `$SYS.REQ.SERVER.<id>.<page>`.

use std::sync::Arc;

use jetkv_go_compat::json::{self, Decode, Decoder, Kind};
use serde::Serialize;
use serde_json::Value;

use super::model::ServerPart;
use crate::snapshot::MonitorSource;
use crate::state::Shared;
use crate::views;

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

impl PageAnswer {
    /// Whether it says what is wrong, instead of what was asked for.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// The page.
    path: &'static str,
    /// Name of the options in nats-server, for error texts.
    options: &'static str,
    /// The account that it is about; all where it is empty.
    account: &'a str,
}

impl<'a> Question<'a> {
    /// A question to the server.
    pub(super) fn to_server(question: &[u8]) -> Option<Self> {
        let (path, options) = match question {
            b"VARZ" => ("/varz", "server.VarzEventOptions"),
            b"CONNZ" => ("/connz", "server.ConnzEventOptions"),
            b"SUBSZ" => ("/subsz", "server.SubszEventOptions"),
            b"ROUTEZ" => ("/routez", "server.RoutezEventOptions"),
            b"GATEWAYZ" => ("/gatewayz", "server.GatewayzEventOptions"),
            b"LEAFZ" => ("/leafz", "server.LeafzEventOptions"),
            b"JSZ" => ("/jsz", "server.JszEventOptions"),
            b"ACCOUNTZ" => ("/accountz", "server.AccountzEventOptions"),
            b"HEALTHZ" => ("/healthz", "server.HealthzEventOptions"),
            b"EXPVARZ" => ("/debug/vars", "server.ExpvarzEventOptions"),
            b"IPQUEUESZ" => ("/ipqueuesz", "server.IpqueueszEventOptions"),
            b"PROFILEZ" => (views::PROFILE, "server.ProfilezEventOptions"),
            b"RAFTZ" => (views::RAFT_GROUPS, "server.RaftzEventOptions"),
            _ => return None,
        };
        Some(Self { path, options, account: "" })
    }

    /// A question about an account.
    pub(super) fn about(account: &'a str, question: &[u8]) -> Option<Self> {
        let (path, options) = match question {
            b"CONNZ" => ("/connz", "server.ConnzEventOptions"),
            b"SUBSZ" => ("/subsz", "server.SubszEventOptions"),
            b"LEAFZ" => ("/leafz", "server.LeafzEventOptions"),
            b"JSZ" => (views::ACCOUNT_JSZ, "server.JszEventOptions"),
            b"INFO" => (views::ACCOUNT_INFO, "server.AccInfoEventOptions"),
            b"STATZ" => (STATZ, "server.AccountStatzEventOptions"),
            _ => return None,
        };
        Some(Self { path, options, account })
    }

    /// The question about the numbers of all accounts.
    pub(super) fn all_statz() -> Self {
        Self { path: STATZ, options: "server.AccountStatzEventOptions", account: "" }
    }
}

const STATZ: &str = "/accstatz";

/// The answer, unless the request is meant for other servers or there is nothing to tell. `request` is empty or an
/// object with options and with what the server must be like.
pub(super) fn answer(shared: &Arc<Shared>, question: Question<'_>, request: &[u8]) -> Option<PageAnswer> {
    let server = ServerPart::new(shared);
    let options = match read(question.options, request) {
        Ok(options) => options,
        Err(description) => {
            let error = Some(Failure { code: 400, description });
            return Some(PageAnswer { server, data: None, error });
        }
    };
    if !is_meant(shared, &options) {
        return None;
    }
    let mut parameters = parameters(&options);
    if !question.account.is_empty() {
        let name = if question.path == STATZ { "accounts" } else { "acc" };
        parameters.insert(0, (name.to_owned(), question.account.to_owned()));
        if question.path == "/subsz" {
            parameters.insert(0, ("subs".to_owned(), "true".to_owned()));
        }
    }
    let with_unused = parameters.iter().any(|(name, value)| name == "unused" && value == "true");
    let source = MonitorSource::new(Arc::clone(shared));
    match views::json_page(&source, question.path, parameters) {
        Ok((status, mut data)) => {
            let found = data.get("account_statz").and_then(Value::as_array);
            if !with_unused && found.is_some_and(Vec::is_empty) {
                return None;
            }
            // What HTTP says in its status line.
            if let ("/healthz", Value::Object(fields)) = (question.path, &mut data) {
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

/// Fields of a request, as far as any question looks at them: without what is nested deeper than in a list.
struct Fields {
    /// Name in Go, for error texts.
    go_type: &'static str,
    read: Value,
}

impl Decode for Fields {
    fn go_type() -> &'static str {
        "map[string]interface {}"
    }

    fn decode(&mut self, value: json::Value<'_>, decoder: &mut Decoder) {
        let kind = match value.kind() {
            Kind::Object => {
                let mut fields = serde_json::Map::new();
                value.for_each_field(|name, field| drop(fields.insert(name.to_owned(), shallow(field))));
                self.read = Value::Object(fields);
                return;
            }
            Kind::Null => return,
            Kind::Bool => "bool",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
        };
        decoder.mismatch(kind, self.go_type);
    }
}

fn shallow(value: json::Value<'_>) -> Value {
    if value.kind() != Kind::Array {
        return scalar(value);
    }
    let mut elements = Vec::new();
    value.for_each_element(|element| elements.push(scalar(element)));
    Value::Array(elements)
}

/// Null for what is none.
fn scalar(value: json::Value<'_>) -> Value {
    match value.kind() {
        Kind::String => Value::String(value.string().into_owned()),
        Kind::Array | Kind::Object | Kind::Null => Value::Null,
        Kind::Bool | Kind::Number => serde_json::from_slice(value.raw()).unwrap_or_default(),
    }
}

/// Reads the fields of a request; none where it is empty. `go_type` is what they are in Go.
///
/// # Errors
/// Go's text.
pub(super) fn read(go_type: &'static str, request: &[u8]) -> Result<Value, String> {
    let mut fields = Fields { go_type, read: Value::Null };
    if !request.is_empty() {
        json::decode_lenient(request, &mut fields)?;
    }
    Ok(fields.read)
}

/// Whether a request without options of its own is not to be served: the answer that says so, or none where it is meant
/// for other servers.
pub(super) fn refusal(
    shared: &Arc<Shared>,
    options: &'static str,
    request: &[u8],
) -> Option<Option<PageAnswer>> {
    match read(options, request) {
        Ok(options) => (!is_meant(shared, &options)).then_some(None),
        Err(description) => {
            let error = Some(Failure { code: 400, description });
            Some(Some(PageAnswer { server: ServerPart::new(shared), data: None, error }))
        }
    }
}

/// Says what came of something that a request asked for.
pub(super) fn outcome(shared: &Arc<Shared>, result: Result<(), String>) -> PageAnswer {
    let error = result.err().map(|description| Failure { code: 500, description });
    PageAnswer { server: ServerPart::new(shared), data: None, error }
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
        && fits("cluster", options.cluster_name.as_deref().unwrap_or_default())
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
            ("accounts", Value::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                ("accounts", names.join(","))
            }
            ("include_unused", Value::Bool(on)) => ("unused", on.to_string()),
            ("consumer", Value::Bool(on)) => ("consumers", on.to_string()),
            ("direct_consumer", Value::Bool(on)) => ("direct-consumers", on.to_string()),
            ("leader_only", Value::Bool(on)) => ("leader-only", on.to_string()),
            ("stream_leader_only", Value::Bool(on)) => ("stream-leader-only", on.to_string()),
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
