//! Clients about whom somebody else is asked.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use jetkv_go_compat::quoted;
use jetkv_protocol::Rejection;

use super::connection::Connection;
use super::operations::Stopped;
use crate::auth::Admitted;
use crate::certificate::Certificate;
use crate::claimed::Delegated;
use crate::claimed::callout::{self, Applicant, ApplicantTls, Asked, Court, Failed};
use crate::claims::Token;
use crate::connections::{CloseReason, ConnectionHandle as _, Identity, Secured};
use crate::events;
use crate::net::outbound::Next;
use crate::router::Account;

/// What waiting for an answer led to.
enum Waited {
    Answer(Vec<u8>),
    Nothing,
    /// The connection closes.
    Closing,
    /// The client has not said in time who it is, which a reload asks about all the same.
    Overdue,
}

impl Connection {
    /// Who is asked about the client, whom the configuration or its claims led so far.
    pub(super) fn court(&self, admitted: Option<&Admitted>, delegated: Option<&Delegated>) -> Option<Court> {
        if self.shared.operators().is_some() {
            return delegated.map(|delegated| Court::Claimed(delegated.account.clone()));
        }
        let callout = self.settings.auth.callout.as_ref()?;
        let account = admitted.map_or_else(|| self.account.name(), |admitted| admitted.account.as_str());
        callout.is_asked_about(account).then(|| Court::Configured(callout.clone()))
    }

    /// Asks about the client, unless it is one of those who answer, and does what comes of it.
    pub(super) async fn consult(
        &mut self,
        court: Court,
        admitted: Option<Admitted>,
        delegated: Option<Delegated>,
        announced: bool,
    ) -> Option<Stopped> {
        let given = self.credentials();
        let given = match self.auth.stand_in(&given) {
            Some(given) => {
                self.options.nkey.clone_from(&given.nkey);
                self.options.user.clone_from(&given.user);
                self.options.pass.clone_from(&given.password);
                given
            }
            None => given,
        };
        let is_exempt = match (&court, &delegated) {
            (Court::Configured(callout), _) => {
                let named = self.auth.named(&given);
                named.is_some_and(|named| callout.auth_users.iter().any(|user| user == named))
            }
            (Court::Claimed(_), delegated) => delegated.as_ref().is_some_and(|user| user.is_auth_user),
        };
        if is_exempt {
            return match admitted {
                Some(admitted) => self.admit(&court.admit(admitted), announced),
                None => self.refuse_one_who_answers(&court),
            };
        }
        let is_in = match &admitted {
            Some(admitted) if !self.enter(admitted) => return Some(Stopped::Closing),
            Some(_) => true,
            None => {
                self.introduce();
                false
            }
        };
        match self.ask(court, is_in, delegated.as_ref()).await {
            Ok(Some(admitted)) => self.become_user(&admitted, announced),
            Ok(None) => Some(Stopped::Closing),
            Err((account, failed)) => self.refuse_by(account, &failed, announced),
        }
    }

    /// Takes the client in as far as it can be said without asking anybody.
    fn enter(&mut self, admitted: &Admitted) -> bool {
        let account = self.shared.accounts.by_name(&admitted.account);
        let account = account.unwrap_or_else(|| Arc::clone(self.shared.accounts.global()));
        if !self.join(account) {
            return false;
        }
        self.user.clone_from(&admitted.user);
        self.by_key = admitted.by_key;
        self.take_claims(admitted.claims.clone());
        if admitted.by_key {
            self.options.nkey.clone_from(&admitted.user);
        }
        let label = self.client.label();
        self.describe();
        // Log lines name it when it is in.
        let identity = Identity { label, ..self.client.identity() };
        self.client.set_identity(identity);
        true
    }

    /// Whom the client becomes; `None` if it goes meanwhile.
    async fn ask(
        &mut self,
        court: Court,
        is_in: bool,
        delegated: Option<&Delegated>,
    ) -> Result<Option<Admitted>, (Option<Arc<Account>>, Failed)> {
        let account = match &court {
            // An account that refuses a user by itself asks where the client is, and that is nowhere.
            Court::Claimed(_) => Arc::clone(&self.account),
            Court::Configured(_) => court.account(&self.shared).map_err(|failed| (None, failed))?,
        };
        let told = self.shared.accounts.by_name(court.account_name());
        let applicant = self.applicant(is_in, delegated);
        let kind = self.connection_type();
        let asked = callout::ask(&self.shared, court, account, applicant, kind);
        let mut asked = asked.map_err(|failed| (told.clone(), failed))?;
        self.end_turn();
        let answer = match self.wait_for(&mut asked).await {
            Waited::Answer(answer) => answer,
            Waited::Closing => return Ok(None),
            Waited::Overdue => {
                self.timer_fired();
                return Ok(None);
            }
            Waited::Nothing => {
                let account = quoted(asked.account().name());
                tracing::debug!("Authorization callout response not received in time on account {account}");
                return Err((told, Failed::unanswered()));
            }
        };
        let judged = self.shared.call_blocking(move || asked.judge(&answer)).await;
        judged.transpose().map_err(|failed| (told, failed))
    }

