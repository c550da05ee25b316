//! Requests of the API that wait for a thread, and how many may.

use std::collections::VecDeque;

use jetkv_jetstream::api::Lane;
use parking_lot::{Condvar, Mutex};

use crate::options::JetStreamOptions;
use crate::worker::QueuedRequest;

/// Requests of one queue may take this much memory while they wait, whatever their number: one client may not fill the
/// memory with requests that are large and slow to serve.
const QUEUED_BYTES_MAX: usize = 256 << 20;

/// Where a request waits: one of the API, or one to take an account's streams away.
pub(super) fn lane_of(subject: &[u8]) -> Option<Lane> {
    Lane::of(subject).or_else(|| account_to_purge(subject).map(|_| Lane::Requests))
}

/// The account that a request on `subject` is to take the streams of, as the system account may ask.
pub(super) fn account_to_purge(subject: &[u8]) -> Option<&[u8]> {
    let name = subject.strip_prefix(b"$JS.API.ACCOUNT.PURGE.")?;
    (!name.is_empty() && !name.contains(&b'.')).then_some(name)
}

/// The queue's name in the log.
pub(super) fn name_of(lane: Lane) -> &'static str {
    match lane {
        Lane::Requests => "JetStream API queue",
        Lane::Infos => "JetStream API info queue",
    }
}

/// How many requests fill the queue.
pub(super) fn limit_of(lane: Lane, options: &JetStreamOptions) -> usize {
    let limit = match lane {
        Lane::Infos if options.info_queue_limit > 0 => options.info_queue_limit,
        _ => options.request_queue_limit,
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
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
    fn a_request_for_an_account_s_streams_waits_with_those_that_change_something() {
        assert_eq!(lane_of(b"$JS.API.ACCOUNT.PURGE.A"), Some(Lane::Requests));
        assert_eq!(lane_of(b"$JS.API.INFO"), Some(Lane::Infos));
        assert_eq!([&b"$JS.API.ACCOUNT.PURGE."[..], b"$JS.API.ACCOUNT.PURGE.A.B"].map(lane_of), [None, None]);
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
