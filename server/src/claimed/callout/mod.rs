//! Users whom somebody else decides about: a service is asked in an account, and answers with the claims of the user that the
//! client becomes (ADR-26).

mod request;
mod response;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jetkv_go_compat::base62::short_hash;
use jetkv_go_compat::quoted;
use jetkv_jetstream::OutMsg;
use nkeys::KeyPair;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) use request::{Applicant, ApplicantTls};

use crate::auth::{Admitted, UserPermissions};
use crate::connections::CloseReason;
use crate::events;
use crate::options::{AuthCallout, ConnectionType};
use crate::router::{Account, Queued, Receipt, Receiver, Subscription, Target};
use crate::state::{Shared, random_id};

/// Where the service listens. Nobody in its account may publish there.
const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
/// Digits of an inbox's last token.
const INBOX_DIGITS: usize = 8;

/// Who is asked.
#[derive(Clone, Debug)]
pub(crate) enum Court {
    /// The service of the configuration.
    Configured(AuthCallout),
    /// That of an account which leaves it to somebody else who may connect.
    Claimed(String),
}

/// Why somebody who was asked about does not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// For the log, and for events. Empty: nobody answered.
    pub text: String,
    /// As what the connection ends.
    pub reason: CloseReason,
    /// An answer said so.
    pub is_answered: bool,
}

impl Failed {
    /// The server cannot ask.
    fn said(text: String) -> Self {
        Self { text, reason: CloseReason::AuthenticationViolation, is_answered: false }
    }

    /// Nobody answers.
    pub(crate) fn unanswered() -> Self {
        Self::said(String::new())
    }

    /// An answer lets nobody in. It is told with a capital letter.
    fn answered(text: impl Into<String>) -> Self {
        let text = text.into();
        let mut letters = text.chars();
        let text =
            letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
        Self { text, reason: CloseReason::AuthenticationViolation, is_answered: true }
    }

    fn needs_proxy() -> Self {
        Self { reason: CloseReason::ProxyRequired, ..Self::answered("proxy connection required") }
    }
}

impl Court {
    /// The account where the service listens.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn account(&self, shared: &Shared) -> Result<Arc<Account>, Failed> {
        let name = self.account_name();
        shared.accounts.by_name(name).filter(|account| account.is_configured()).ok_or_else(|| {
            let name = quoted(name);
            Failed::said(format!("No valid account {name} for auth callout request: account missing"))
        })
    }

    /// The name of that account.
    pub(crate) fn account_name(&self) -> &str {
        match self {
            Self::Configured(callout) => &callout.account,
            Self::Claimed(name) => name,
        }
    }

    /// The key that questions are sealed for.
    fn xkey(&self, account: &Account) -> Option<String> {
        match self {
            Self::Configured(callout) => callout.xkey.clone(),
            Self::Claimed(_) => {
                let claimed = account.claimed();
                let xkey = claimed.map(|claimed| claimed.claims.nats.authorization.xkey.clone());
                xkey.filter(|xkey| !xkey.is_empty())
            }
        }
    }

    /// Who comes in, without the right to ask the service something where it is in the service's account.
    pub(crate) fn admit(&self, admitted: Admitted) -> Admitted {
        if admitted.account != self.account_name() {
            return admitted;
        }
        let permissions = UserPermissions::denying(admitted.permissions.as_deref(), SUBJECT);
        Admitted { permissions: Some(Arc::new(permissions)), ..admitted }
    }
}

/// Tells what is wrong with who is asked, as far as it can be told without asking.
pub(crate) fn report(shared: &Shared) {
    let options = shared.options();
    let Some(callout) = &options.auth.callout else { return };
    let account = shared.accounts.by_name(&callout.account).filter(|account| account.is_configured());
    if account.is_none() {
        tracing::error!("Authorization callout account {} not valid", quoted(&callout.account));
    }
    let why = if account.is_some() { "<nil>" } else { "account missing" };
    let own = options.websocket.as_ref().and_then(|websocket| websocket.auth.username.as_ref());
    for user in &callout.auth_users {
        let is_single = !user.is_empty() && [options.auth.username.as_ref(), own].contains(&Some(user));
        if !is_single && !options.auth.lists(user) {
            tracing::error!("Authorization callout user {} not valid: {why}", quoted(user));
        }
    }
}

