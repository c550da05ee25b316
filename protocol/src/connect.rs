//! The object inside CONNECT.

use jetkv_go_compat::json::{self, go_struct};
use serde::Serialize;
use thiserror::Error;

/// The newest client protocol: the client takes INFO at any time.
pub const PROTOCOL_INFO: i64 = 1;

/// JSON that is not an object of the right types, in Go's words. nats-server closes the connection without a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct JsonError(String);

/// Reads an object onto what `target` holds already.
pub(crate) fn read_onto<T: json::Decode>(target: &mut T, json: &[u8]) -> Result<(), JsonError> {
    json::decode_lenient(json, target).map_err(JsonError)
}

/// Whether a field has its zero value and is left out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a client says of itself.
///
/// Read as nats-server v2.15.2 does: names in any case, unknown names skipped, null for "as before", wrong
/// types refused. A second CONNECT is read onto the options of the first, see [`merge`](Self::merge).
///
/// ```
/// use jetkv_protocol::connect::{ConnectOptions, JsonError, PROTOCOL_INFO, SubjectPermission};
///
/// let mut options = ConnectOptions::from_json(br#"{"verbose":false,"protocol":1,"name":"me"}"#)?;
/// assert_eq!((options.verbose, options.protocol), (false, PROTOCOL_INFO));
/// options.merge(br#"{"import":{"allow":["a"]}}"#)?;
/// assert_eq!(options.name, "me");
/// assert_eq!(options.import, Some(SubjectPermission { allow: vec!["a".to_owned()], deny: Vec::new() }));
/// assert!(options.to_json().starts_with(r#"{"echo":true,"verbose":false,"#));
///
/// let error: JsonError = ConnectOptions::from_json(b"{").unwrap_err();
/// assert_eq!(error.to_string(), "unexpected end of JSON input");
/// # Ok::<(), JsonError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectOptions {
    /// Whether the client gets its own messages back.
    pub echo: bool,
    /// Whether each operation is answered with +OK.
    pub verbose: bool,
    /// Whether subjects of publishes are checked.
    pub pedantic: bool,
    /// Whether the client insists on TLS.
    pub tls_required: bool,
    /// Public key of the user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nkey: String,
    /// The user's claims.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jwt: String,
    /// The nonce of INFO, signed; base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sig: String,
    /// A token in place of user and password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_token: String,
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pass: String,
    /// What the client calls this connection.
    pub name: String,
    /// The client library's language.
    pub lang: String,
    /// The client library's version.
    pub version: String,
    /// 0, or [`PROTOCOL_INFO`]; nats-server refuses any other number.
    pub protocol: i64,
    /// An account to join; nats-server refuses any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Ask for a new account; nats-server refuses it.
    #[serde(skip_serializing_if = "is_zero")]
    pub new_account: bool,
    /// Whether the client takes HMSG and sends HPUB.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers: bool,
    /// Whether a request without responders is answered with a 503 status; needs `headers`.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_responders: bool,
    /// Of routes and leaf nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<SubjectPermission>,
    /// Of routes and leaf nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<SubjectPermission>,
    /// Of leaf nodes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// A proxy's signature of the nonce.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_sig: String,
}

go_struct! { ConnectOptions as "ClientOpts" {
    "echo" => echo, "verbose" => verbose, "pedantic" => pedantic, "tls_required" => tls_required,
    "nkey" => nkey, "jwt" => jwt, "sig" => sig, "auth_token" => auth_token, "user" => user, "pass" => pass,
    "name" => name, "lang" => lang, "version" => version, "protocol" => protocol as Int,
    "account" => account, "new_account" => new_account, "headers" => headers,
    "no_responders" => no_responders, "import" => import, "export" => export,
    "remote_account" => remote_account, "proxy_sig" => proxy_sig,
} }

