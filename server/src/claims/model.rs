//! What claims say.

use std::collections::BTreeMap;

use nkeys::KeyPairType;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::operator::Operator;
use super::read::{networks, sampling};
use super::token::is_key;
use super::validate::Issues;

/// Claims about something, `N`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Claims<N> {
    /// For whom they are.
    #[serde(skip_serializing_if = "is_default")]
    pub aud: String,
    /// When they end, in seconds since 1970. 0: never.
    #[serde(skip_serializing_if = "is_default")]
    pub exp: i64,
    /// Their id.
    #[serde(skip_serializing_if = "is_default")]
    pub jti: String,
    /// When they were made, in seconds since 1970.
    #[serde(skip_serializing_if = "is_default")]
    pub iat: i64,
    /// Public key of who signed them.
    #[serde(skip_serializing_if = "is_default")]
    pub iss: String,
    /// A name for people.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// When they begin, in seconds since 1970. 0: at once.
    #[serde(skip_serializing_if = "is_default")]
    pub nbf: i64,
    /// Public key of whom they are about.
    #[serde(skip_serializing_if = "is_default")]
    pub sub: String,
    /// What they say.
    pub nats: N,
}

/// Claims about an operator.
pub type OperatorClaims = Claims<Operator>;
/// Claims about an account.
pub type AccountClaims = Claims<Account>;
/// Claims about a user.
pub type UserClaims = Claims<User>;

/// What claims can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator, who signs accounts.
    Operator,
    /// An account, which signs users.
    Account,
    /// A user.
    User,
    /// A permission to import.
    Activation,
    /// A question to the service that decides who may connect.
    AuthorizationRequest,
    /// Its answer.
    AuthorizationResponse,
}

impl Kind {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "operator" => Self::Operator,
            "account" => Self::Account,
            "user" => Self::User,
            "activation" => Self::Activation,
            "authorization_request" => Self::AuthorizationRequest,
            "authorization_response" => Self::AuthorizationResponse,
            _ => return None,
        })
    }

    /// Who may sign claims of the kind.
    pub(super) fn issuers(self) -> &'static [KeyPairType] {
        match self {
            Self::Operator => &[KeyPairType::Operator],
            Self::Account | Self::Activation => &[KeyPairType::Account, KeyPairType::Operator],
            Self::User | Self::AuthorizationResponse => &[KeyPairType::Account],
            Self::AuthorizationRequest => &[KeyPairType::Server],
        }
    }

    pub(super) fn is_account_key(text: &str) -> bool {
        is_key(text, KeyPairType::Account)
    }
}

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What it uses of others.
    #[serde(deserialize_with = "or_default")]
    pub imports: Vec<Option<Import>>,
    /// What others may use.
    #[serde(deserialize_with = "or_default")]
    pub exports: Vec<Option<Export>>,
    /// What it may have.
    pub limits: AccountLimits,
    /// Keys that sign for it.
    pub signing_keys: SigningKeys,
    /// Users, or `*` for all, whose claims hold no more if they were made at this time (seconds since 1970) or before.
    #[serde(deserialize_with = "or_default")]
    pub revocations: BTreeMap<String, i64>,
    /// What its users may do whose claims say nothing of it.
    pub default_permissions: Permissions,
    /// What becomes of the subjects that its clients publish.
    #[serde(deserialize_with = "or_default")]
    pub mappings: BTreeMap<String, Vec<Mapping>>,
    /// Who decides about its users, if somebody does.
    pub authorization: ExternalAuthorization,
    /// Where traces go of messages that are traced elsewhere.
    pub trace: Option<Trace>,
    /// Which account carries the traffic between servers.
    pub cluster_traffic: String,
    /// Words about it.
    pub description: String,
    /// An address with more of them.
    pub info_url: String,
    /// Words.
    #[serde(deserialize_with = "or_default")]
    pub tags: Vec<String>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct User {
    /// What it may publish.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// What it may subscribe to.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Whether it may answer.
    pub resp: Option<Responses>,
    /// Networks that it may come from; empty for all.
    #[serde(deserialize_with = "networks")]
    pub src: Vec<String>,
    /// Times of the day at which it may be here; empty for always.
    #[serde(deserialize_with = "or_default")]
    pub times: Vec<TimeRange>,
    /// The time zone of these; empty for the server's.
    pub times_location: String,
    /// Most subscriptions of a connection; -1 for no limit.
    pub subs: i64,
    /// Most bytes; of no effect.
    pub data: i64,
    /// Longest message in bytes; -1 for no limit.
    pub payload: i64,
    /// Whether the claims alone let somebody in.
    pub bearer_token: bool,
    /// Whether it has to come by way of a proxy.
    pub proxy_required: bool,
    /// Kinds of connection; empty for all.
    #[serde(deserialize_with = "or_default")]
    pub allowed_connection_types: Vec<String>,
    /// The account, where one of its signing keys signed.
    pub issuer_account: String,
    /// Words.
    #[serde(deserialize_with = "or_default")]
    pub tags: Vec<String>,
}

