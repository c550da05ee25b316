//! The thread that answers what clients and HTTP ask, one request after the other; and the subscription in each account by
//! which clients ask.

use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;
use std::{fmt, io};

use hashbrown::HashMap;
use hyper::body::Bytes;
use jetkv_jetstream::{AccountId, OutMsg};
use jetkv_protocol::Headers;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use super::answer::{Answer, LabError};
use super::control::{Control, Done};
use super::journal::Wait;
use crate::events;
use crate::faults::LAB;
use crate::router::{Account, Queued, Receipt, Receiver, Subscription, Target};
use crate::state::Shared;

/// Requests that wait at most; more are dropped, as those to any receiver that is full.
const WAITING_MAX: usize = 10_000;
/// Requests that wait for entries of the journal at most.
const WAITS_MAX: usize = 1_000;

/// What waits for the thread that answers.
enum Ask {
    Message(MessageAsk),
    Http(HttpAsk, oneshot::Sender<Answer>),
    /// By whoever runs the server.
    Call {
        name: (String, String),
        body: Vec<u8>,
        answer: mpsc::Sender<Answer>,
    },
    /// The journal has something new.
    Look,
}

/// A request by HTTP.
pub(super) struct HttpAsk {
    pub authorization: Option<Vec<u8>>,
    /// Group and verb.
    pub name: (String, String),
    pub body: Bytes,
}

/// A request on a subject.
struct MessageAsk {
    account: AccountId,
    subject: Vec<u8>,
    reply: Vec<u8>,
    headers: Vec<u8>,
    body: Vec<u8>,
}

/// Where an answer goes.
enum Way {
    Message { account: AccountId, reply: Vec<u8> },
    Http(oneshot::Sender<Answer>),
    Call(mpsc::Sender<Answer>),
}

/// What the thread that answers works with.
struct Clerk {
    shared: Arc<Shared>,
    control: Arc<Control>,
    /// Who waits for entries of the journal.
    waiting: Vec<(Wait, Way)>,
}

/// The subscription of each account, by which its clients ask.
pub(super) type Listening = HashMap<AccountId, (Arc<Account>, Arc<Subscription>)>;

/// Where requests of all accounts come in.
pub(super) struct Inbox {
    asks: Mutex<Option<mpsc::SyncSender<Ask>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    listening: Mutex<Listening>,
}

/// Where requests of one account come in.
struct Desk {
    id: u64,
    account: Arc<Account>,
    inbox: Weak<Inbox>,
}

impl Inbox {
    /// Starts the thread that answers.
    pub(super) fn start(shared: &Arc<Shared>, control: Arc<Control>) -> io::Result<Arc<Self>> {
        let (asks, asked) = mpsc::sync_channel(WAITING_MAX);
        let mut clerk = Clerk { shared: Arc::clone(shared), control, waiting: Vec::new() };
        let answer_all = move || {
            while let Some(ask) = clerk.next(&asked) {
                clerk.take(ask);
                clerk.look();
            }
        };
        let thread = std::thread::Builder::new().name("jetkv-lab".to_owned()).spawn(answer_all)?;
        let (asks, thread) = (Mutex::new(Some(asks)), Mutex::new(Some(thread)));
        let inbox = Arc::new(Self { asks, thread, listening: Mutex::default() });
        if let Some(journal) = &shared.journal {
            let inbox = Arc::downgrade(&inbox);
            journal.on_entry(move || {
                // Where the queue is full whoever waits is looked at behind what is in it.
                let _ = inbox.upgrade().is_some_and(|inbox| inbox.take(Ask::Look));
            });
        }
        Ok(inbox)
    }

    /// Subscribes in the accounts where it does not yet.
    pub(super) fn listen(self: &Arc<Self>, shared: &Shared) {
        for account in shared.accounts.all() {
            self.listen_in(shared, &account);
        }
    }

    /// Subscribes in an account, if it does not yet.
    pub(super) fn listen_in(self: &Arc<Self>, shared: &Shared, account: &Arc<Account>) {
        let mut listening = self.listening.lock();
        if listening.contains_key(&account.id()) {
            return;
        }
        let inbox = Arc::downgrade(self);
        let desk = Desk { id: shared.next_client_id(), account: Arc::clone(account), inbox };
        let subjects = format!("{LAB}>");
        let sub = Subscription::new(Target::Receiver(Arc::new(desk)), subjects.as_bytes(), b"", b"lab");
        let sub = Arc::new(sub);
        if account.subscribe(Arc::clone(&sub)).is_ok() {
            listening.insert(account.id(), (Arc::clone(account), sub));
        }
    }

    /// Ends the subscription in an account.
    pub(super) fn leave(&self, account: &Account) {
        if let Some((_, sub)) = self.listening.lock().remove(&account.id()) {
            account.unsubscribe(&sub);
        }
    }

    /// Takes no more requests, and waits until the last one is answered.
    pub(super) fn stop(&self) {
        for (_, (account, sub)) in self.listening.lock().drain() {
            account.unsubscribe(&sub);
        }
        *self.asks.lock() = None;
        if let Some(thread) = self.thread.lock().take() {
            // A panic has said so itself.
            let _ = thread.join();
        }
    }