impl Default for ConnectOptions {
    /// What holds before CONNECT: echo, verbose and pedantic are on, all else is off or empty.
    fn default() -> Self {
        Self {
            echo: true,
            verbose: true,
            pedantic: true,
            tls_required: false,
            nkey: String::new(),
            jwt: String::new(),
            sig: String::new(),
            auth_token: String::new(),
            user: String::new(),
            pass: String::new(),
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            protocol: 0,
            account: String::new(),
            new_account: false,
            headers: false,
            no_responders: false,
            import: None,
            export: None,
            remote_account: String::new(),
            proxy_sig: String::new(),
        }
    }
}

impl ConnectOptions {
    /// Reads the first CONNECT of a connection.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        let mut options = Self::default();
        options.merge(json)?;
        Ok(options)
    }

    /// Reads a further CONNECT: fields that it does not name keep their value. After an error some
    /// fields may have changed.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn merge(&mut self, json: &[u8]) -> Result<(), JsonError> {
        read_onto(self, json)
    }

    /// The object as JSON, for a client to send.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }
}

/// Subjects that may and may not pass, on a route or leaf node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SubjectPermission {
    /// Patterns of what may pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Patterns of what may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

go_struct! { SubjectPermission as "SubjectPermission" {
    "allow" => allow, "deny" => deny,
} }

/// What the server that opened a leaf node connection says of itself, read and written as nats-server v2.15.2 does.
///
/// ```
/// use jetkv_protocol::connect::LeafConnect;
///
/// let said = LeafConnect { name: "edge".to_owned(), headers: true, ..LeafConnect::default() };
/// assert_eq!(said.to_json(), r#"{"name":"edge","headers":true}"#);
/// assert_eq!(LeafConnect::from_json(said.to_json().as_bytes())?, said);
/// # Ok::<(), jetkv_protocol::connect::JsonError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeafConnect {
    /// The server's version.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: String,
    /// Public key of the user.
    #[serde(skip_serializing_if = "is_zero")]
    pub nkey: String,
    /// The user's claims.
    #[serde(skip_serializing_if = "is_zero")]
    pub jwt: String,
    /// The nonce of INFO, signed; base64.
    #[serde(skip_serializing_if = "is_zero")]
    pub sig: String,
    /// User name.
    #[serde(skip_serializing_if = "is_zero")]
    pub user: String,
    /// Password.
    #[serde(skip_serializing_if = "is_zero")]
    pub pass: String,
    /// A token in place of user and password.
    #[serde(skip_serializing_if = "is_zero")]
    pub auth_token: String,
    /// The server's key, unique to this run of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub server_id: String,
    /// Its JetStream domain.
    #[serde(skip_serializing_if = "is_zero")]
    pub domain: String,
    /// Its name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// It is the hub, though it opened the connection.
    #[serde(skip_serializing_if = "is_zero")]
    pub is_hub: bool,
    /// Name of its cluster.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster: String,
    /// Whether messages may have headers.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers: bool,
    /// Whether its account has JetStream.
    #[serde(skip_serializing_if = "is_zero")]
    pub jetstream: bool,
    /// Subjects that are not to be sent to it.
    #[serde(skip_serializing_if = "is_zero")]
    pub deny_pub: Vec<String>,
    /// It wants no interest of other leaf nodes.
    #[serde(skip_serializing_if = "is_zero")]
    pub isolate: bool,
    /// How the connection is compressed.
    #[serde(skip_serializing_if = "is_zero")]
    pub compress_mode: String,
    /// Name of a gateway, which a leaf node has not.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway: String,
    /// Its account.
    #[serde(skip_serializing_if = "is_zero")]
    pub remote_account: String,
    /// The newest protocol between servers that it speaks.
    #[serde(skip_serializing_if = "is_zero")]
    pub protocol: i64,
    /// The library of a client, which a leaf node has not.
    #[serde(skip_serializing)]
    pub lang: String,
}

go_struct! { LeafConnect as "leafConnectInfo" {
    "version" => version, "nkey" => nkey, "jwt" => jwt, "sig" => sig, "user" => user, "pass" => pass,
    "auth_token" => auth_token, "server_id" => server_id, "domain" => domain, "name" => name,
    "is_hub" => is_hub, "cluster" => cluster, "headers" => headers, "jetstream" => jetstream,
    "deny_pub" => deny_pub, "isolate" => isolate, "compress_mode" => compress_mode, "gateway" => gateway,
    "remote_account" => remote_account, "protocol" => protocol as Int, "lang" => lang,
} }