    async fn wait_for(&self, asked: &mut Asked) -> Waited {
        let client = &self.client;
        let closing = poll_fn(|context| match client.poll_next(context) {
            Next::Close(_) => Poll::Ready(()),
            _ => Poll::Pending,
        });
        let overdue = async {
            match self.auth_deadline {
                Some(deadline) => self.shared.timers.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = overdue => Waited::Overdue,
            answer = asked.answer(self.shared.options().auth.timeout) => {
                answer.map_or(Waited::Nothing, Waited::Answer)
            }
            () = closing => Waited::Closing,
        }
    }

    fn applicant(&self, is_in: bool, delegated: Option<&Delegated>) -> Applicant {
        let identity = self.client.identity();
        let mut connect = self.options.clone();
        let shown = delegated.filter(|_| connect.jwt.is_empty());
        if let Some(delegated) = shown {
            connect.jwt.clone_from(&delegated.token);
        }
        // Words and names are those of claims that counted.
        let claims = self.claims.as_ref().filter(|_| is_in);
        let user = claims.and_then(|claims| Token::user(&claims.token).ok());
        Applicant {
            host: self.client.peer().ip_text(),
            id: self.client.id(),
            user: identity.user,
            tags: user.as_ref().map(|user| user.nats.tags.clone()).unwrap_or_default(),
            name_tag: user.map(|user| user.name).unwrap_or_default(),
            client_type: self.client.client_type().name(),
            label: self.client.label(),
            nonce: self.nonce.clone(),
            connect,
            tls: self.client.secured().map(shown_by),
            by_proxy: self.is_by_proxy(),
            proxy_required: self.proxy_required,
        }
    }

    /// Lets the client in as the user that the answer says.
    fn become_user(&mut self, admitted: &Admitted, announced: bool) -> Option<Stopped> {
        if !admitted.user.is_empty() {
            self.options.user.clone_from(&admitted.user);
            self.options.nkey.clear();
            self.options.auth_token.clear();
        }
        let stopped = self.admit(admitted, announced);
        if self.is_surplus {
            tracing::warn!(
                "Could not register auth callout user: maximum account active connections exceeded"
            );
        }
        stopped
    }

    /// Sends somebody away who would answer questions about others, had it the right credentials.
    fn refuse_one_who_answers(&mut self, court: &Court) -> Option<Stopped> {
        self.introduce();
        let reason = CloseReason::AuthenticationViolation;
        if let Some(account) = self.shared.accounts.by_name(court.account_name()) {
            events::refused_by(&self.shared, &*self.client, &account, reason.text());
        }
        self.send_away_unauthorized(reason)
    }

    /// Sends the client away because of what was answered, or not. `account` hears of it.
    fn refuse_by(
        &mut self,
        account: Option<Arc<Account>>,
        failed: &Failed,
        announced: bool,
    ) -> Option<Stopped> {
        let tell = |connection: &Self| {
            if !failed.text.is_empty() {
                tracing::warn!("{}", failed.text);
            }
            if let Some(account) = &account {
                events::refused_by(&connection.shared, &*connection.client, account, &failed.text);
            }
        };
        if !failed.is_answered {
            tell(self);
            return self.send_away_unauthorized(failed.reason);
        }
        // What an answer says ends the connection before it is told of.
        let stopped = self.send_away_unauthorized(failed.reason);
        tell(self);
        if !announced {
            // Only after CONNECT nats-server v2.15.2 looks whether the client is gone already (observed).
            self.tell_unauthorized(failed.reason);
        }
        stopped
    }

    fn send_away_unauthorized(&mut self, reason: CloseReason) -> Option<Stopped> {
        self.reject(&Rejection::AuthorizationViolation);
        self.tell_unauthorized(reason);
        self.stop(reason)
    }

    fn tell_unauthorized(&self, reason: CloseReason) {
        let user = self.claimed_user().map(|user| format!(" - {user}")).unwrap_or_default();
        tracing::error!("{} - authentication error{user}", self.client.label());
        events::refused(&self.shared, &*self.client, reason);
    }
}

/// What a client under TLS agreed on and showed, as a question says it.
fn shown_by(secured: &Secured) -> ApplicantTls {
    let pem = |certificates: &[Certificate]| certificates.iter().map(Certificate::to_pem).collect::<Vec<_>>();
    let peer = secured.peer.as_deref();
    let chain = peer.map(|peer| pem(&peer.chain)).filter(|chain| !chain.is_empty());
    ApplicantTls {
        version: secured.version,
        cipher: secured.cipher_suite.clone(),
        certs: peer.filter(|_| chain.is_none()).map(|peer| pem(&peer.shown)).unwrap_or_default(),
        verified_chains: chain.into_iter().collect(),
    }
}