    /// Has a request by HTTP answered.
    pub(super) async fn answer(&self, ask: HttpAsk) -> Answer {
        let (sender, answer) = oneshot::channel();
        let refused = |reason| Answer::new(None, &Err(LabError::failed(reason)));
        if !self.take(Ask::Http(ask, sender)) {
            return refused("the server stops, or too many requests wait");
        }
        answer.await.unwrap_or_else(|_| refused("the server stops"))
    }

    /// Has a request of whoever runs the server answered.
    pub(super) fn call(&self, group: &str, verb: &str, body: &Value) -> Result<Value, LabError> {
        let (sender, answer) = mpsc::channel();
        let name = (group.to_owned(), verb.to_owned());
        if !self.take(Ask::Call { name, body: body.to_string().into_bytes(), answer: sender }) {
            return Err(LabError::failed("the server stops, or too many requests wait"));
        }
        let answer = answer.recv().map_err(|_| LabError::failed("the server stops"))?;
        answer.into_value()
    }

    /// Has a request wait for its turn; tells whether it does.
    fn take(&self, ask: Ask) -> bool {
        self.asks.lock().as_ref().is_some_and(|asks| asks.try_send(ask).is_ok())
    }
}

impl Clerk {
    /// What comes next; `None` when nothing comes any more.
    fn next(&self, asked: &mpsc::Receiver<Ask>) -> Option<Ask> {
        let Some(until) = self.waiting.iter().map(|(wait, _)| wait.until).min() else {
            return asked.recv().ok();
        };
        match asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(ask) => Some(ask),
            Err(mpsc::RecvTimeoutError::Timeout) => Some(Ask::Look),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Message(ask) => {
                let MessageAsk { account, subject, reply, headers, body } = ask;
                let text = String::from_utf8_lossy(subject.get(LAB.len()..).unwrap_or_default());
                let name = text.split_once('.').unwrap_or((&text, ""));
                let authorization = Headers::new(&headers).get(b"Authorization");
                self.answer(authorization, name, &body, Way::Message { account, reply });
            }
            Ask::Http(HttpAsk { authorization, name: (group, verb), body }, answer) => {
                self.answer(authorization.as_deref(), (&group, &verb), &body, Way::Http(answer));
            }
            Ask::Call { name: (group, verb), body, answer } => {
                let done = self.control.answer((&group, &verb), &body);
                self.send_or_wait(done, Way::Call(answer));
            }
            Ask::Look => {}
        }
    }

    fn answer(&mut self, authorization: Option<&[u8]>, name: (&str, &str), body: &[u8], way: Way) {
        let done = if self.control.admits(authorization) {
            self.control.answer(name, body)
        } else {
            Done::Now(Answer::new(None, &Err(LabError::unauthorized())))
        };
        self.send_or_wait(done, way);
    }

    fn send_or_wait(&mut self, done: Done, way: Way) {
        match done {
            Done::Now(answer) => self.send(answer, way),
            Done::Last(answer, how) => {
                self.send(answer, way);
                self.shared.restarter.restart(how);
            }
            Done::Later(_) if self.waiting.len() >= WAITS_MAX => {
                self.send(Answer::new(None, &Err(LabError::failed("too many requests wait"))), way);
            }
            Done::Later(wait) => {
                self.waiting.push((wait, way));
                self.set_awaited(true);
            }
        }
    }

    /// Answers those for whom what they wait for is there, or too late.
    fn look(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        // Before anything is counted: what comes meanwhile has it looked for again.
        self.set_awaited(true);
        let now = Instant::now();
        for (wait, way) in std::mem::take(&mut self.waiting) {
            match self.control.look(&wait, now) {
                Some(answer) => self.send(answer, way),
                None => self.waiting.push((wait, way)),
            }
        }
        if self.waiting.is_empty() {
            self.set_awaited(false);
        }
    }

    fn set_awaited(&self, is_awaited: bool) {
        if let Some(journal) = &self.shared.journal {
            journal.set_awaited(is_awaited);
        }
    }

    /// Sends an answer. Whoever asked may have gone.
    fn send(&self, answer: Answer, way: Way) {
        match way {
            Way::Message { account, reply } => {
                if !reply.is_empty()
                    && let Some(account) = self.shared.accounts.get(account)
                {
                    events::publish(&self.shared, &account, &reply, &answer.body);
                }
            }
            Way::Http(sender) => drop(sender.send(answer)),
            Way::Call(sender) => drop(sender.send(answer)),
        }
        self.shared.end_turn();
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.account.name())
    }
}

impl Receiver for Desk {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, sub: &Subscription, msg: &OutMsg<'_>, _is_own: bool, _thread: u32) -> Receipt {
        sub.count();
        let ask = MessageAsk {
            account: self.account.id(),
            subject: msg.subject.to_vec(),
            reply: msg.reply.to_vec(),
            headers: msg.headers.to_vec(),
            body: msg.payload.to_vec(),
        };
        let is_taken = self.inbox.upgrade().is_some_and(|inbox| inbox.take(Ask::Message(ask)));
        let queued = if is_taken { Queued::Waiting } else { Queued::Closed };
        Receipt { queued, is_first: false, is_last: false }
    }

    fn end_subscription(&self, _: &Arc<Subscription>) -> Arc<Account> {
        Arc::clone(&self.account)
    }
}
