//! Consumers in backups of their stream.

use super::{Consumers, StreamCtx};
use crate::clock::Now;
use crate::config::ConsumerConfig;
use crate::config::consumer_rules as rules;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::store::ConsumerState;

impl Consumers {
    /// Names in order of those that belong into a backup.
    pub(crate) fn names_for_backup(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    /// A consumer's configuration, which names it, and state; `None` where there is none.
    pub(crate) fn export(&self, name: &str, now: &Now) -> Option<(ConsumerConfig, ConsumerState)> {
        let consumer = self.get(*self.names.get(name)?)?;
        let mut config = consumer.config.clone();
        name.clone_into(&mut config.name);
        Some((config, consumer.state(now)))
    }

    /// Adds a consumer from a backup to a set that is there to find out whether its stream can have all of them. Gives
    /// its configuration as it would be.
    ///
    /// # Errors
    /// What nats-server would say.
    pub(crate) fn rehearse(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        mut config: ConsumerConfig,
    ) -> Result<ConsumerConfig, ApiError> {
        rules::set_defaults(&mut config, ctx.config, &self.shared.settings, false)?;
        rules::check(&config, ctx.config, &self.shared.settings, ctx.known.filters.as_ref())?;
        let name = if config.is_durable() { &config.durable } else { &config.name };
        if self.contains(name) {
            return Err(errors::CONSUMER_ALREADY_EXISTS.error());
        }
        // A set without a place on the disk has nothing to write first.
        self.add_new(ctx, config.clone(), None)?;
        Ok(config)
    }
}
