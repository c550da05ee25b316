//! The question: claims about a client, signed by the server.

use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use jetkv_go_compat::json;
use jetkv_go_compat::version::SERVER_VERSION;
use jetkv_protocol::ConnectOptions;
use nkeys::{KeyPair, XKey};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha512_256};

use super::Failed;
use crate::claims;
use crate::state::Shared;

/// Whom the claims are for.
const AUDIENCE: &str = "nats-authorization-request";
/// The header in which the server says which key sealed the question.
const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// A client that somebody is asked about, as the question describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applicant {
    /// Where it is.
    pub host: String,
    /// The number of its connection.
    pub id: u64,
    /// Who it says it is, without secrets.
    pub user: String,
    /// Words that its own claims have for it.
    pub tags: Vec<String>,
    /// The name that its own claims have for it.
    pub name_tag: String,
    /// What it speaks over.
    pub client_type: &'static str,
    /// How log lines about it begin.
    pub label: String,
    /// What it was asked to sign.
    pub nonce: String,
    /// Its CONNECT.
    pub connect: ConnectOptions,
    /// What was agreed on, where it is under TLS.
    pub tls: Option<ApplicantTls>,
    /// A proxy that is trusted says that it comes by way of it.
    pub by_proxy: bool,
    /// Its own user has to.
    pub proxy_required: bool,
}

/// What a client agreed on.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ApplicantTls {
    /// Such as `1.3`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub version: &'static str,
    /// The cipher suite's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cipher: String,
    /// What it showed, in PEM, where nobody looked who signed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certs: Vec<String>,
    /// The ways from what it showed to an authority, in PEM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verified_chains: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    jti: String,
    iat: i64,
    iss: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nats: Option<Nats<'a>>,
}

#[derive(Serialize)]
struct Nats<'a> {
    server_id: ServerId<'a>,
    user_nkey: &'a str,
    client_info: ClientInfo<'a>,
    connect_opts: ConnectOpts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_tls: Option<&'a ApplicantTls>,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct ServerId<'a> {
    name: &'a str,
    host: String,
    id: &'a str,
    version: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    xkey: &'a str,
}

#[derive(Serialize)]
struct ClientInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    id: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    name_tag: &'a str,
    kind: &'static str,
    #[serde(rename = "type")]
    client_type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    nonce: &'a str,
}

#[derive(Serialize)]
struct ConnectOpts<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    nkey: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sig: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pass: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    protocol: i64,
}

/// A question, ready to be sent.
pub(super) struct Question {
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Writes the question about `applicant`, who is to become the user with the key `user`.
pub(super) fn write(
    shared: &Arc<Shared>,
    about: &str,
    applicant: &Applicant,
    user: &str,
    sealed_for: Option<&str>,
) -> Result<Question, Failed> {
    let options = shared.options();
    let identity = &shared.identity;
    let now_s = shared.clock.wall().secs();
    let timeout_s = i64::try_from(options.auth.timeout.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        aud: AUDIENCE,
        exp: now_s.saturating_add(timeout_s),
        jti: String::new(),
        iat: now_s,
        iss: &identity.id,
        sub: about,
        nats: None,
    };
    let connect = &applicant.connect;
    let nats = Nats {
        server_id: ServerId {
            name: &identity.name,
            host: shared.listening().0,
            id: &identity.id,
            version: SERVER_VERSION,
            tags: &options.tags,
            xkey: if sealed_for.is_some() { &identity.xkey } else { "" },
        },
        user_nkey: user,
        client_info: ClientInfo {
            host: &applicant.host,
            id: applicant.id,
            user: &applicant.user,
            name: &connect.name,
            tags: &applicant.tags,
            name_tag: &applicant.name_tag,
            kind: "Client",
            client_type: applicant.client_type,
            nonce: if connect.sig.is_empty() { "" } else { &applicant.nonce },
        },
        connect_opts: ConnectOpts {
            jwt: &connect.jwt,
            nkey: &connect.nkey,
            sig: &connect.sig,
            auth_token: &connect.auth_token,
            user: &connect.user,
            pass: &connect.pass,
            name: &connect.name,
            lang: &connect.lang,
            version: &connect.version,
            protocol: connect.protocol,
        },
        client_tls: applicant.tls.as_ref(),
        kind: "authorization_request",
        version: 2,
    };
    let jti = id_of(&claims);
    let token = sign(&Claims { jti, nats: Some(nats), ..claims }, &identity.key)
        .map_err(|error| Failed::said(format!("Error encoding auth request claim: {error}")))?;
    let Some(recipient) = sealed_for else {
        return Ok(Question { headers: Vec::new(), payload: token.into_bytes() });
    };
    let sealed = XKey::from_public_key(recipient)
        .and_then(|recipient| identity.sealing.seal(token.as_bytes(), &recipient))
        .map_err(|error| Failed::said(format!("Error encrypting auth request claim: {error}")))?;
    let headers = format!("NATS/1.0\r\n{XKEY_HEADER}: {}\r\n\r\n", identity.xkey);
    Ok(Question { headers: headers.into_bytes(), payload: sealed })
}

/// The id of claims is a hash of what they say but for their subject matter.
fn id_of(claims: &Claims<'_>) -> String {
    BASE32_NOPAD.encode(&Sha512_256::digest(json::to_vec(claims)))
}

fn sign(claims: &Claims<'_>, key: &KeyPair) -> Result<String, String> {
    let claims: Value = serde_json::to_value(claims).map_err(|error| error.to_string())?;
    claims::encode(&claims, key).map_err(|error| error.to_string())
}
