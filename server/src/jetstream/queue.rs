//! Requests of the API that wait for a thread, and how many may.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::options::JetStreamOptions;
use crate::worker::QueuedRequest;

/// Requests of one queue may take this much memory while they wait, whatever their number: one client may not fill the
/// memory with requests that are large and slow to serve.
const QUEUED_BYTES_MAX: usize = 256 << 20;

/// Which of the two queues of nats-server v2.15.2 a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What changes something, or reads a message. Served first.
    Requests,
    /// What asks how things are.
    Infos,
}

impl Lane {
    /// Where a request on `subject` waits; `None` for one that is served by the thread that read it: gets and pull
    /// requests, which streams and consumers themselves take, and what nobody serves.
    #[inline]
    pub(super) fn of(subject: &[u8]) -> Option<Self> {
        let rest = subject.strip_prefix(b"$JS.API.")?;
        if rest.starts_with(b"DIRECT.") || rest.starts_with(b"CONSUMER.MSG.NEXT.") {
            return None;
        }
        Self::of_other(rest)
    }

    fn of_other(rest: &[u8]) -> Option<Self> {
        // A subject with an empty token matches no subscription.
        if rest.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
            return None;
        }
        let mut tokens = rest.split(|byte| *byte == b'.');
        let (first, second, count) = (tokens.next()?, tokens.next(), tokens.count());
        match (first, second, count) {
            (b"INFO", None, 0)
            | (b"STREAM", Some(b"NAMES" | b"LIST"), 0)
            | (b"STREAM", Some(b"INFO"), 1)
            | (b"CONSUMER", Some(b"NAMES" | b"LIST"), 1)
            | (b"CONSUMER", Some(b"INFO"), 2) => Some(Self::Infos),
            (b"STREAM" | b"CONSUMER", Some(_), _) | (b"ACCOUNT", Some(b"PURGE"), 1) => Some(Self::Requests),
            _ => None,
        }
    }

    /// The queue's name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "JetStream API queue",
            Self::Infos => "JetStream API info queue",
        }
    }

    /// How many requests fill the queue.
    pub(super) fn limit(self, options: &JetStreamOptions) -> usize {
        let limit = match self {
            Self::Infos if options.info_queue_limit > 0 => options.info_queue_limit,
            _ => options.request_queue_limit,
        };
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

/// The two queues. Threads of their own take from them ([`super::workers`]).
#[derive(Default)]
pub(super) struct ApiQueue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: Queue,
    infos: Queue,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<QueuedRequest>,
    size_bytes: usize,
}

impl ApiQueue {
    /// Puts a request at the end of its queue. A queue that `limit` requests are in then is emptied, with this one, as
    /// nats-server does it; says how many were dropped so.
    pub(super) fn push(&self, lane: Lane, request: QueuedRequest, limit: usize) -> usize {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return 0;
        }
        let queue = waiting.queue(lane);
        queue.size_bytes += request.size_bytes();
        queue.requests.push_back(request);
        if queue.requests.len() >= limit || queue.size_bytes > QUEUED_BYTES_MAX {
            return std::mem::take(queue).requests.len();
        }
        drop(waiting);
        self.work.notify_one();
        0
    }

    /// Waits for the next request; `None` when the queue is closed.
    pub(super) fn take(&self) -> Option<QueuedRequest> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(request) = waiting.requests.pop().or_else(|| waiting.infos.pop()) {
                return Some(request);
            }
            self.work.wait(&mut waiting);
        }
    }

    /// Ends the work: what waits is dropped, and nothing comes any more.
    pub(super) fn close(&self) {
        *self.waiting.lock() = Waiting { closed: true, ..Waiting::default() };
        self.work.notify_all();
    }
}

impl Waiting {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Requests => &mut self.requests,
            Lane::Infos => &mut self.infos,
        }
    }
}