impl LeafConnect {
    /// Reads CONNECT.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        let mut said = Self::default();
        read_onto(&mut said, json)?;
        Ok(said)
    }

    /// The object as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> ConnectOptions {
        ConnectOptions::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_missing_or_null_keeps_its_default() {
        assert_eq!(read("{}"), ConnectOptions::default());
        assert_eq!(read("null"), ConnectOptions::default());
        assert_eq!(read(r#"{"verbose":null,"name":null,"import":null}"#), ConnectOptions::default());
        let options = ConnectOptions::default();
        assert!(options.echo && options.verbose && options.pedantic && !options.headers);
    }

    #[test]
    fn every_field_is_read_and_written_back() {
        let json = concat!(
            r#"{"echo":false,"verbose":false,"pedantic":false,"tls_required":true,"nkey":"U","jwt":"j","#,
            r#""sig":"s","auth_token":"t","user":"u","pass":"p","name":"n","lang":"l","version":"v","#,
            r#""protocol":1,"account":"a","new_account":true,"headers":true,"no_responders":true,"#,
            r#""import":{"allow":["a"]},"export":{"deny":["b"]},"remote_account":"r","proxy_sig":"x"}"#
        );
        assert_eq!(read(json).to_json(), json);
    }

    #[test]
    fn what_is_skipped_may_be_as_deep_as_in_go() {
        // So little stack that a call for each level would end the process.
        let on_a_small_stack = std::thread::Builder::new().stack_size(64 << 10);
        let work = || {
            for (open, close) in [("[", "]"), ("{\"[\":", "}")] {
                let connect = |levels: usize| {
                    let value = format!("{}\"[{{\\\"\"{}", open.repeat(levels), close.repeat(levels));
                    ConnectOptions::from_json(format!("{{\"x\":{value},\"name\":\"n\"}}").as_bytes())
                };
                assert_eq!(connect(9_999).unwrap().name, "n");
                let error = connect(10_000).unwrap_err().to_string();
                assert_eq!(error, format!("invalid character '{}' exceeded max depth", &open[..1]));
                assert!(connect(300_000).is_err());
            }
        };
        on_a_small_stack.spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn names_match_in_any_case_and_the_last_value_counts() {
        assert!(!read(r#"{"VERBOSE":true,"Verbo\u017fe":false}"#).verbose);
        assert_eq!(read("{\"N\u{212a}ey\":\"x\"}").nkey, "x");
    }

    #[test]
    fn wrong_types_and_broken_json_are_refused() {
        for json in [
            "",
            "1",
            "[]",
            "\"\"",
            "{",
            "{} x",
            r#"{"verbose":1}"#,
            r#"{"verbose":"true"}"#,
            r#"{"name":1}"#,
            r#"{"protocol":1.0}"#,
            r#"{"protocol":"1"}"#,
            r#"{"import":[]}"#,
            r#"{"import":{"allow":"a"}}"#,
            r#"{"user":"a","user":1}"#,
        ] {
            assert!(ConnectOptions::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_further_connect_changes_what_it_names() {
        let mut options = read(r#"{"verbose":false,"user":"u","headers":true}"#);
        options.merge(br#"{"user":"v"}"#).unwrap();
        assert_eq!((options.verbose, options.user.as_str(), options.headers), (false, "v", true));
    }

    #[test]
    fn text_that_is_not_unicode_is_replaced() {
        assert_eq!(ConnectOptions::from_json(b"{\"name\":\"a\xffb\"}").unwrap().name, "a\u{fffd}b");
        assert_eq!(read(r#"{"name":"\ud83d\ude00\udc00\ud800x\\ud800"}"#).name, "😀\u{fffd}\u{fffd}x\\ud800");
    }
}
