//! What a stream listens on besides its subjects, and the numbers that all of it has on pages.

use super::{Inner, Stream};
use crate::own::OwnSubscription;
use crate::stream::Host;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections that nats-server v2.15.2 gives a stream (observed).
const CONNECTIONS: u64 = 3;
/// Queue group of those that answer direct gets.
const DIRECT_QUEUE: &str = "_sys_";
/// Subscriptions for direct gets: without the message's subject in that of the request, and with it.
const DIRECT: i64 = 2;

/// A stream's connection and the numbers of its subscriptions.
#[derive(Debug)]
pub(super) struct Listening {
    client: u64,
    last_sid: AtomicU64,
}

/// The subscriptions for direct gets, and what came on them.
#[derive(Debug, Default)]
pub(super) struct DirectGets {
    /// The first of the two, 0 where there are none.
    sid: u64,
    plain: u64,
    by_subject: u64,
}

impl Listening {
    pub(super) fn new(host: &dyn Host) -> Self {
        Self { client: host.take_client_numbers(CONNECTIONS), last_sid: AtomicU64::new(0) }
    }
}

impl Inner {
    /// A direct get came, which names the message's subject in its own or not.
    pub(crate) fn get_came(&mut self, by_subject: bool) {
        let gets = &mut self.gets;
        *(if by_subject { &mut gets.by_subject } else { &mut gets.plain }) += 1;
    }
}

impl Stream {
    /// The connection that nats-server would give the stream.
    #[must_use]
    pub fn client_number(&self) -> u64 {
        self.listening.client
    }

    /// The number of a new subscription of the stream.
    #[must_use]
    pub fn next_sid(&self) -> u64 {
        self.listening.last_sid.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Begins or ceases to be listed as one that answers direct gets.
    pub(crate) fn listen_for_gets(&self, listening: bool) {
        let gets = &mut self.lock().gets;
        if listening == (gets.sid != 0) {
            return;
        }
        *gets = DirectGets::default();
        if listening {
            gets.sid = self.next_sid();
            let _second = self.next_sid();
        }
        self.account.own.change(if listening { DIRECT } else { -DIRECT }, 0);
    }

    /// What the stream and its consumers listen on, but for the subjects of the stream.
    pub(crate) fn own_subscriptions(&self) -> Vec<OwnSubscription> {
        let inner = self.lock();
        let gets = &inner.gets;
        let mut list = Vec::new();
        if gets.sid != 0 {
            let subject = format!("$JS.API.DIRECT.GET.{}", self.name);
            let by_subject = format!("{subject}.>");
            for (subject, msgs, sid) in
                [(subject, gets.plain, gets.sid), (by_subject, gets.by_subject, gets.sid + 1)]
            {
                let (queue, client) = (DIRECT_QUEUE, self.listening.client);
                list.push(OwnSubscription { subject, queue, sid, msgs, client, is_system: false });
            }
        }
        list.extend(inner.consumers.own_subscriptions(&self.name));
        list
    }
}
