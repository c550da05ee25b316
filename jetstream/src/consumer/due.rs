//! Which consumer has something to do next.

use super::set::Consumers;
use super::timers::Kind;
use crate::clock::{Deadline, Now};
use crate::due::{DueKind, left_ns, sooner};

impl Consumers {
    /// What happens next to a consumer, with its name and how long it is until then.
    pub(crate) fn next_due(&self, now: &Now) -> Option<(u64, (DueKind, Option<&str>))> {
        let timers = &self.shared.timers;
        let due = timers.upcoming().find_map(|(at, slot, kind)| {
            let consumer = self.get(slot)?;
            let kind = match kind {
                Kind::AckWait if consumer.config.backoff_ns.is_empty() => DueKind::AckWait,
                Kind::AckWait => DueKind::Backoff,
                Kind::Inactive => DueKind::Inactive,
                Kind::Heartbeat => DueKind::Heartbeat,
                Kind::Requests => DueKind::Request,
                Kind::Resume => DueKind::Replay,
                Kind::Pin => DueKind::Pin,
                Kind::Unpause => DueKind::Pause,
                // Nothing that a client sees.
                Kind::Save => return None,
            };
            Some((left_ns(Deadline::Elapsed(at), now), (kind, Some(&*consumer.name))))
        });
        let unpause = timers.next_unpause().and_then(|(at, slot)| {
            let left = left_ns(Deadline::Wall(at), now);
            Some((left, (DueKind::Pause, Some(&*self.get(slot)?.name))))
        });
        sooner(due, unpause)
    }
}
