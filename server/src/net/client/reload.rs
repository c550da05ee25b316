//! What a reload means for a connection that exists.

use std::sync::Arc;

use jetkv_go_compat::quoted;
use jetkv_protocol::Rejection;

use super::connection::Connection;
use super::operations::Undecided;
use crate::auth::{Authenticator, Check, DeliveryRules};
use crate::connections::{CloseReason, ConnectionHandle as _};
use crate::events;
use crate::net::outbound::OutboundLimits;
use crate::router::{Listed, Subscription};

/// What other users and accounts make of a client.
#[derive(Debug)]
enum Standing {
    /// It stays who it is.
    Same,
    /// Its user is gone, or belongs to another account: it is to come back.
    Moved,
    /// It would not be let in any more.
    Refused,
    /// Its claims say.
    ByClaims,
    /// Somebody else is asked about it, whatever its credentials lead to.
    Asked(Check),
}

impl Connection {
    /// Takes over what a reload changed.
    pub(super) async fn reload(&mut self) {
        self.reloading = self.client.take_reload();
        self.jetstream = self.shared.jetstream();
        let before = std::mem::replace(&mut self.settings, self.shared.options());
        self.keepalive.set_limits(self.ping_interval(), self.settings.limits.ping_max);
        self.client.set_outbound_limits(OutboundLimits::new(&self.settings.limits));
        self.apply_limits();
        if self.lost_its_proxy() {
            self.refuse_proxy();
        }
        match self.standing() {
            _ if self.client.closing().is_some() => {}
            Standing::ByClaims => {
                if self.judge_claims(!Arc::ptr_eq(&before, &self.settings)) {
                    self.decide_anew(Check::Claims).await;
                }
            }
            Standing::Asked(check) => self.decide_anew(check).await,
            Standing::Same => {
                if self.connected {
                    // nats-server v2.15.2 lets everybody in anew (observed).
                    events::connected(&self.shared, &*self.client);
                }
                self.stay();
            }
            Standing::Moved => self.client.close(CloseReason::ClientClosed),
            Standing::Refused => {
                self.refuse();
            }
        }
        self.flush();
        self.end_turn();
        self.reloading.clear();
    }

    fn standing(&mut self) -> Standing {
        if self.account.is_isolated() {
            return Standing::Same;
        }
        if self.shared.operators().is_some() {
            return Standing::ByClaims;
        }
        let auth = self.shared.auth_of(&*self.client);
        let before = std::mem::replace(&mut self.auth, Arc::clone(&auth));
        if self.settings.auth.callout.is_some() {
            return self.standing_where_asked(&auth);
        }
        if !self.options.nkey.is_empty() {
            return self.standing_by_key(&auth);
        }
        let was_silent = self.options.user.is_empty();
        if self.connected && was_silent {
            // Who came in without credentials counts by the name that it got.
            self.options.user.clone_from(&self.user);
        }
        let named = &self.options.user;
        let account = auth.account_of(named);
        let was_listed = before.account_of(named).is_some();
        let is_gone = account.is_none() && was_listed && !auth.is_single();
        if is_gone || account.is_some_and(|account| account != self.account.name()) {
            return Standing::Moved;
        }
        let given = self.credentials();
        if self.connected && auth.goes_by_certificate(&given) {
            // As on nats-server, which asks the certificate anew and takes the name that it gave for the client's.
            self.user_of_certificate(&given);
        }
        if self.connected && auth.keeps(&before, &self.user) {
            return Standing::Same;
        }
        if was_silent && !named.is_empty() {
            return Standing::Refused;
        }
        let admitted = match auth.check(&given) {
            Check::Admitted(admitted) => Some(admitted),
            Check::Slow(check) => check.run(),
            Check::Refused(_) | Check::Claims => None,
        };
        match admitted {
            Some(_) => Standing::Same,
            // A name that never was in the list of users counts as that of a user who is gone.
            None if account.is_none() && !was_listed && !named.is_empty() => Standing::Moved,
            None => Standing::Refused,
        }
    }