/// Claims of a service that decides who may connect.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AuthorizationResponse {
    /// Claims of the user that the client becomes.
    pub jwt: String,
    /// Why it does not come in.
    pub error: String,
    /// The account, where one of its signing keys signed.
    pub issuer_account: String,
}

/// What connections of a user, or all of an account, may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectLimits {
    /// Most subscriptions of a connection; -1 for no limit.
    pub subs: i64,
    /// Longest message in bytes; -1 for no limit.
    pub payload: i64,
}

/// What an account may have. -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    /// Most subscriptions of a connection.
    pub subs: i64,
    /// Most bytes; of no effect.
    pub data: i64,
    /// Longest message, in bytes.
    pub payload: i64,
    /// Most imports.
    pub imports: i64,
    /// Most exports.
    pub exports: i64,
    /// Whether exports may have wildcards.
    pub wildcards: bool,
    /// Whether claims alone let nobody in.
    pub disallow_bearer: bool,
    /// Most connections.
    pub conn: i64,
    /// Most leaf nodes.
    pub leaf: i64,
    #[serde(flatten)]
    jetstream: JetStreamLimits,
    /// Limits by the number of replicas, `R1` and so on, in place of the others.
    #[serde(deserialize_with = "or_default")]
    pub tiered_limits: BTreeMap<String, JetStreamLimits>,
}

/// What an account may have of JetStream. -1 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamLimits {
    /// Bytes in memory; 0 for no streams there.
    pub mem_storage: i64,
    /// Bytes on disk; 0 for no streams there.
    pub disk_storage: i64,
    /// Streams.
    pub streams: i64,
    /// Consumers of a stream.
    pub consumer: i64,
    /// Outstanding acknowledgements of a consumer; not positive for no limit.
    pub max_ack_pending: i64,
    /// Bytes of a stream in memory; not positive for no limit.
    pub mem_max_stream_bytes: i64,
    /// Bytes of a stream on disk; not positive for no limit.
    pub disk_max_stream_bytes: i64,
    /// Whether streams must set `max_bytes`.
    pub max_bytes_required: bool,
}

impl JetStreamLimits {
    fn allows_any(&self) -> bool {
        self.mem_storage != 0 || self.disk_storage != 0
    }
}

impl AccountLimits {
    /// Takes all limits away, but for those of JetStream, which there is none of.
    pub fn lift(&mut self) {
        let limits = [&mut self.subs, &mut self.data, &mut self.payload, &mut self.imports];
        let others = [&mut self.exports, &mut self.conn, &mut self.leaf];
        limits.into_iter().chain(others).for_each(|limit| *limit = -1);
        self.wildcards = true;
    }

    /// Tiers take the place of the limits without.
    pub(super) fn prefer_tiers(&mut self) {
        if !self.tiered_limits.is_empty() {
            self.jetstream = JetStreamLimits::default();
        }
    }

