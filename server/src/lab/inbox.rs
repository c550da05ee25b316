//! The thread that answers what clients and HTTP ask, one request after the other; and the subscription in each account by
//! which clients ask.

use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::{fmt, io};

use hyper::body::Bytes;
use jetkv_jetstream::{AccountId, OutMsg};
use jetkv_protocol::Headers;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::SUBJECTS;
use super::answer::{Answer, LabError};
use super::control::Control;
use crate::events;
use crate::router::{Account, Queued, Receipt, Receiver, Subscription, Target};
use crate::state::Shared;

/// What stands before the group and the verb.
const PREFIX: &[u8] = b"$JETKV.LAB.";
/// Requests that wait at most; more are dropped, as those to any receiver that is full.
const WAITING_MAX: usize = 10_000;

/// A request that waits.
enum Ask {
    Message(MessageAsk),
    Http(HttpAsk, oneshot::Sender<Answer>),
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

/// Where requests of all accounts come in.
pub(super) struct Inbox {
    asks: Mutex<Option<mpsc::SyncSender<Ask>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    listening: Mutex<Vec<(Arc<Account>, Arc<Subscription>)>>,
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
        let server = Arc::clone(shared);
        let answer_all = move || {
            for ask in asked {
                match ask {
                    Ask::Message(ask) => answer(&server, &control, &ask),
                    Ask::Http(HttpAsk { authorization, name: (group, verb), body }, answer) => {
                        // Whoever asked may have gone.
                        let _ = answer.send(control.answer(authorization.as_deref(), (&group, &verb), &body));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("jetkv-lab".to_owned()).spawn(answer_all)?;
        let (asks, thread) = (Mutex::new(Some(asks)), Mutex::new(Some(thread)));
        Ok(Arc::new(Self { asks, thread, listening: Mutex::default() }))
    }

    /// Subscribes in the accounts where it does not yet.
    pub(super) fn listen(self: &Arc<Self>, shared: &Shared) {
        let mut listening = self.listening.lock();
        for account in shared.accounts.all() {
            if listening.iter().any(|(known, _)| known.id() == account.id()) {
                continue;
            }
            let inbox = Arc::downgrade(self);
            let desk = Desk { id: shared.next_client_id(), account: Arc::clone(&account), inbox };
            let sub = Subscription::new(Target::Receiver(Arc::new(desk)), SUBJECTS, b"", b"lab");
            let sub = Arc::new(sub);
            if account.subscribe(Arc::clone(&sub)).is_ok() {
                listening.push((account, sub));
            }
        }
    }

    /// Takes no more requests, and waits until the last one is answered.
    pub(super) fn stop(&self) {
        for (account, sub) in self.listening.lock().drain(..) {
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

    /// Has a request wait for its turn; tells whether it does.
    fn take(&self, ask: Ask) -> bool {
        self.asks.lock().as_ref().is_some_and(|asks| asks.try_send(ask).is_ok())
    }
}

fn answer(shared: &Arc<Shared>, control: &Control, ask: &MessageAsk) {
    let text = String::from_utf8_lossy(ask.subject.get(PREFIX.len()..).unwrap_or_default()).into_owned();
    let name = text.split_once('.').unwrap_or((&text, ""));
    let authorization = Headers::new(&ask.headers).get(b"Authorization");
    let answer = control.answer(authorization, name, &ask.body);
    if !ask.reply.is_empty()
        && let Some(account) = shared.accounts.get(ask.account)
    {
        events::publish(shared, &account, &ask.reply, &answer.body);
    }
    shared.end_turn();
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
