//! SUB and UNSUB.

use std::sync::Arc;

use jetkv_go_compat::quoted;
use jetkv_protocol::{Rejection, subject};

use super::connection::Connection;
use crate::connections::ConnectionHandle as _;
use crate::router::{Receiver, Subscription, Target};
use crate::worker::Turn;

/// Queue group that servers use among themselves.
const SYSTEM_GROUP: &[u8] = b"_sys_";

impl Connection {
    /// Adds a subscription. A sid that is in use keeps its subscription, and the client hears nothing of it. One that
    /// had its last message in this turn of work ends with the turn, and is no longer in use.
    pub(super) fn subscribe(&mut self, turn: &mut Turn<'_>, subject: &[u8], queue: &[u8], sid: &[u8]) {
        if !self.may_subscribe(subject, queue, sid) {
            return;
        }
        if self.client.subscription(sid).is_none_or(|listed| listed.had_its_last()) {
            let target = Target::Receiver(Arc::clone(&self.client) as Arc<dyn Receiver>);
            let sub = Arc::new(Subscription::new(target, subject, queue, sid));
            // It is listed at the connection first, so that one that ends after its first message is found there.
            self.client.add_subscription(Arc::clone(&sub));
            if self.account.subscribe(Arc::clone(&sub)).is_err() {
                self.client.remove_subscription(&sub);
                return self.reject(&Rejection::InvalidSubject);
            }
            if let Some(jetstream) = self.jetstream.as_ref().filter(|_| self.account.has_jetstream()) {
                let streams = jetstream.interest_changed(&self.account, &sub, true);
                streams.iter().for_each(|stream| turn.batch.touch(stream));
            }
            let shadows = self.account.shadows(&sub);
            if let Some(jetstream) = self.jetstream.as_ref().filter(|_| !shadows.is_empty()) {
                let streams = jetstream.shadows_came(&shadows);
                streams.iter().for_each(|stream| turn.batch.touch(stream));
            }
        }
        if self.verbose {
            self.send_ok();
        }
    }

    fn may_subscribe(&mut self, subject: &[u8], queue: &[u8], sid: &[u8]) -> bool {
        let denied = self.rules.as_ref().is_some_and(|rules| !rules.may_subscribe(subject, queue));
        if denied || queue == SYSTEM_GROUP {
            let group = (!queue.is_empty()).then_some(queue);
            self.reject(&Rejection::SubscribePermission(subject, group));
            let group = group.map(|queue| format!(", Queue: {}", quoted(queue))).unwrap_or_default();
            tracing::error!(
                "{} - Subscription Violation - Subject {}{group}, SID {}",
                self.client.label(),
                quoted(subject),
                String::from_utf8_lossy(sid)
            );
            return false;
        }
        let max_tokens = usize::from(self.settings.limits.max_subscription_tokens);
        if max_tokens > 0 && subject::token_count(subject) > max_tokens {
            self.reject(&Rejection::TooManySubjectTokens(subject));
            tracing::error!(
                "{} - Subscription Violation Too Many Tokens - Subject {}, SID {}",
                self.client.label(),
                quoted(subject),
                String::from_utf8_lossy(sid)
            );
            return false;
        }
        if self.max_subscriptions.is_some_and(|max| self.client.subscription_count() >= max) {
            self.reject(&Rejection::TooManySubscriptions);
            tracing::error!("{} - maximum subscriptions exceeded", self.client.label());
            return false;
        }
        true
    }

    /// Ends a subscription, now or after `max` messages since it began.
    pub(super) fn unsubscribe(&mut self, turn: &mut Turn<'_>, sid: &[u8], max: Option<u64>) {
        if let Some(sub) = self.client.subscription(sid) {
            let done = max.is_none_or(|max| sub.set_max(max));
            if done {
                sub.set_max(0);
                self.client.remove_subscription(&sub);
                self.client.trace_ended(&sub);
                let ended = self.account.unsubscribe(&sub);
                self.tell_ended(&ended);
                if let Some(engine) = self.engine() {
                    let streams = engine.subscription_ended(&self.account, &sub);
                    streams.iter().for_each(|stream| turn.batch.touch(stream));
                }
            }
        }
        if self.verbose {
            self.send_ok();
        }
    }
}
