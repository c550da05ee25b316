//! Clients whose users come with claims: how they are let in, and what new claims mean for those that are here.

use std::sync::Arc;

use jetkv_protocol::Rejection;

use super::connection::Connection;
use super::operations::{Stopped, Undecided};
use super::trusted;
use crate::auth::{Admitted, Check, ClaimsAdmission, DeliveryRules};
use crate::claimed::{self, Delegated, Looked, Request};
use crate::connections::{ClientType, CloseReason, ConnectionHandle as _, Peer};
use crate::options::ConnectionType;
use crate::router::Claimed;

impl Connection {
    /// Waits for a look at credentials that takes long, and does what comes of it.
    pub(super) async fn decide(&mut self, undecided: Undecided) -> Option<Stopped> {
        let mut reason = CloseReason::AuthenticationViolation;
        let (admitted, delegated) = match undecided.check {
            Check::Admitted(admitted) => (Some(admitted), None),
            Check::Refused(error) => {
                self.log_reason(error.as_ref());
                reason = trusted::end_of(error.as_ref());
                (None, None)
            }
            // A panic in the comparison counts as a wrong password.
            Check::Slow(check) => (self.shared.call_blocking(move || check.run()).await.flatten(), None),
            Check::Claims => self.check_claims(&mut reason).await,
        };
        self.proxy_required = reason == CloseReason::ProxyRequired;
        if let Some(admitted) = &admitted {
            let account = self.shared.accounts.by_name(&admitted.account);
            if let Some(line) = account.and_then(|account| claimed::log_line(&account, admitted)) {
                tracing::debug!("{} - {line}", self.client.label());
            }
        }
        if let Some(court) = self.court(admitted.as_ref(), delegated.as_ref()) {
            return self.consult(court, admitted, delegated, undecided.announced).await;
        }
        match admitted {
            Some(admitted) => self.admit(&admitted, undecided.announced),
            None => self.refuse_as(reason),
        }
    }

    async fn check_claims(&mut self, reason: &mut CloseReason) -> (Option<Admitted>, Option<Delegated>) {
        let (shared, request) = (Arc::clone(&self.shared), self.claims_request());
        let looked = self.shared.call_blocking(move || claimed::authenticate(&shared, &request)).await;
        let Some(Looked { result, delegated }) = looked else { return (None, None) };
        let refused = |error: &claimed::UserError| {
            self.log_refusal(error);
            if matches!(error, claimed::UserError::ProxyRequired) {
                *reason = CloseReason::ProxyRequired;
            }
        };
        (result.inspect_err(refused).ok(), delegated)
    }

    fn log_refusal(&self, error: &claimed::UserError) {
        let label = self.client.label();
        if error.is_error() {
            tracing::error!("{label} - {error}");
        } else {
            tracing::debug!("{label} - {error}");
        }
    }

    fn claims_request(&self) -> Request {
        Request {
            token: self.options.jwt.clone(),
            signature: self.options.sig.clone(),
            nonce: self.nonce.clone(),
            address: self.client.peer().ip(),
            kind: self.connection_type(),
            by_proxy: self.is_by_proxy(),
        }
    }

    /// How the client is connected, as those name it who say how it may be.
    pub(super) fn connection_type(&self) -> ConnectionType {
        match self.client.client_type() {
            ClientType::Websocket => ConnectionType::Websocket,
            ClientType::Nats if self.client.peer() == Peer::Process => ConnectionType::InProcess,
            ClientType::Nats => ConnectionType::Standard,
        }
    }

    /// Whether its user came with claims that the client showed.
    pub(super) fn is_claimed(&self) -> bool {
        self.claims.as_ref().is_some_and(|claims| !claims.token.is_empty())
    }

    /// Takes over what a user's claims say beside its permissions.
    pub(super) fn take_claims(&mut self, claims: Option<Arc<ClaimsAdmission>>) {
        self.expires_at = claims.as_ref().and_then(|claims| claims.expires_at);
        if let Some(claims) = &claims {
            self.options.jwt.clone_from(&claims.token);
        }
        self.claims = claims;
        self.apply_limits();
    }

    /// What the claims in force mean for a client that is here. `is_reload`: the configuration was read again.
    /// Tells whether somebody else has to be asked about it again.
    pub(super) fn judge_claims(&mut self, is_reload: bool) -> bool {
        let Some(claims) = self.claims.clone().filter(|_| self.connected) else { return false };
        let Some(claimed) = self.account.claimed() else { return false };
        // Who is in an account that is not there any more is looked at as if it came now.
        if !claimed.is_gone() {
            self.judge(&claims, &claimed);
        }
        if !is_reload || self.client.closing().is_some() {
            return false;
        }
        let Looked { result, delegated } = claimed::authenticate(&self.shared, &self.claims_request());
        if let Err(error) = result {
            self.log_refusal(&error);
            if delegated.is_none() {
                self.refuse();
                return false;
            }
        }
        delegated.is_some_and(|delegated| !delegated.is_auth_user)
    }

    fn judge(&mut self, claims: &ClaimsAdmission, claimed: &Claimed) {
        if claimed.has_expired() {
            return self.end_by("Account Authentication Expired", CloseReason::AuthenticationExpired);
        }
        if !self.account.has_place_for(self.client.id()) {
            return self.leave_full_account();
        }
        if self.max_subscriptions.is_some_and(|max| self.client.subscription_count() >= max) {
            tracing::error!("{} - maximum subscriptions exceeded", self.client.label());
            let reason = CloseReason::MaxSubscriptionsExceeded;
            return Arc::clone(&self.client).send_away(&Rejection::TooManySubscriptions, reason);
        }
        self.take_default_permissions(claims, claimed);
        if claims.is_bearer && claimed.claims.nats.limits.disallow_bearer {
            tracing::debug!("{} - Bearer User JWT not allowed", self.client.label());
            self.refuse();
            return;
        }
        if claimed.claims.has_revoked(&claims.subject, claims.issued_at_s) {
            return self.end_by("User Authentication Revoked", CloseReason::Revocation);
        }
        let is_signed_for = !claims.signing_key.is_empty();
        let scope = claimed.signer(&claims.signing_key).map(Option::<&_>::cloned);
        if is_signed_for && scope != Some(claims.scope.clone()) {
            self.client.close(CloseReason::AuthenticationViolation);
        }
    }

    fn take_default_permissions(&mut self, claims: &ClaimsAdmission, claimed: &Claimed) {
        if !claims.has_default_permissions {
            return;
        }
        let permissions = claimed.default_permissions.clone();
        let known = self.rules.as_ref().map(|rules| rules.permissions().configured());
        if permissions.as_ref().map(|now| now.configured()) != known {
            self.rules = permissions.map(|permissions| Arc::new(DeliveryRules::new(permissions)));
            self.client.set_rules(self.rules.clone());
            self.end_denied_subscriptions();
        }
    }

    /// Tells the client that something ended, and ends it.
    pub(super) fn end_by(&mut self, text: &str, reason: CloseReason) {
        tracing::debug!("{} - {text}", self.client.label());
        self.send_err(text);
        self.client.close(reason);
    }
}