    /// Everybody goes by the name that it has in the configuration, whoever gave it that name; who has one there in the
    /// account that it is in, and who has none at all, is let in anew.
    fn standing_where_asked(&self, auth: &Authenticator) -> Standing {
        let (nkey, user) = (&self.options.nkey, &self.options.user);
        let account = match (nkey.as_str(), user.as_str()) {
            ("", "") => Some(self.account.name()),
            ("", user) => auth.account_of(user),
            (nkey, _) => auth.account_of_key(nkey),
        };
        if account != Some(self.account.name()) {
            return Standing::Moved;
        }
        Standing::Asked(auth.check(&self.credentials()))
    }

    /// Lets the client in anew, or sends it away.
    async fn decide_anew(&mut self, check: Check) {
        if self.decide(Undecided { check, announced: false }).await.is_none() {
            self.end_denied_subscriptions();
        }
    }

    /// A key that nobody has any more, or never had, counts as that of a user who is gone.
    fn standing_by_key(&self, auth: &Authenticator) -> Standing {
        if auth.account_of_key(&self.options.nkey) != Some(self.account.name()) {
            return Standing::Moved;
        }
        match auth.check(&self.credentials()) {
            Check::Admitted(_) => Standing::Same,
            Check::Refused(_) | Check::Slow(_) | Check::Claims => Standing::Refused,
        }
    }

    /// The client stays, if its account still has room for it, with the permissions that its user has now.
    fn stay(&mut self) {
        if !self.connected {
            return;
        }
        if !self.account.keep_client(self.client.id()) {
            return self.leave_full_account();
        }
        if self.max_subscriptions.is_some_and(|max| self.client.subscription_count() >= max) {
            // Even where it has just as many as it may (nats-server v2.15.2, observed).
            tracing::error!("{} - maximum subscriptions exceeded", self.client.label());
            let reason = CloseReason::MaxSubscriptionsExceeded;
            return Arc::clone(&self.client).send_away(&Rejection::TooManySubscriptions, reason);
        }
        let permissions = self.shared.auth_of(&*self.client).permissions(&self.user);
        let known = self.rules.as_ref().map(|rules| rules.permissions().configured());
        if permissions.as_ref().map(|now| now.configured()) != known {
            self.rules = permissions.map(|permissions| Arc::new(DeliveryRules::new(permissions)));
            self.client.set_rules(self.rules.clone());
            self.end_denied_subscriptions();
        }
    }

    pub(super) fn leave_full_account(&mut self) {
        let reason = CloseReason::MaxAccountConnectionsExceeded;
        let label = self.client.label();
        let text = Rejection::TooManyAccountConnections.wire_text();
        let statement = format!("{text} - Account:{}", self.account.name());
        if self.shared.repeats.is_news(&statement) {
            tracing::error!("{label} - {statement} - {}", self.user_label());
        }
        let user = self.claimed_user().unwrap_or_default();
        tracing::error!("{label} - authentication error - {user}");
        self.tell_refused(reason);
        Arc::clone(&self.client).send_away(&Rejection::TooManyAccountConnections, reason);
    }

    pub(super) fn user_label(&self) -> String {
        match (&*self.options.nkey, &*self.options.user) {
            ("", "") if self.is_claimed() => format!("jwt:{}", self.user),
            ("", user) => format!("user:{user}"),
            (nkey, _) => format!("nkey:{nkey}"),
        }
    }

    pub(super) fn end_denied_subscriptions(&mut self) {
        let Some(rules) = self.rules.clone() else { return };
        for sub in self.client.subscriptions() {
            if !rules.may_subscribe(sub.subject(), sub.queue()) {
                self.client.remove_subscription(&sub);
                self.client.trace_ended(&sub);
                let ended = self.account.unsubscribe(&sub);
                self.tell_ended(&ended);
                self.tell_engine_ended(&sub);
                self.tell_denied(&sub);
            }
        }
    }

    fn tell_denied(&mut self, sub: &Subscription) {
        let (subject, sid) = (quoted(sub.subject()), quoted(sub.sid()));
        let group = if sub.queue().is_empty() {
            String::new()
        } else {
            format!(" using queue {}", quoted(sub.queue()))
        };
        self.send_err(&format!("Permissions Violation for Subscription to {subject}{group} (sid {sid})"));
        let user = self.claimed_user().unwrap_or_default();
        tracing::info!("Removed sub {subject}{group} (sid {sid}) for {user} - not authorized");
    }
}
