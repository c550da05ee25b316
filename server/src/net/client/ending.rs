//! The end of a connection: why a slow one is cut, what it leaves behind, and how its socket is closed.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use crate::connections::{CloseReason, ClosedClient, ConnectionHandle as _, Secured};
use crate::crossing;
use crate::events;
use crate::net::outbound::Drained;
use crate::router::{Account, Ended, Subscription};
use jetkv_go_compat::GoDuration;

/// A wait for receivers that is told.
const STALL_TOLD: Duration = Duration::from_millis(5);
const STALLED: &str = "Producer was stalled for a total of";

impl Connection {
    /// A write took too long: the connection is cut, unless the write is to be tried again.
    pub(super) fn write_overdue(&mut self) -> Option<CloseReason> {
        self.count_overdue();
        if self.client.retry_write() {
            return None;
        }
        self.client.close(CloseReason::SlowConsumerWriteDeadline);
        Some(CloseReason::SlowConsumerWriteDeadline)
    }

    fn count_overdue(&self) {
        let (bytes, chunks) = self.client.blocked_size();
        self.shared.counters.count_slow_consumer();
        self.account.count_slow_consumer();
        let state = if self.client.is_late() { "State" } else { "Detected" };
        tracing::info!(
            "{} - Slow Consumer {state}: WriteDeadline of {} exceeded with {chunks} chunks of {bytes} total bytes.",
            self.client.label(),
            GoDuration::from(self.settings.limits.write_deadline)
        );
    }

    pub(super) fn write_recovered(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        tracing::info!("{} - Slow Consumer Recovered: Flush took {seconds:.3}s", self.client.label());
    }

    /// Says that reading waited for receivers, where it did so for long; of the clients of an account one in a second, as
    /// nats-server v2.15.2.
    pub(super) fn warn_of_stall(&self, waited: Duration) {
        let account = self.account.name();
        if waited < STALL_TOLD || !self.shared.repeats.is_news(&format!("{STALLED} - Account:{account}")) {
            return;
        }
        let ms = (waited.as_secs_f64() * 1_000.0).round();
        let is_named = !self.options.user.is_empty() || !self.options.nkey.is_empty();
        let by = if is_named { format!(" - {}", self.user_label()) } else { String::new() };
        tracing::warn!("{} - {STALLED} {ms}ms - Account:{account}{by}", self.client.label());
    }

    /// Ends all subscriptions.
    pub(super) fn drop_subscriptions(&mut self) -> Vec<Arc<Subscription>> {
        let subs: Vec<_> = self.client.take_subscriptions().into_values().collect();
        if !subs.is_empty() {
            let ended = self.account.unsubscribe_all(subs.iter());
            self.tell_ended(&ended);
            for sub in &subs {
                self.client.trace_ended(sub);
                self.tell_engine_ended(sub);
            }
        }
        subs
    }

    /// Tells others what ended with subscriptions.
    pub(super) fn tell_ended(&self, ended: &Ended) {
        if let Some(engine) = self.engine() {
            engine.shadows_ended(&ended.shadows).iter().for_each(|stream| engine.commit(stream));
        }
        if !ended.requests.is_empty() {
            crossing::give_up(&self.shared, events::publish, &ended.requests);
        }
    }

    /// Tells the engine that a subscription is gone, and commits what comes of it.
    pub(super) fn tell_engine_ended(&self, sub: &Subscription) {
        if let Some(engine) = self.engine() {
            engine.subscription_ended(&self.account, sub).iter().for_each(|stream| engine.commit(stream));
        }
    }

    /// Closes the connection: tells the rest of the server at once, and gives the peer time to take its last bytes.
    pub(super) async fn finish(mut self, reason: CloseReason) {
        // Answers that wait for the end of the turn are still due.
        self.end_turn();
        self.client.close(reason);
        self.client.end_reloads();
        // Somebody else may have begun to close it for another reason.
        let reason = self.client.closing().unwrap_or(reason);
        if reason == CloseReason::SlowConsumerPendingBytes {
            self.shared.counters.count_slow_consumer();
            self.account.count_slow_consumer();
            tracing::info!(
                "{} - Slow Consumer Detected: MaxPending of {} Exceeded",
                self.client.label(),
                self.settings.limits.max_pending_bytes
            );
        }
        if let Some(error) = self.client.take_write_error() {
            tracing::debug!("{} - Error flushing: {error}", self.client.label());
        }
        tracing::debug!("{} - Client connection closed: {reason}", self.client.label());
        self.note_end(reason);
        if self.is_surplus {
            // Said once when it is found out, and again as the reason why its login failed (nats-server v2.15.2).
            tracing::error!("{} - maximum account active connections exceeded", self.client.label());
        }
        let subscriptions = self.leave_account();
        // Its place is free at once, however long the peer takes for its last bytes.
        self.shared.remove_client(self.client.id());
        if !self.is_surplus {
            events::connections_changed(&self.shared, &self.account);
        }
        self.remember(reason, subscriptions);
        self.end_turn();
        if !reason.drops_pending() {
            let client = &self.client;
            let drained = std::future::poll_fn(|context| client.poll_drained(context));
            // A peer that does not take its last bytes in time goes without them.
            let timed = self.shared.timers.timeout(self.settings.limits.write_deadline, drained).await;
            if timed != Ok(Drained::Whole) {
                self.count_overdue();
            }
        }
        self.client.say_end((!reason.drops_pending()).then(|| reason.close_payload()));
        if self.left_unread {
            self.reader.end_with_reset();
        }
    }

    fn leave_account(&mut self) -> Vec<Arc<Subscription>> {
        self.account.remove_client(self.client.id());
        let subscriptions = self.drop_subscriptions();
        self.tell_left(&self.account);
        subscriptions
    }

    /// Tells whoever made an account for this connection that it left.
    pub(super) fn tell_left(&self, account: &Arc<Account>) {
        if account.is_isolated()
            && let Some(isolation) = self.shared.isolation.get()
        {
            isolation.left(account);
        }
    }

    fn remember(&self, reason: CloseReason, subscriptions: Vec<Arc<Subscription>>) {
        let stopped_at = self.shared.clock.wall();
        events::disconnected(&self.shared, &*self.client, reason, stopped_at);
        self.shared.closed.push(ClosedClient {
            id: self.client.id(),
            peer: self.client.peer(),
            client_type: self.client.client_type(),
            // What the client showed is not kept.
            secured: self.client.secured().map(|secured| Secured { peer: None, ..secured.clone() }),
            identity: self.client.identity(),
            started_at: self.client.started_at(),
            stopped_at,
            last_active: self.client.last_active(),
            stalls: self.client.stalls(),
            rtt_ns: self.client.rtt_ns(),
            reason,
            traffic: self.client.traffic.counts(),
            subscriptions,
        });
    }
}

/// However the task ends, by a panic or by the end of its thread too, nothing of the connection stays behind.
impl Drop for Connection {
    fn drop(&mut self) {
        self.client.release();
        self.leave_account();
        // Others may listen on the same subjects, and have room.
        if let Some(engine) = self.engine() {
            engine.feed_again(&*self.client);
        }
        self.shared.remove_client(self.client.id());
    }
}