    /// The limits that hold for all streams, where there are no tiers.
    pub fn jetstream(&self) -> JetStreamLimits {
        self.jetstream
    }

    /// Whether the account has JetStream.
    pub fn has_jetstream(&self) -> bool {
        self.jetstream.allows_any() || self.tiered_limits.values().any(JetStreamLimits::allows_any)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Subjects that are allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Empty: all that `deny` does not cover.
    #[serde(deserialize_with = "or_default")]
    pub allow: Vec<String>,
    /// Those that are refused although `allow` covers them.
    #[serde(deserialize_with = "or_default")]
    pub deny: Vec<String>,
}

/// Whether a reply subject that was received may be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Responses {
    /// Answers to a request.
    pub max: i64,
    /// Time for them, in nanoseconds.
    pub ttl: i64,
}

/// What users may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// What they may publish.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// What they may subscribe to.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Whether they may answer.
    pub resp: Option<Responses>,
}

/// A part of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// Its start, as `15:04:05`.
    pub start: String,
    /// Its end; before the start for one that goes beyond midnight.
    pub end: String,
}

/// Something of another account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Import {
    /// For people.
    pub name: String,
    /// The subject: of a stream that of the exporter, of a service that of the importer unless `local_subject` is.
    pub subject: String,
    /// The exporting account.
    pub account: String,
    /// Its permission, if one is needed.
    pub token: String,
    /// An older way to say the other subject.
    pub to: String,
    /// The subject here.
    pub local_subject: String,
    /// `stream` or `service`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the other account learns who asks.
    pub share: bool,
    /// Whether traces go on here.
    pub allow_trace: bool,
}

/// Something for other accounts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Export {
    /// For people.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// `stream` or `service`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a permission is needed.
    pub token_req: bool,
    /// Accounts, or `*` for all, whose permission holds no more if it was made at this time (seconds since 1970) or before.
    #[serde(deserialize_with = "or_default")]
    pub revocations: BTreeMap<String, i64>,
    /// `Singleton`, `Stream` or `Chunked`; empty for the first.
    pub response_type: String,
    /// Time after which an answer is late, in nanoseconds; 0 for the usual one.
    pub response_threshold: i64,
    /// Measurements.
    pub service_latency: Option<Latency>,
    /// Token of the subject that has to be the importing account, from 1; 0 for none.
    pub account_token_position: usize,
    /// Whether traces go on here.
    pub allow_trace: bool,
    /// Words about it.
    pub description: String,
    /// An address with more of them.
    pub info_url: String,
}

/// Measurements of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// In percent; 0 for those whose headers ask.
    #[serde(deserialize_with = "sampling")]
    pub sampling: i64,
    /// Where they go.
    pub results: String,
}

/// A destination of a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mapping {
    /// The subject.
    pub subject: String,
    /// In percent; 0 for all.
    pub weight: u8,
    /// The cluster that it is for; empty for all.
    pub cluster: String,
}

impl Mapping {
    /// In percent.
    pub fn percent(&self) -> u8 {
        if self.weight == 0 { 100 } else { self.weight }
    }
}

/// Who decides about an account's users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalAuthorization {
    /// Users that nobody is asked about. Empty: nobody decides.
    #[serde(deserialize_with = "or_default")]
    pub auth_users: Vec<String>,
    /// Other accounts that users may be put into, or `*`.
    #[serde(deserialize_with = "or_default")]
    pub allowed_accounts: Vec<String>,
    /// The key that questions are sealed for; empty for none.
    pub xkey: String,
}

/// Where traces go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// The subject.
    pub dest: String,
    /// In percent.
    pub sampling: i64,
}

/// What all users have that a key signed for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserScope {
    /// The key.
    pub key: String,
    /// A name for it.
    pub role: String,
    /// Permissions and limits of these users.
    pub template: User,
}

