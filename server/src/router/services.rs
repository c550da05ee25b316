//! The services of the server that an account's clients reach, as subscriptions of the account's own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where clients ask for connections, numbers and users of their own account, in the order in which nats-server v2.15.2
/// numbers them; the API of JetStream comes last (observed).
const SUBJECTS: [&str; 5] = [
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.REQ.USER.INFO",
    "$JS.API.>",
];
const API: usize = SUBJECTS.len() - 1;

/// How often clients of an account asked for services, and the connection that nats-server would serve them by.
#[derive(Debug, Default)]
pub(crate) struct Services {
    client: AtomicU64,
    /// The account was deleted, and its subscriptions with it, until it comes again.
    are_removed: AtomicBool,
    asked: [AtomicU64; SUBJECTS.len()],
}

/// One service: its subject, its number, and how often it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    pub subject: &'static str,
    pub sid: u64,
    pub asked: u64,
}

impl Services {
    /// The number of the connection, 0 before one was given.
    pub(crate) fn client(&self) -> u64 {
        self.client.load(Ordering::Relaxed)
    }

    pub(crate) fn set_client(&self, number: u64) {
        self.client.store(number, Ordering::Relaxed);
    }

    /// Counts requests of the API of JetStream.
    pub(crate) fn count_api(&self, requests: u64) {
        if let Some(api) = self.asked.get(API) {
            api.fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Counts a request of another service, if it is one.
    pub(crate) fn count(&self, subject: &[u8]) {
        if let Some(at) = SUBJECTS.iter().position(|known| known.as_bytes() == subject)
            && let Some(counter) = self.asked.get(at)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a subject is one on which clients ask for them: no wildcard, as that of the API of JetStream is.
    pub(crate) fn are_asked_on(subject: &[u8]) -> bool {
        SUBJECTS.iter().take(API).any(|known| known.as_bytes() == subject)
    }

    /// All of them; that of JetStream only `with_api`.
    pub(crate) fn list(&self, with_api: bool) -> impl Iterator<Item = Service> {
        let count = self.number(with_api);
        let services = SUBJECTS.iter().zip(&self.asked).zip(1..).take(count);
        services.map(|((subject, asked), sid)| Service { subject, sid, asked: asked.load(Ordering::Relaxed) })
    }

    /// How many there are.
    pub(crate) fn number(&self, with_api: bool) -> usize {
        match self.are_removed.load(Ordering::Relaxed) {
            true => 0,
            false if with_api => SUBJECTS.len(),
            false => API,
        }
    }

    /// Says whether the account has none of them, because it was deleted.
    pub(crate) fn set_removed(&self, are_removed: bool) {
        self.are_removed.store(are_removed, Ordering::Relaxed);
    }
}