impl Queue {
    fn pop(&mut self) -> Option<QueuedRequest> {
        let request = self.requests.pop_front()?;
        self.size_bytes -= request.size_bytes();
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetkv_jetstream::{AccountId, ApiRequest, ClientInfo};
    use std::sync::Arc;

    fn request(subject: &str, payload: &[u8]) -> QueuedRequest {
        let (subject, reply, headers) = (subject.as_bytes(), b"reply".as_slice(), b"".as_slice());
        let request = ApiRequest { account: AccountId(7), subject, reply, headers, payload, client: None };
        QueuedRequest::new(&request, &Arc::new(ClientInfo::default()))
    }

    fn taken(queue: &ApiQueue) -> String {
        String::from_utf8(queue.take().unwrap().subject().to_vec()).unwrap()
    }

    #[test]
    fn requests_wait_where_they_do_in_nats_server() {
        for subject in [
            "INFO",
            "STREAM.NAMES",
            "STREAM.LIST",
            "STREAM.INFO.S",
            "CONSUMER.NAMES.S",
            "CONSUMER.LIST.S",
            "CONSUMER.INFO.S.C",
        ] {
            assert_eq!(Lane::of(format!("$JS.API.{subject}").as_bytes()), Some(Lane::Infos), "{subject}");
        }
        for subject in
            ["STREAM.CREATE.S", "STREAM.MSG.GET.S", "CONSUMER.CREATE.S.C.f.>", "CONSUMER.RESET.S.C"]
        {
            assert_eq!(Lane::of(format!("$JS.API.{subject}").as_bytes()), Some(Lane::Requests), "{subject}");
        }
        for subject in ["DIRECT.GET.S", "DIRECT.GET.S.k", "CONSUMER.MSG.NEXT.S.C", "INFO.more", "NOTHING", ""]
        {
            assert_eq!(Lane::of(format!("$JS.API.{subject}").as_bytes()), None, "{subject}");
        }
    }

    #[test]
    fn what_changes_something_goes_before_what_asks_and_each_in_its_order() {
        let queue = ApiQueue::default();
        for (lane, subject) in
            [(Lane::Infos, "i1"), (Lane::Requests, "r1"), (Lane::Infos, "i2"), (Lane::Requests, "r2")]
        {
            assert_eq!(queue.push(lane, request(subject, b""), 10), 0);
        }
        assert_eq!([(); 4].map(|()| taken(&queue)), ["r1", "r2", "i1", "i2"]);
    }

    #[test]
    fn a_queue_that_is_full_is_emptied_and_the_other_is_not() {
        let queue = ApiQueue::default();
        assert_eq!(queue.push(Lane::Infos, request("i", b""), 1), 1, "one request fills a queue of one");
        assert_eq!(queue.push(Lane::Infos, request("i", b""), 3), 0);
        assert_eq!(queue.push(Lane::Requests, request("r1", b""), 3), 0);
        assert_eq!(queue.push(Lane::Requests, request("r2", b""), 3), 0);
        assert_eq!(queue.push(Lane::Requests, request("r3", b""), 3), 3);
        assert_eq!(taken(&queue), "i");
        queue.close();
        assert_eq!(queue.push(Lane::Infos, request("late", b""), 3), 0);
        assert!(queue.take().is_none());
    }

    #[test]
    fn large_requests_fill_a_queue_by_their_size() {
        let queue = ApiQueue::default();
        let large = vec![b'x'; QUEUED_BYTES_MAX / 4];
        let dropped: Vec<usize> =
            (0..5).map(|_| queue.push(Lane::Requests, request("r", &large), 10_000)).collect();
        assert_eq!(dropped, [0, 0, 0, 4, 0]);
    }

    #[test]
    fn a_request_is_served_as_it_was_made() {
        let made = request("$JS.API.INFO", b"body");
        let served = made.request();
        assert_eq!((served.account, served.subject), (AccountId(7), b"$JS.API.INFO".as_slice()));
        assert_eq!(
            (served.reply, served.headers, served.payload),
            (b"reply".as_slice(), b"".as_slice(), b"body".as_slice())
        );
    }
}