/// A question that waits for its answer.
pub(crate) struct Asked {
    shared: Arc<Shared>,
    court: Court,
    account: Arc<Account>,
    sub: Arc<Subscription>,
    answer: Option<oneshot::Receiver<Vec<u8>>>,
    /// The public key of the user that the answer has to be about, new for each question.
    user: String,
    xkey: Option<String>,
    applicant: Applicant,
    kind: ConnectionType,
}

/// Where the answer comes in.
struct Inbox {
    id: u64,
    account: Arc<Account>,
    answer: Mutex<Option<oneshot::Sender<Vec<u8>>>>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({})", self.account.name())
    }
}

impl Receiver for Inbox {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, _is_own: bool, _thread: u32) -> Receipt {
        sub.count();
        // The first answer counts; whoever asked may have gone.
        if let Some(answer) = self.answer.lock().take() {
            let _ = answer.send(msg.payload.to_vec());
        }
        Receipt { queued: Queued::Waiting, is_first: false, is_last: false }
    }

    fn end_subscription(&self, _: &Arc<Subscription>) -> Arc<Account> {
        Arc::clone(&self.account)
    }
}

/// Asks in `account` about `applicant`, who is connected in this way. The question leaves at the end of the thread's turn.
///
/// # Errors
/// It cannot be asked.
pub(crate) fn ask(
    shared: &Arc<Shared>,
    court: Court,
    account: Arc<Account>,
    applicant: Applicant,
    kind: ConnectionType,
) -> Result<Asked, Failed> {
    let user = KeyPair::new_user().public_key();
    let xkey = court.xkey(&account);
    let about = match &court {
        Court::Configured(callout) => &callout.issuer,
        Court::Claimed(_) => account.name(),
    };
    let question = request::write(shared, about, &applicant, &user, xkey.as_deref())?;
    let digits: String = random_id().chars().take(INBOX_DIGITS).collect();
    let reply = format!("$SYS._INBOX.{}.{digits}", short_hash(&shared.identity.name));
    let (sender, answer) = oneshot::channel();
    let inbox = Inbox {
        id: account.services.client(),
        account: Arc::clone(&account),
        answer: Mutex::new(Some(sender)),
    };
    let target = Target::Receiver(Arc::new(inbox));
    let sub = Arc::new(Subscription::new(target, reply.as_bytes(), b"", b"callout"));
    account.subscribe(Arc::clone(&sub)).map_err(|_| {
        Failed::said("Error setting up reply subscription for auth request: invalid subject".to_owned())
    })?;
    let asked = Asked {
        shared: Arc::clone(shared),
        court,
        account,
        sub,
        answer: Some(answer),
        user,
        xkey,
        applicant,
        kind,
    };
    let msg = OutMsg {
        to: SUBJECT.as_bytes(),
        subject: SUBJECT.as_bytes(),
        reply: reply.as_bytes(),
        headers: &question.headers,
        payload: &question.payload,
    };
    events::request(shared, &asked.account, &msg);
    Ok(asked)
}

impl Asked {
    /// The account where the service listens.
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Waits for the answer; `None` if it does not come in time.
    pub(crate) async fn answer(&mut self, time: Duration) -> Option<Vec<u8>> {
        let answer = self.answer.take()?;
        self.shared.timers.timeout(time, answer).await.ok()?.ok()
    }

    /// Whom the client becomes by an answer. May take as long as an account's resolver.
    ///
    /// # Errors
    /// It says that the client does not come in, or nothing that counts.
    pub(crate) fn judge(&self, answer: &[u8]) -> Result<Admitted, Failed> {
        response::judge(self, answer).map(|admitted| self.court.admit(admitted))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.account.unsubscribe(&self.sub);
    }
}