/// Keys that sign for an account, with what they may sign.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SigningKeys(pub BTreeMap<String, Option<UserScope>>);

impl User {
    /// Whether the claims give nothing, as they have to where a template does.
    pub fn has_empty_permissions(&self) -> bool {
        let bare =
            Self { issuer_account: self.issuer_account.clone(), tags: self.tags.clone(), ..Self::default() };
        *self == bare
    }

    /// What its connections may have.
    pub fn connect_limits(&self) -> ConnectLimits {
        ConnectLimits { subs: self.subs, payload: self.payload }
    }

    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        Permissions { publish: self.publish.clone(), subscribe: self.subscribe.clone(), resp: self.resp }
    }
}

impl UserClaims {
    /// The account whose user it is: that of the key that signed, or the one which the key signs for.
    pub fn account(&self) -> &str {
        if self.nats.issuer_account.is_empty() { &self.iss } else { &self.nats.issuer_account }
    }
}

impl Account {
    /// Whether somebody else decides about its users.
    pub fn is_external(&self) -> bool {
        !self.authorization.auth_users.is_empty()
    }
}

/// Whether claims about `subject` that were made at `issued_at_s` were taken back.
pub(crate) fn is_revoked(revocations: &BTreeMap<String, i64>, subject: &str, issued_at_s: i64) -> bool {
    let covers = |key: &str| revocations.get(key).is_some_and(|until| *until >= issued_at_s);
    covers("*") || covers(subject)
}

impl AccountClaims {
    /// Whether the claims of a user that were made at `issued_at_s` were taken back.
    pub fn has_revoked(&self, user: &str, issued_at_s: i64) -> bool {
        is_revoked(&self.nats.revocations, user, issued_at_s)
    }
}

impl Export {
    /// Whether a permission for `account` that was made at `issued_at_s` was taken back.
    pub fn has_revoked(&self, account: &str, issued_at_s: i64) -> bool {
        is_revoked(&self.revocations, account, issued_at_s)
    }
}

/// Notes what is wrong with a subject.
pub(super) fn subject_issue(subject: &str, issues: &mut Issues) {
    use jetkv_go_compat::quoted;
    if subject.is_empty() {
        return issues.error("subject cannot be empty");
    }
    if subject.contains(' ') {
        issues.error(format!("subject {} cannot have spaces", quoted(subject)));
    }
    if subject.starts_with('.') || subject.ends_with('.') {
        issues.error(format!("subject {} cannot start or end with a `.`", quoted(subject)));
    }
    if subject.contains("..") {
        issues.error(format!("subject {} cannot contain consecutive `.`", quoted(subject)));
    }
}

/// Brings claims of version 1 into the form of version 2.
pub(super) fn migrate(payload: &mut Value, kind: Kind) {
    let Some(top) = payload.as_object_mut() else { return };
    let moved: Vec<(&str, Value)> = ["tags", "issuer_account"]
        .into_iter()
        .filter_map(|key| top.get(key).cloned().map(|value| (key, value)))
        .collect();
    if !top.get("nats").is_some_and(Value::is_object) {
        top.insert("nats".to_owned(), Value::Object(Map::new()));
    }
    let Some(nats) = top.get_mut("nats").and_then(Value::as_object_mut) else { return };
    match kind {
        Kind::User => {
            for limit in ["subs", "data", "payload"] {
                nats.entry(limit).or_insert_with(|| Value::from(-1));
            }
        }
        Kind::Activation => {
            if let Some(kind) = nats.remove("type") {
                nats.insert("kind".to_owned(), kind);
            }
        }
        Kind::Operator => {
            nats.insert("type".to_owned(), Value::from("operator"));
            nats.insert("version".to_owned(), Value::from(1));
        }
        _ => {}
    }
    nats.extend(moved.into_iter().map(|(key, value)| (key.to_owned(), value)));
}

/// Null is nothing.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whether a value says no more than one that is left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
