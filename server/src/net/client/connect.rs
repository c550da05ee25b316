//! CONNECT, PING and PONG.

use std::sync::Arc;

use jetkv_go_compat::quoted;
use jetkv_protocol::connect::PROTOCOL_INFO;
use jetkv_protocol::{ConnectOptions, Rejection, encode};

use super::connection::Connection;
use super::operations::{Stopped, Undecided};
use super::trusted;
use crate::auth::{Admitted, Check, Credentials, DeliveryRules, Reason};
use crate::connections::{CloseReason, ConnectionHandle as _, Identity, IdentityClaims, Refused};
use crate::events;
use crate::router::Account;

/// Stands where a token would be shown.
const REDACTED: &str = "[REDACTED]";

impl Connection {
    /// Reads CONNECT and decides who this is.
    pub(super) fn connect(&mut self, json: &[u8]) -> Option<Stopped> {
        self.keepalive.connected();
        if self.client.rtt_ns() == 0 {
            self.client.set_rtt_ns(nanos(self.client.started().elapsed()));
        }
        if let Err(error) = self.options.merge(json) {
            tracing::error!("{} - {error}", self.client.label());
            return self.stop(CloseReason::ProtocolViolation);
        }
        self.take_cookies();
        if self.connected {
            // The client may come back as somebody else, and must not keep what it subscribed to before.
            self.drop_subscriptions();
        }
        self.connected = true;
        self.auth_deadline = None;
        let headers = self.options.headers && !self.shared.options().no_header_support;
        self.client.set_headers(headers);
        self.parser.set_headers(headers);
        self.client.set_echo(self.options.echo);
        self.verbose = self.options.verbose;
        self.pedantic = self.options.pedantic;
        self.auth = self.shared.auth_of(&*self.client);
        if self.shared.operators().is_none() {
            // Nobody looks at claims here, so nobody is shown any.
            self.options.jwt.clear();
        }
        if !self.look_at_proxy() {
            return self.refuse_proxy();
        }
        let given = self.credentials();
        match self.shared.isolation.get().and_then(|isolation| isolation.check(&given)) {
            Some(Check::Admitted(admitted)) => return self.admit(&admitted, true),
            Some(_) => return self.refuse(),
            None => {}
        }
        let check = self.check();
        match check {
            Check::Admitted(_) | Check::Refused(_) if self.settings.auth.callout.is_some() => {
                Some(Stopped::Authenticating(Box::new(Undecided { check, announced: true })))
            }
            Check::Admitted(admitted) => self.admit(&admitted, true),
            Check::Refused(error) => {
                self.log_reason(error.as_ref());
                self.refuse_as(trusted::end_of(error.as_ref()))
            }
            Check::Slow(_) | Check::Claims => {
                Some(Stopped::Authenticating(Box::new(Undecided { check, announced: true })))
            }
        }
    }

    /// Looks at what the client shows.
    fn check(&mut self) -> Check {
        let given = self.credentials();
        if !self.auth.goes_by_certificate(&given) {
            return self.auth.check(&given);
        }
        let Some(user) = self.user_of_certificate(&given) else { return Check::Refused(None) };
        self.options.user.clone_from(&user);
        self.auth.check(&Credentials { user, ..given })
    }

    /// The user whom the client's certificate names, if there is one. A name that was given besides has no effect, and is
    /// warned of.
    pub(super) fn user_of_certificate(&self, given: &Credentials) -> Option<String> {
        let label = self.client.label();
        let secured = self.client.secured();
        let peer = secured.map(|secured| secured.peer.clone().unwrap_or_default());
        let found = self
            .auth
            .user_of(peer.as_deref(), &mut |line| tracing::debug!("{label} - {line}"))
            .map(str::to_owned)?;
        if !given.user.is_empty() {
            let shown = quoted(&given.user);
            tracing::warn!("User {shown} found in connect proto, but user required from cert");
        }
        Some(found)
    }

    /// Says why the client stays out.
    pub(super) fn log_reason(&self, reason: Option<&Reason>) {
        if let Some(reason) = reason {
            tracing::debug!("{} - {reason}", self.client.label());
        }
    }

    /// Cookies say what CONNECT leaves out.
    fn take_cookies(&mut self) {
        let Some(upgraded) = self.client.upgraded() else { return };
        let (options, cookies) = (&mut self.options, &upgraded.cookies);
        for (given, cookie) in [
            (&mut options.jwt, &cookies.jwt),
            (&mut options.user, &cookies.user),
            (&mut options.pass, &cookies.password),
            (&mut options.auth_token, &cookies.token),
        ] {
            if given.is_empty() {
                given.clone_from(cookie);
            }
        }
    }

