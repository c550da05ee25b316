//! Work that holds a stream's lock for long because it is one change: the commit of a large batch, or a rollup of many messages
//! inside one. Whoever serves connections asks before it takes the lock, and leaves to others what would wait.

use super::{Inner, Stream};
use crate::message::Inbound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many hold a stream's lock for long, or are about to.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

/// Somebody holds the lock for long while this lives.
#[derive(Debug)]
pub(super) struct Holding(Busy);

impl Busy {
    pub(super) fn begin(&self) -> Holding {
        self.0.fetch_add(1, Ordering::AcqRel);
        Holding(self.clone())
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Stream {
    /// Whether somebody holds the stream's lock for long. What is asked of the stream now is best left to a thread that serves
    /// no connection; whoever asks in vain is answered all the same, after a wait.
    #[inline]
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.is_set()
    }
}

impl Inner {
    /// Whether a message has to be taken by somebody who has time, as one change: it ends a large batch, or rolls up many as
    /// part of a fast one.
    #[inline]
    pub(super) fn is_long_change(&self, msg: &Inbound<'_>) -> bool {
        !msg.headers.is_empty() && (self.ends_large_batch(msg.headers) || self.is_long_of_fast(msg))
    }
}

#[cfg(test)]
mod tests {
    use crate::ApiRequest;
    use crate::message::Inbound;
    use crate::outbox::Outbox;
    use crate::stream::TakesLong;
    use crate::testing::TestEngine;

    const CONFIG: &str = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_direct":true,"allow_atomic":true,
        "allow_batched":true,"allow_rollup_hdrs":true}"#;

    fn request<'r>(engine: &TestEngine, subject: &'r str, payload: &'r str) -> ApiRequest<'r> {
        let (subject, payload) = (subject.as_bytes(), payload.as_bytes());
        ApiRequest { account: engine.account, subject, reply: b"answer", headers: b"", payload, client: None }
    }

    #[test]
    fn whoever_serves_connections_does_not_wait_while_somebody_holds_the_lock_for_long() {
        let engine = TestEngine::new().unwrap();
        engine.request("STREAM.CREATE.S", CONFIG);
        engine.request(
            "CONSUMER.CREATE.S.C",
            r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#,
        );
        engine.publish("s.1", &[], "x");
        let stream = engine.engine.stream(engine.account, "S").unwrap();
        let msg = Inbound { subject: b"s.1", reply: b"answer", headers: b"", payload: b"y" };
        let asked = [
            ("$JS.API.DIRECT.GET.S.s.1", ""),
            ("$JS.API.DIRECT.GET.S", r#"{"seq":1}"#),
            ("$JS.API.CONSUMER.MSG.NEXT.S.C", ""),
        ];
        let take_long = || {
            asked.map(|(subject, payload)| {
                let request = request(&engine, subject, payload);
                engine.engine.api_at_once(&request, &mut Outbox::new()).takes_long
            })
        };
        let control = || {
            let subject = b"$JS.ACK.S.C.1.1.1.1.0";
            engine
                .engine
                .js_control_at_once(
                    engine.account,
                    &Inbound { subject, reply: b"", headers: b"", payload: b"" },
                )
                .is_none()
        };
        assert!(stream.publish_if_short(&msg).is_ok() && !control() && take_long() == [false; 3]);
        let holding = stream.busy.begin();
        let locked = stream.inner.lock();
        // None of these may wait for the lock.
        assert_eq!(stream.publish_if_short(&msg), Err(TakesLong));
        assert!(control() && take_long() == [true; 3]);
        drop(locked);
        drop(holding);
        assert!(stream.publish_if_short(&msg).is_ok() && !control() && take_long() == [false; 3]);
    }

    #[test]
    fn large_batches_and_rollups_of_many_inside_batches_are_left_to_who_has_time() {
        let engine = TestEngine::new().unwrap();
        engine.request("STREAM.CREATE.S", CONFIG);
        let stream = engine.engine.stream(engine.account, "S").unwrap();
        let take = |headers: &str, reply: &str| {
            let headers = format!("NATS/1.0\r\n{headers}\r\n\r\n");
            let (reply, headers) = (reply.as_bytes(), headers.as_bytes());
            let msg = Inbound { subject: b"s.1", reply, headers, payload: b"x" };
            stream.publish_if_short(&msg).is_ok()
        };
        let fast = |seq: u32| format!("r.b.10.ok.{seq}.{}.$FI", u32::from(seq > 1));
        assert!(take("Nats-Rollup: sub", "r"), "there is little to roll up");
        (0..2_000).for_each(|_| drop(engine.publish("s.1", &[], "x")));
        assert!(take("X: y", &fast(1)) && !take("Nats-Rollup: sub", &fast(2)));
        let of_batch = |seq: u32, rest: &str| format!("Nats-Batch-Id: b\r\nNats-Batch-Sequence: {seq}{rest}");
        assert!(take(&of_batch(1, ""), "r") && take(&of_batch(2, "\r\nNats-Rollup: sub"), "r"));
        assert!(!take(&of_batch(3, "\r\nNats-Batch-Commit: 1"), "r"));
        assert!(!stream.is_busy());
    }
}
