//! Users that come with claims.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jetkv_go_compat::quoted;
use nkeys::KeyPair;

use super::accounts::{LookupError, lookup};
use super::translate;
use crate::auth::{Admitted, ClaimsAdmission, Operators, SignatureError, UserPermissions, verify};
use crate::claims::{self, TemplateError, Token, TokenError, UserClaims, admits_source, time_left};
use crate::options::{ConnectionType, Options};
use crate::router::{Account, Claimed};
use crate::state::Shared;

/// What a client shows, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Claims of a user. Empty: none.
    pub token: String,
    /// The nonce of INFO, signed.
    pub signature: String,
    /// What INFO asked to be signed.
    pub nonce: String,
    /// Where it is.
    pub address: Option<IpAddr>,
    /// How it is connected.
    pub kind: ConnectionType,
    /// A proxy that is trusted says that it comes by way of it.
    pub by_proxy: bool,
}

/// Why a user does not come in. The texts are those that the log shows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// There are no claims.
    #[error("Authentication requires a user JWT")]
    Missing,
    /// They are none.
    #[error("User JWT not valid: {0}")]
    Token(#[from] TokenError),
    /// They make no sense, or hold at another time.
    #[error("User JWT no longer valid: {0}")]
    Invalid(String),
    /// A proxy has to bring the user.
    #[error("{PROXY_REQUIRED}")]
    ProxyRequired,
    /// The account is not one of those that may be used here.
    #[error("Account {0} not listed as operator pinned account")]
    NotPinned(String),
    /// The account is not there.
    #[error("Account JWT lookup error: {0}")]
    Lookup(#[from] LookupError),
    /// Nobody that is trusted signed the account.
    #[error("Account JWT not signed by trusted operator")]
    NotTrusted,
    /// The account does not know the key that signed.
    #[error("User JWT issuer is not known")]
    Issuer,
    /// The key that signed gives permissions; so the claims must not.
    #[error("User JWT is not valid: {}", Self::SCOPED)]
    Scoped,
    /// What the key gives cannot be filled in.
    #[error("User JWT generated invalid permissions")]
    Template(#[from] TemplateError),
    /// The account's claims have ended.
    #[error("Account JWT has expired")]
    AccountExpired,
    /// The account wants signatures.
    #[error("Account does not allow bearer tokens")]
    Bearer,
    /// The kinds of connection are unknown.
    #[error("invalid connection types {0}")]
    UnknownKinds(String),
    /// The user may not connect in this way.
    #[error("Connection type not allowed")]
    Kind,
    /// The nonce was not signed.
    #[error("{0}")]
    Signature(SignatureError),
    /// The claims were taken back.
    #[error("User authentication revoked")]
    Revoked,
    /// The user may not come from there.
    #[error("Bad src Ip {0}")]
    Source(String),
    /// The user may not come now.
    #[error("Outside connect times")]
    Times,
}

const PROXY_REQUIRED: &str = "proxy connection required";

impl UserError {
    /// Why claims are not valid that a key signed which gives permissions.
    pub(super) const SCOPED: &str = "scoped users require no permissions or limits set";

    /// Whether the operator is told.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Source(_) | Self::Times)
    }
}

/// What a look at what a client shows led to.
#[derive(Debug)]
pub(crate) struct Looked {
    /// Whom the client becomes, unless somebody else says otherwise, or why it does not come in.
    pub result: Result<Admitted, UserError>,
    /// Somebody else decides about the users of its account.
    pub delegated: Option<Delegated>,
}

/// A user of an account that leaves it to somebody else who may connect.
#[derive(Clone, Debug)]
pub(crate) struct Delegated {
    /// The account.
    pub account: String,
    /// The claims that the client showed.
    pub token: String,
    /// It is a user of that somebody else, about whom nobody is asked.
    pub is_auth_user: bool,
}

/// Looks at what a client shows. May take as long as an account's resolver.
pub(crate) fn authenticate(shared: &Arc<Shared>, request: &Request) -> Looked {
    let mut delegated = None;
    let result = check(shared, request, &mut delegated);
    Looked { result, delegated }
}

fn check(
    shared: &Arc<Shared>,
    request: &Request,
    delegated: &mut Option<Delegated>,
) -> Result<Admitted, UserError> {
    let options = shared.options();
    let operators = shared.operators().ok_or(UserError::NotTrusted)?;
    let token = token_of(&options, request)?;
    let mut user = Token::user(token)?;
    let now = shared.clock.wall();
    let issues = user.issues(now.secs());
    if issues.block() {
        let texts: Vec<&str> = issues.0.iter().map(|issue| issue.text.as_str()).collect();
        return Err(UserError::Invalid(format!("&{{Issues:[{}]}}", texts.join(" "))));
    }
    if user.nats.proxy_required && !request.by_proxy {
        return Err(UserError::ProxyRequired);
    }
    check_pinned(&options, operators, user.account())?;
    let account = lookup(shared, user.account())?;
    let claimed = account.claimed().ok_or(UserError::NotTrusted)?;
    if claimed.claims.nats.is_external() {
        *delegated = Some(Delegated {
            account: account.name().to_owned(),
            token: token.to_owned(),
            is_auth_user: claimed.claims.nats.authorization.auth_users.contains(&user.sub),
        });
    }
    if !operators.trusts(&claimed.claims.iss) {
        return Err(UserError::NotTrusted);
    }
    if let Some(scope) = claimed.signer(&user.iss).ok_or(UserError::Issuer)? {
        if !user.nats.has_empty_permissions() {
            return Err(UserError::Scoped);
        }
        user.nats = claims::fill(&scope.template, &user, &claimed.claims)?;
        if user.nats.proxy_required && !request.by_proxy {
            return Err(UserError::ProxyRequired);
        }
    }
    check_account(&claimed, &user)?;
    check_kind(&user, request.kind)?;
    if !user.nats.bearer_token {
        let key = KeyPair::from_public_key(&user.sub).map_err(|_| UserError::Issuer)?;
        verify(&key, &request.nonce, &request.signature).map_err(UserError::Signature)?;
    }
    if claimed.claims.has_revoked(&user.sub, user.iat) {
        return Err(UserError::Revoked);
    }
    if !admits_source(&user.nats, request.address) {
        let address = request.address.map(|address| address.to_string()).unwrap_or_default();
        return Err(UserError::Source(address));
    }
    let left = time_left(&user.nats, now.ns()).ok_or(UserError::Times)?;
    Ok(admitted(&account, &claimed, token, user, left, now.secs()))
}

/// The claims that count: those of the client, or, where these are none, those that everybody has without.
fn token_of<'a>(options: &'a Options, request: &'a Request) -> Result<&'a str, UserError> {
    let sentinel = options.operators.default_sentinel.as_deref();
    match sentinel {
        _ if !request.token.is_empty() && (sentinel.is_none() || Token::user(&request.token).is_ok()) => {
            // nats-server looks for a sentinel first, and then has none to say what is wrong with the token.
            Token::user(&request.token).map(|_| request.token.as_str()).map_err(|_| UserError::Missing)
        }
        Some(sentinel) => Ok(sentinel),
        None => Err(UserError::Missing),
    }
}

fn check_pinned(options: &Options, operators: &Operators, account: &str) -> Result<(), UserError> {
    let Some(pinned) = &options.operators.pinned_accounts else { return Ok(()) };
    let is_system = options.system_account.as_deref() == Some(account);
    if pinned.contains(account) || is_system {
        return Ok(());
    }
    operators.pinned_failures.fetch_add(1, Ordering::Relaxed);
    Err(UserError::NotPinned(account.to_owned()))
}

fn check_account(claimed: &Claimed, user: &UserClaims) -> Result<(), UserError> {
    if claimed.has_expired() {
        return Err(UserError::AccountExpired);
    }
    if user.nats.bearer_token && claimed.claims.nats.limits.disallow_bearer {
        return Err(UserError::Bearer);
    }
    Ok(())
}

/// Kinds that nobody knows let nobody in, unless others beside them do.
pub(super) fn check_kind(user: &UserClaims, kind: ConnectionType) -> Result<(), UserError> {
    let names = &user.nats.allowed_connection_types;
    if names.is_empty() {
        return Ok(());
    }
    let known: BTreeSet<ConnectionType> =
        names.iter().filter_map(|name| ConnectionType::from_name(name)).collect();
    if known.is_empty() {
        let unknown: Vec<String> = names.iter().map(|name| quoted(name.to_uppercase())).collect();
        return Err(UserError::UnknownKinds(format!("[{}]", unknown.join(" "))));
    }
    if known.contains(&kind) { Ok(()) } else { Err(UserError::Kind) }
}

fn admitted(
    account: &Arc<Account>,
    claimed: &Claimed,
    token: &str,
    user: UserClaims,
    left: Option<Duration>,
    now_s: i64,
) -> Admitted {
    let (permissions, has_default_permissions) = permissions_of(&user, Some(claimed));
    let is_signed_for = !user.nats.issuer_account.is_empty();
    Admitted {
        account: account.name().to_owned(),
        user: user.sub.clone(),
        by_key: false,
        permissions,
        claims: Some(Arc::new(ClaimsAdmission {
            token: token.to_owned(),
            subject: user.sub.clone(),
            signing_key: if is_signed_for { user.iss.clone() } else { String::new() },
            expires_at: end_of(&user, left, now_s),
            name: user.name,
            tags: user.nats.tags.clone(),
            issued_at_s: user.iat,
            is_bearer: user.nats.bearer_token,
            scope: claimed.signer(&user.iss).flatten().cloned(),
            limits: user.nats.connect_limits(),
            has_default_permissions,
        })),
    }
}

/// What a user may do, and whether that is what all users of its account may.
pub(super) fn permissions_of(
    user: &UserClaims,
    claimed: Option<&Claimed>,
) -> (Option<Arc<UserPermissions>>, bool) {
    match translate::permissions(&user.nats.permissions()) {
        Some(own) => (Some(Arc::new(UserPermissions::new(&own))), false),
        None => (claimed.and_then(|claimed| claimed.default_permissions.clone()), true),
    }
}

/// Until when a user may stay, of whose times of the day so much is `left`.
pub(super) fn end_of(user: &UserClaims, left: Option<Duration>, now_s: i64) -> Option<Instant> {
    let until_end =
        (user.exp != 0).then(|| Duration::from_secs(u64::try_from(user.exp - now_s).unwrap_or(0)));
    let stays = match (until_end, left) {
        (Some(end), Some(left)) => Some(end.min(left)),
        (end, left) => end.or(left),
    };
    stays.map(|stays| Instant::now() + stays)
}

/// What the log says of a user that was let in.
pub(crate) fn log_line(account: &Arc<Account>, admitted: &Admitted) -> Option<String> {
    let (claims, claimed) = (admitted.claims.as_ref()?, account.claimed()?);
    let tags = |tags: &[String]| {
        let quoted: Vec<String> = tags.iter().map(quoted).collect();
        format!("[{}]", quoted.join(" "))
    };
    let signer = if claims.signing_key.is_empty() { account.name() } else { &claims.signing_key };
    Some(format!(
        "Authenticated JWT: Client {} (claim-name: {}, claim-tags: {}) signed with {} by Account {} (claim-name: {}, \
         claim-tags: {}) signed with {} has mappings {} accused {:p}",
        quoted(&admitted.user),
        quoted(&claims.name),
        tags(&claims.tags),
        quoted(signer),
        quoted(account.name()),
        quoted(&claimed.claims.name),
        tags(&claimed.claims.nats.tags),
        quoted(&claimed.claims.iss),
        !account.mappings().is_empty(),
        Arc::as_ptr(account)
    ))
}