    /// Lets the client in, unless what it asks for is impossible. `announced` tells whether it sent CONNECT.
    pub(super) fn admit(&mut self, admitted: &Admitted, announced: bool) -> Option<Stopped> {
        if self.options.new_account || !self.options.account.is_empty() {
            return self.refuse();
        }
        let isolation = self.shared.isolation.get();
        let isolated = isolation.and_then(|isolation| isolation.enter(&admitted.account, self.client.id()));
        let account = isolated.or_else(|| self.shared.accounts.by_name(&admitted.account));
        let account = account.unwrap_or_else(|| Arc::clone(self.shared.accounts.global()));
        if !self.join(account) {
            return Some(Stopped::Closing);
        }
        let rules = admitted.permissions.clone().map(|permissions| Arc::new(DeliveryRules::new(permissions)));
        self.client.set_rules(rules.clone());
        self.rules = rules;
        self.user.clone_from(&admitted.user);
        self.by_key = admitted.by_key;
        self.take_claims(admitted.claims.clone());
        if admitted.by_key {
            // Whoever came in without credentials counts as the owner of the key from now on.
            self.options.nkey.clone_from(&admitted.user);
        }
        self.describe();
        if !(0..=PROTOCOL_INFO).contains(&self.options.protocol) {
            self.reject(&Rejection::BadClientProtocol);
            tracing::error!("{} - invalid client protocol", self.client.label());
            return self.stop(CloseReason::BadClientProtocolVersion);
        }
        if self.options.no_responders && !self.client.has_headers() {
            self.reject(&Rejection::NoRespondersRequiresHeaders);
            tracing::error!("{} - no responders requires headers support", self.client.label());
            return self.stop(CloseReason::NoRespondersRequiresHeaders);
        }
        self.no_responders = self.options.no_responders;
        // Coming in without CONNECT is not an operation to confirm.
        if self.verbose && announced {
            self.send_ok();
        }
        events::connected(&self.shared, &*self.client);
        None
    }

    /// Sends the client away.
    pub(super) fn refuse(&mut self) -> Option<Stopped> {
        self.refuse_as(CloseReason::AuthenticationViolation)
    }

    /// The same, as what it ends.
    pub(super) fn refuse_as(&mut self, reason: CloseReason) -> Option<Stopped> {
        self.turn_away();
        self.tell_refused(reason);
        self.stop(reason)
    }

    /// Tells the client that it stays out, and the log who it said it was.
    pub(super) fn turn_away(&mut self) {
        let user = self.claimed_user().map(|user| format!(" - {user}")).unwrap_or_default();
        tracing::error!("{} - authentication error{user}", self.client.label());
        self.reject(&Rejection::AuthorizationViolation);
        self.introduce();
    }

    /// Tells of a client that is refused. Of one that a reload refuses its account hears later, so that only those do who
    /// may still listen for it then (nats-server v2.15.2, observed).
    pub(super) fn tell_refused(&self, reason: CloseReason) {
        let refused: Refused = (Arc::clone(&self.client) as _, reason);
        let later = self.reloading.first().is_some_and(|reloading| reloading.send(refused).is_ok());
        if !later {
            events::refused_in_account(&self.shared, &*self.client, reason);
        }
        events::refused(&self.shared, &*self.client, reason);
    }

    /// Who the client says it is, as log lines name it; `None` for nobody.
    pub(super) fn claimed_user(&self) -> Option<String> {
        let options = &self.options;
        if self.is_claimed() && options.nkey.is_empty() && options.user.is_empty() {
            return Some(format!("JWT User {}", quoted(&self.user)));
        }
        match (&*options.nkey, &*options.user, &*options.auth_token) {
            // Where there are only claims nobody is named, since nobody has looked at them.
            ("", "", "") => None,
            ("", "", _) if !options.jwt.is_empty() => None,
            ("", "", _) => Some(format!("Token \"{REDACTED}\"")),
            ("", user, _) => Some(format!("User {}", quoted(user))),
            (nkey, ..) => Some(format!("Nkey {}", quoted(nkey))),
        }
    }

    /// Lets a client in that starts without CONNECT, when there is a user for such clients.
    pub(super) fn admit_without_connect(&mut self) -> bool {
        if self.settings.auth.callout.is_some() {
            return false;
        }
        self.without_connect().is_some_and(|admitted| self.admit(&admitted, false).is_none())
    }

    /// The same where somebody is asked about such clients, too.
    pub(super) fn ask_without_connect(&mut self) -> Option<Undecided> {
        self.settings.auth.callout.as_ref()?;
        let check = Check::Admitted(self.without_connect()?);
        Some(Undecided { check, announced: false })
    }

    /// Whom a client becomes that starts without CONNECT.
    fn without_connect(&mut self) -> Option<Admitted> {
        let auth = self.shared.auth_of(&*self.client);
        let Check::Admitted(admitted) = auth.check(&Credentials::default()) else { return None };
        // One with a key has to be announced, for all that it need not be shown (nats-server v2.15.2, observed).
        if admitted.by_key {
            return None;
        }
        self.parser.limits_mut().connect_first = false;
        self.connected = true;
        self.auth_deadline = None;
        Some(admitted)
    }

