//! The answer: claims about the user that the client becomes. Texts and order of the checks are those of nats-server v2.15.2.

use std::sync::Arc;

use jetkv_go_compat::quoted;
use nkeys::XKey;

use super::{Asked, Court, Failed};
use crate::auth::{Admitted, ClaimsAdmission};
use crate::claimed::accounts::lookup;
use crate::claimed::user::{UserError, check_kind, end_of, permissions_of};
use crate::claims::{self, AuthorizationResponse, Claims, ConnectLimits, Token, UserClaims, time_left};
use crate::router::Account;

/// How every token begins, and nothing that is sealed.
const TOKEN_START: &[u8] = b"eyJ";
/// How everything that is sealed begins.
const SEALED_START: &[u8] = b"xkv1";
/// Bytes between that and what is sealed.
const SEAL_NONCE_BYTES: usize = 24;
/// Stands for all accounts.
const ANY: &str = "*";

/// Whom a client becomes.
pub(super) fn judge(asked: &Asked, answer: &[u8]) -> Result<Admitted, Failed> {
    let user = open(asked, answer)?;
    let applicant = &asked.applicant;
    if (user.nats.proxy_required || applicant.proxy_required) && !applicant.by_proxy {
        return Err(Failed::needs_proxy());
    }
    let now_s = asked.shared.clock.wall().secs();
    let said = |text: String| Failed { text, ..Failed::answered("") };
    if let Some(issue) = user.issues(now_s).0.first() {
        return Err(said(format!("Error validating user JWT: {}", issue.text)));
    }
    if user.sub != asked.user {
        let (expected, got, account) = (quoted(&asked.user), quoted(&user.sub), quoted(asked.account.name()));
        return Err(said(format!(
            "Expected authorized user of {expected} but got {got} on account {account}"
        )));
    }
    let (target, user) = place(asked, user)?;
    admit(asked, &target, user, now_s)
}

/// The claims of the user that an answer holds.
fn open(asked: &Asked, answer: &[u8]) -> Result<UserClaims, Failed> {
    let account = quoted(asked.account.name());
    if answer.is_empty() {
        let reason = quoted("no reason supplied");
        return Err(Failed::answered(format!("auth callout violation: {reason} on account {account}")));
    }
    let sealer = asked.xkey.as_deref().filter(|_| !answer.starts_with(TOKEN_START));
    let opened = match sealer {
        None => answer.to_vec(),
        Some(sealer) => unseal(asked, answer, sealer).map_err(|error| {
            Failed::answered(format!("error decrypting auth callout response on account {account}: {error}"))
        })?,
    };
    let text = String::from_utf8_lossy(&opened);
    let response =
        Token::authorization_response(&text).map_err(|error| Failed::answered(error.to_string()))?;
    check(asked, &response, sealer.is_some())?;
    if !response.nats.error.is_empty() {
        let error = &response.nats.error;
        return Err(Failed::answered(format!("auth callout service returned an error: {error}")));
    }
    Token::user(&response.nats.jwt).map_err(|error| Failed::answered(error.to_string()))
}

fn unseal(asked: &Asked, answer: &[u8], sealer: &str) -> Result<Vec<u8>, &'static str> {
    if answer.len() <= SEALED_START.len() + SEAL_NONCE_BYTES {
        return Err("nkeys: encrypted input is not valid");
    }
    if !answer.starts_with(SEALED_START) {
        return Err("nkeys: encrypted input wrong version");
    }
    let sealer = XKey::from_public_key(sealer);
    let opened = sealer.and_then(|sealer| asked.shared.identity.sealing.open(answer, &sealer));
    opened.map_err(|_| "nkeys: could not decrypt input")
}

/// Whether an answer is one to this question, by somebody who may give it.
fn check(asked: &Asked, response: &Claims<AuthorizationResponse>, is_sealed: bool) -> Result<(), Failed> {
    let now_s = asked.shared.clock.wall().secs();
    if let Some(issue) = response.issues(now_s).0.first() {
        let text = &issue.text;
        return Err(Failed::answered(format!("authorization response had validation errors: {text}")));
    }
    let violation = |what: &str| {
        Err(Failed::answered(format!("auth callout violation: auth callout response is not for {what}")))
    };
    if response.sub != asked.user {
        return violation("expected user");
    }
    if response.aud != asked.shared.identity.id {
        return violation("server");
    }
    // Nobody else can seal.
    if is_sealed {
        return Ok(());
    }
    let unknown = Err(Failed::answered("auth callout signing key is unknown"));
    match &asked.court {
        Court::Configured(callout) if response.iss != callout.issuer => unknown,
        Court::Configured(_) => Ok(()),
        Court::Claimed(_) => {
            let (named, account) = (&response.nats.issuer_account, asked.account.name());
            if !named.is_empty() && named != account {
                let named = quoted(named);
                return Err(Failed::answered(format!(
                    "auth callout response issuer account {named} is not the callout account"
                )));
            }
            let signs =
                |key: &str| asked.account.claimed().is_some_and(|claimed| claimed.signer(key).is_some());
            if response.iss != account && !signs(&response.iss) { unknown } else { Ok(()) }
        }
    }
}

