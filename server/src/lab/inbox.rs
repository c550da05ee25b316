//! Requests on subjects: a subscription in each account, and the thread that answers them.

use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::{fmt, io};

use jetkv_jetstream::{AccountId, OutMsg};
use jetkv_protocol::Headers;
use parking_lot::Mutex;

use super::SUBJECTS;
use super::control::Control;
use crate::events;
use crate::router::{Account, Queued, Receipt, Receiver, Subscription, Target};
use crate::state::Shared;

/// What stands before the group and the verb.
const PREFIX: &[u8] = b"$JETKV.LAB.";
/// Requests that wait at most; more are dropped, as those to any receiver that is full.
const WAITING_MAX: usize = 10_000;

/// A request that waits.
struct Ask {
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
                answer(&server, &control, &ask);
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

    fn take(&self, ask: Ask) -> Queued {
        let asks = self.asks.lock();
        let is_taken = asks.as_ref().is_some_and(|asks| asks.try_send(ask).is_ok());
        if is_taken { Queued::Waiting } else { Queued::Closed }
    }
}

fn answer(shared: &Arc<Shared>, control: &Control, ask: &Ask) {
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
        let ask = Ask {
            account: self.account.id(),
            subject: msg.subject.to_vec(),
            reply: msg.reply.to_vec(),
            headers: msg.headers.to_vec(),
            body: msg.payload.to_vec(),
        };
        let queued = self.inbox.upgrade().map_or(Queued::Closed, |inbox| inbox.take(ask));
        Receipt { queued, is_first: false, is_last: false }
    }

    fn end_subscription(&self, _: &Arc<Subscription>) -> Arc<Account> {
        Arc::clone(&self.account)
    }
}