    /// Moves the connection into an account.
    pub(super) fn join(&mut self, account: Arc<Account>) -> bool {
        if !Arc::ptr_eq(&account, &self.account) {
            self.account.remove_client(self.client.id());
            let left = std::mem::replace(&mut self.account, account);
            self.tell_left(&left);
            let full = self.account.add_client(self.client.id()).is_err();
            self.apply_limits();
            if full {
                self.reject(&Rejection::TooManyAccountConnections);
                tracing::error!("{} - maximum account active connections exceeded", self.client.label());
                // Pages and events show whom it came for, though it does not count there; its log lines do not.
                let label = self.client.label();
                self.describe();
                let identity = Identity { label, ..self.client.identity() };
                self.client.set_identity(identity);
                self.client.close(CloseReason::MaxAccountConnectionsExceeded);
                self.is_surplus = true;
                return false;
            }
            events::connections_changed(&self.shared, &self.account);
        }
        true
    }

    /// Writes down who this claims to be, for pages and events.
    pub(super) fn introduce(&self) {
        let mut identity = self.client.identity();
        identity.user = shown_user(&self.options, &self.options.user).to_owned();
        identity.name.clone_from(&self.options.name);
        if self.shared.operators().is_some() {
            identity.token.clone_from(&self.options.jwt);
        }
        identity.lang.clone_from(&self.options.lang);
        identity.version.clone_from(&self.options.version);
        self.client.set_identity(identity);
    }

    /// Writes down who this is, for logs, pages and events.
    pub(super) fn describe(&mut self) {
        self.introduce();
        let options = &self.options;
        let mut identity = self.client.identity();
        identity.account = Arc::clone(&self.account);
        identity.by_key = self.by_key;
        identity.claims = self.claims.as_ref().map(|claims| IdentityClaims {
            signing_key: claims.signing_key.clone(),
            name: claims.name.clone(),
            tags: claims.tags.clone(),
            expires_at: claims.expires_at,
            max_payload_bytes: claims.limits.payload,
        });
        // A name that the client gave itself goes before that of its claims.
        let has_name = !options.nkey.is_empty() || !options.user.is_empty();
        let is_claimed = self.is_claimed() && !has_name;
        let user =
            if self.user.is_empty() || (self.is_claimed() && has_name) { &options.user } else { &self.user };
        identity.user = if is_claimed { user.clone() } else { shown_user(options, user).to_owned() };
        let user_label = match (&*options.nkey, &**user, &*identity.user) {
            _ if is_claimed => format!("jwt:{user}"),
            ("", "", "") => String::new(),
            ("", "", _) => "token".to_owned(),
            ("", user, _) => format!("user:{user}"),
            (nkey, ..) => format!("nkey:{nkey}"),
        };
        identity.protocol = options.protocol;
        let mut label = self.client.bare_label();
        let version = (!options.version.is_empty()).then(|| format!("v{}", options.version));
        let parts: Vec<&str> = [version.as_deref().unwrap_or_default(), &options.lang, &options.name]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        if !parts.is_empty() {
            label.push_str(&format!(" - {}", quoted(parts.join(":"))));
        }
        if !user_label.is_empty() {
            let who = format!("{}/{user_label}", self.account.trace_label());
            label.push_str(&format!(" - {}", quoted(who)));
        }
        identity.label = label;
        self.client.set_identity(identity);
        self.client_info = None;
    }

    pub(super) fn ping(&mut self) {
        if self.client.is_traced() {
            self.trace_out("PONG", "");
        }
        self.client.queue(encode::pong);
        self.heard();
        // The first PING after CONNECT shows that the client is ready for what CONNECT led to.
        if self.connected
            && !std::mem::replace(&mut self.first_pong_sent, true)
            && self.options.protocol >= PROTOCOL_INFO
        {
            self.send_info();
        }
    }

    /// Sends INFO with what CONNECT led to.
    pub(super) fn send_info(&mut self) {
        let json = self.shared.info(&*self.client, true).to_json();
        self.client.queue(|out| encode::info(out, json.as_bytes()));
    }

    pub(super) fn pong(&mut self) {
        if let Some(rtt) = self.keepalive.answered() {
            self.client.set_rtt_ns(nanos(rtt));
        }
    }
}

/// Who a client is as pages, events and advisories show it, where it calls itself, or counts as, `user`.
fn shown_user<'a>(options: &'a ConnectOptions, user: &'a str) -> &'a str {
    match (&*options.nkey, user) {
        ("", "") if !options.jwt.is_empty() || options.auth_token.is_empty() => "",
        ("", "") => REDACTED,
        ("", user) => user,
        (nkey, _) => nkey,
    }
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