/// The account that the user is put into, and its claims with what the key gives that signed them.
fn place(asked: &Asked, user: UserClaims) -> Result<(Arc<Account>, UserClaims), Failed> {
    let account = quoted(asked.account.name());
    let placement = match &asked.court {
        Court::Configured(callout) => {
            if !user.nats.issuer_account.is_empty() {
                return Err(Failed::answered(format!(
                    "error non operator mode account {account}: attempted to use issuer_account"
                )));
            }
            if user.iss != callout.issuer {
                let (expected, got) = (quoted(&callout.issuer), quoted(&user.iss));
                return Err(Failed::answered(format!(
                    "wrong issuer for auth callout response on account {account}, expected {expected} got {got}"
                )));
            }
            user.aud.clone()
        }
        Court::Claimed(name) => {
            if user.account() != name && !may_place(asked, user.account()) {
                let issuer = quoted(&user.iss);
                return Err(Failed::answered(format!(
                    "account {issuer} not permitted as valid account option for auth callout for account {account}"
                )));
            }
            user.account().to_owned()
        }
    };
    let no_account = |error: &dyn std::fmt::Display| {
        let placement = quoted(&placement);
        Failed::answered(format!(
            "no valid account {placement} for auth callout response on account {account}: {error}"
        ))
    };
    match &asked.court {
        Court::Configured(_) => {
            let target = asked.shared.accounts.by_name(&placement).filter(|target| target.is_configured());
            Ok((target.ok_or_else(|| no_account(&"account missing"))?, user))
        }
        Court::Claimed(_) => {
            let target = lookup(&asked.shared, &placement).map_err(|error| no_account(&error))?;
            let user = fill(&target, user)?;
            Ok((target, user))
        }
    }
}

/// Whether users may be put into an account that is not the service's own.
fn may_place(asked: &Asked, account: &str) -> bool {
    let Some(claimed) = asked.account.claimed() else { return false };
    match claimed.claims.nats.authorization.allowed_accounts.as_slice() {
        [any] if any == ANY => true,
        allowed => allowed.iter().any(|allowed| allowed == account),
    }
}

/// Gives a user what the key gives that signed its claims.
fn fill(target: &Account, mut user: UserClaims) -> Result<UserClaims, Failed> {
    let claimed = target.claimed();
    let signer = claimed.as_ref().and_then(|claimed| claimed.signer(&user.iss).map(|scope| (claimed, scope)));
    let Some((claimed, scope)) = signer else {
        return Err(Failed::answered(format!("user JWT issuer {} is not known", quoted(&user.iss))));
    };
    let Some(scope) = scope else { return Ok(user) };
    if !user.nats.has_empty_permissions() {
        return Err(Failed::answered(format!("user JWT is not valid: {}", UserError::SCOPED)));
    }
    user.nats = claims::fill(&scope.template, &user, &claimed.claims)
        .map_err(|error| Failed::answered(format!("user JWT generated invalid permissions: {error}")))?;
    Ok(user)
}

/// The user as it comes in, if it may now and in this way.
fn admit(asked: &Asked, target: &Arc<Account>, user: UserClaims, now_s: i64) -> Result<Admitted, Failed> {
    let account = quoted(asked.account.name());
    let left = time_left(&user.nats, asked.shared.clock.wall().ns());
    let label = &asked.applicant.label;
    let Some(left) = left else {
        tracing::error!("{label} - {}", UserError::Times);
        return Err(Failed::answered(format!(
            "authorized user on account {account} outside of valid connect times"
        )));
    };
    match check_kind(&user, asked.kind) {
        Ok(()) => {}
        Err(error @ UserError::UnknownKinds(_)) => {
            tracing::debug!("{label} - {error}");
            return Err(Failed::answered(format!(
                "authorized user on account {account} using invalid connection type"
            )));
        }
        Err(_) => {
            return Err(Failed::answered(format!(
                "authorized user on account {account} not allowed to use connection type"
            )));
        }
    }
    if user.nats.proxy_required && !asked.applicant.by_proxy {
        return Err(Failed::needs_proxy());
    }
    let claimed = target.claimed();
    let (permissions, has_default_permissions) = permissions_of(&user, claimed.as_deref());
    let is_signed_for = !user.nats.issuer_account.is_empty();
    Ok(Admitted {
        account: target.name().to_owned(),
        // By the name that its claims give it.
        user: user.name.clone(),
        by_key: false,
        permissions,
        claims: Some(Arc::new(ClaimsAdmission {
            token: String::new(),
            subject: user.sub.clone(),
            signing_key: if is_signed_for { user.iss.clone() } else { String::new() },
            scope: claimed.as_ref().and_then(|claimed| claimed.signer(&user.iss).flatten().cloned()),
            // What the client's own claims call it stays.
            name: asked.applicant.name_tag.clone(),
            tags: asked.applicant.tags.clone(),
            issued_at_s: user.iat,
            is_bearer: false,
            expires_at: end_of(&user, left, now_s),
            // Limits go by claims that the client itself shows.
            limits: ConnectLimits { subs: -1, payload: -1 },
            has_default_permissions,
        })),
    })
}
