//! What a consumer listens on, and how often messages came there.
//!
//! nats-server gives each consumer a connection with subscriptions of its own and one in the system account; they are counted
//! and listed on its pages. Here messages on those subjects are handed to the engine, so that the list is made when asked
//! for.

use super::ack::Control;
use super::set::Consumers;
use super::{Consumer, StreamCtx};
use crate::config::{AckPolicy, ConsumerConfig};
use crate::own::{OwnCounts, OwnSubscription};
use crate::router::Router;
use crate::settings::ConsumerSettings;
use std::sync::Arc;

/// Connections that nats-server gives a consumer.
const CONNECTIONS: u64 = 2;
/// Subscriptions of each consumer in the system account.
const SYSTEM: i64 = 1;
/// Tokens of an acknowledgement or an answer to flow control that names neither domain nor account.
const ACK_TOKENS: usize = 9;
const FLOW_TOKENS: usize = 5;

/// What came on the subjects of a consumer.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Its first connection, 0 while it has none.
    client: u64,
    system_sid: u64,
    acks: u64,
    scoped_acks: u64,
    pulls: u64,
    resets: u64,
    flow: u64,
    scoped_flow: u64,
}

impl Listening {
    /// Counts a message that the consumer is about to take.
    pub(super) fn count(&mut self, control: &Control<'_>, subject: &[u8]) {
        let tokens = || memchr::memchr_iter(b'.', subject).count() + 1;
        let counter = match control {
            Control::Next { .. } => &mut self.pulls,
            Control::Ack { .. } if tokens() == ACK_TOKENS => &mut self.acks,
            Control::Ack { .. } => &mut self.scoped_acks,
            Control::Flow { .. } if tokens() == FLOW_TOKENS => &mut self.flow,
            Control::Flow { .. } => &mut self.scoped_flow,
        };
        *counter += 1;
    }

    fn take_numbers(&mut self, host: &dyn Router) {
        if self.client == 0 {
            self.client = host.take_client_numbers(CONNECTIONS);
            self.system_sid = host.next_system_sid();
        }
    }
}

/// Whether acknowledgements are listened for.
pub(super) fn takes_acks(config: &ConsumerConfig) -> bool {
    !matches!(config.ack_policy, AckPolicy::None | AckPolicy::FlowControl)
}

/// Subscriptions in the account of the stream.
fn own_count(config: &ConsumerConfig) -> i64 {
    2 + 2 * i64::from(takes_acks(config)) + 2 * i64::from(config.flow_control)
}

impl Consumer {
    fn own_subscriptions(&self, stream: &str, settings: &ConsumerSettings) -> Vec<OwnSubscription> {
        let counts = &self.listening;
        let name = &self.name;
        let scope = settings.scope();
        let mut list = Vec::new();
        let mut listen = |subject: String, msgs: u64| {
            let sid = list.len() as u64 + 1;
            list.push(OwnSubscription {
                subject,
                queue: "",
                sid,
                msgs,
                client: counts.client,
                is_system: false,
            });
        };
        if takes_acks(&self.config) {
            listen(format!("$JS.ACK.{stream}.{name}.*.*.*.*.*"), counts.acks);
            listen(format!("$JS.ACK.{scope}.{stream}.{name}.*.*.*.*.>"), counts.scoped_acks);
        }
        listen(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), counts.pulls);
        listen(format!("$JS.API.CONSUMER.RESET.{stream}.{name}"), counts.resets);
        if self.config.flow_control {
            listen(format!("$JS.FC.{stream}.{name}.*"), counts.flow);
            listen(format!("$JS.FC.{scope}.{stream}.{name}.*"), counts.scoped_flow);
        }
        list.push(OwnSubscription {
            subject: format!("$JSC.CI.{}.{stream}.{name}", settings.account_name),
            queue: "",
            sid: counts.system_sid,
            msgs: 0,
            client: counts.client + 1,
            is_system: true,
        });
        list
    }

    /// Counts its subscriptions in, or out where it goes.
    pub(super) fn count_own(&self, counts: &OwnCounts, comes: bool) {
        let sign = if comes { 1 } else { -1 };
        counts.change(sign * own_count(&self.config), sign * SYSTEM);
    }
}

impl Consumers {
    /// Counts the subscriptions of consumers that come from now on in `counts`.
    pub(crate) fn count_in(&mut self, counts: Arc<OwnCounts>) {
        self.shared.own = counts;
    }

    /// Gives connections to consumers that have none: to new ones, and to those that came back, once all streams have.
    pub(crate) fn take_numbers(&mut self, host: &dyn Router) {
        let slots: Vec<_> = self.names.values().copied().collect();
        for slot in slots {
            self.with(slot, |consumer, _| consumer.listening.take_numbers(host));
        }
    }

    /// Gives a new consumer its connections.
    pub(super) fn take_numbers_of(&mut self, ctx: &StreamCtx<'_>, slot: super::Slot) {
        self.with(slot, |consumer, _| consumer.listening.take_numbers(ctx.host));
    }

    /// A request to reset a consumer came; says whether there is such a consumer.
    pub(crate) fn reset_came(&mut self, name: &str) -> bool {
        let Some(slot) = self.names.get(name).copied() else { return false };
        self.with(slot, |consumer, _| consumer.listening.resets += 1).is_some()
    }

    /// What all of them listen on, in the order of their names.
    pub(crate) fn own_subscriptions(&self, stream: &str) -> Vec<OwnSubscription> {
        let settings = &self.shared.settings;
        let consumers = self.names.values().filter_map(|slot| self.get(*slot));
        consumers.flat_map(|consumer| consumer.own_subscriptions(stream, settings)).collect()
    }
}
