//! Whether a stream takes a consumer beside those that it has.

use super::Consumers;
use super::trie::Slot;
use crate::config::consumer_rules::account_limits;
use crate::config::{AckPolicy, ConsumerConfig, DeliverPolicy, Retention, StreamConfig};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use jetkv_protocol::pattern_set::PatternSet;
use jetkv_protocol::subject;

impl Consumers {
    pub(super) fn check_room(&self, stream: &StreamConfig, config: &ConsumerConfig) -> Result<(), ApiError> {
        if config.direct || config.sourcing {
            return Ok(());
        }
        let settings = &self.shared.settings;
        let account_max = account_limits(settings)?.max_consumers;
        let mut max = stream.max_consumers;
        if max <= 0 || (account_max > 0 && account_max < max) {
            max = account_max;
        }
        if max <= 0 {
            max = settings.server.load().max_consumers_per_stream;
        }
        let have = i64::try_from(self.limited_len()).unwrap_or(i64::MAX);
        if max > 0 && have >= max {
            return Err(errors::MAXIMUM_CONSUMERS_LIMIT.error());
        }
        Ok(())
    }

    pub(super) fn check_workqueue(
        &self,
        stream: &StreamConfig,
        config: &ConsumerConfig,
    ) -> Result<(), ApiError> {
        if stream.retention != Retention::WorkQueue || config.direct || config.sourcing {
            return Ok(());
        }
        if !matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl) {
            return Err(errors::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK.error());
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(errors::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL.error());
        }
        if self.limited_len() > 0 {
            if config.filters().next().is_none() {
                return Err(errors::CONSUMER_WQ_MULTIPLE_UNFILTERED.error());
            }
            self.check_partition(config, None)?;
        }
        Ok(())
    }

    /// Refuses filters that meet those of another consumer: a message of a workqueue has one taker.
    pub(super) fn check_partition(
        &self,
        config: &ConsumerConfig,
        except: Option<Slot>,
    ) -> Result<(), ApiError> {
        let others =
            self.table.iter().flatten().filter(|other| Some(other.slot) != except && !other.is_unlimited());
        let ours = PatternSet::new(config.filters().map(str::as_bytes));
        for other in others {
            let meets = |held: &str| {
                ours.may_meet(held.as_bytes(), None)
                    && config.filters().any(|filter| subject::collide(filter.as_bytes(), held.as_bytes()))
            };
            let unfiltered = other.config.filters().next().is_none();
            let meets =
                (unfiltered && config.filters().next().is_some()) || other.config.filters().any(meets);
            if meets {
                return Err(errors::CONSUMER_WQ_CONSUMER_NOT_UNIQUE.error());
            }
        }
        Ok(())
    }
}
