//! What a publisher may ask of schedules, in nats-server's order of checks.

use super::pattern::{Unsound, next};
use super::{PURGE, ROLLUP, SCHEDULE, SOURCE, TARGET, TTL};
use crate::clock::WallNs;
use crate::error::catalogue as errors;
use crate::headers::{add_header, header};
use crate::stream::Inner;
use crate::stream::write::{PublishHeaders, Refusal};
use crate::ttl::parse_ttl;
use jetkv_protocol::subject::{collide, is_valid_publish};

impl Inner {
    /// Checks the headers of schedules. A schedule replaces the one before under its subject: gives the block with the
    /// header for that where it is to be added. `is_schedule` says whether a subject is known to be one, or not.
    pub(in crate::stream) fn check_schedule(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
        block: &[u8],
        is_schedule: impl Fn(&[u8]) -> Option<bool>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let mut with_rollup = None;
        if !headers.schedule.is_empty() || headers.schedule_time_zone.is_some() {
            with_rollup = self.check_scheduled(subject, headers, block)?;
        }
        let (next, scheduler) = (headers.schedule_next, headers.scheduler);
        if next.is_empty() && scheduler.is_empty() {
            return Ok(with_rollup);
        }
        // Publishers only end a schedule with these.
        let sound = next == PURGE && scheduler != subject && is_valid_publish(scheduler);
        if !sound {
            return Err(errors::MESSAGE_SCHEDULES_SCHEDULER_INVALID.into());
        }
        if !self.config.allow_msg_schedules {
            return Err(errors::MESSAGE_SCHEDULES_DISABLED.into());
        }
        let ends_one = match is_schedule(scheduler) {
            Some(is_schedule) => is_schedule,
            None => self.holds_schedule_or_nothing(scheduler),
        };
        if !ends_one {
            return Err(errors::MESSAGE_SCHEDULES_SCHEDULER_INVALID.into());
        }
        Ok(with_rollup)
    }

    fn holds_schedule_or_nothing(&mut self, subject: &[u8]) -> bool {
        let Some(last) = self.store.index().get(subject).map(|entry| entry.last_seq) else { return true };
        match self.store.load(last) {
            Ok(Some(msg)) => header(msg.headers, SCHEDULE).is_some_and(|pattern| !pattern.is_empty()),
            _ => true,
        }
    }

    fn check_scheduled(
        &mut self,
        subject: &[u8],
        headers: &PublishHeaders<'_>,
        block: &[u8],
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let now: WallNs = self.now.wall();
        let due = next(headers.schedule, headers.schedule_time_zone, now, now);
        if matches!(due, Ok(None)) {
            return Ok(None);
        }
        if !self.config.allow_msg_schedules {
            return Err(errors::MESSAGE_SCHEDULES_DISABLED.into());
        }
        match due {
            Err(Unsound::Zone) => return Err(errors::MESSAGE_SCHEDULES_TIME_ZONE_INVALID.into()),
            Err(Unsound::Pattern) => return Err(errors::MESSAGE_SCHEDULES_PATTERN_INVALID.into()),
            Ok(_) => {}
        }
        let value = |key| header(block, key).unwrap_or_default();
        let (ttl, rollup, target, source) = (value(TTL), value(ROLLUP), value(TARGET), value(SOURCE));
        if parse_ttl(ttl).is_none() {
            return Err(errors::MESSAGE_SCHEDULES_TTL_INVALID.into());
        }
        if !rollup.is_empty() && rollup != b"sub" {
            return Err(errors::MESSAGE_SCHEDULES_ROLLUP_INVALID.into());
        }
        if !ttl.is_empty() && !self.config.allow_msg_ttl {
            return Err(errors::MESSAGE_TTL_DISABLED.into());
        }
        let captured = |of: &[u8]| self.config.subjects.iter().any(|mine| collide(mine.as_bytes(), of));
        if !is_valid_publish(target) || target == subject {
            return Err(errors::MESSAGE_SCHEDULES_TARGET_INVALID.into());
        }
        let bad_source = source == target || source == subject || !is_valid_publish(source);
        if !source.is_empty() && bad_source {
            return Err(errors::MESSAGE_SCHEDULES_SOURCE_INVALID.into());
        }
        if !captured(target) {
            return Err(errors::MESSAGE_SCHEDULES_TARGET_INVALID.into());
        }
        if !source.is_empty() && !captured(source) {
            return Err(errors::MESSAGE_SCHEDULES_SOURCE_INVALID.into());
        }
        match headers.rollup {
            b"" => Ok(Some(add_header(block, b"Nats-Rollup", b"sub"))),
            rollup if rollup.eq_ignore_ascii_case(b"sub") => Ok(None),
            _ => Err(errors::MESSAGE_SCHEDULES_ROLLUP_INVALID.into()),
        }
    }
}
