//! Permission to answer: reply subjects that a connection received and may therefore publish to for a while.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::options::{ResponsePermission, defaults};

/// Reply subjects after which expired ones are looked for.
const PRUNE_AFTER: usize = 4096;
/// Time after which expired ones are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// The reply subjects that a connection may publish to.
#[derive(Debug)]
pub(super) struct ReplyGrants {
    /// Replies to one request; `None` for any number.
    max: Option<u64>,
    /// Time after which a reply is too late; `None` for never.
    expires: Option<Duration>,
    grants: HashMap<Box<[u8]>, Grant>,
    since_prune: usize,
    pruned_at: Instant,
}

#[derive(Debug)]
struct Grant {
    since: Instant,
    used: u64,
}

impl ReplyGrants {
    pub(super) fn new(permission: ResponsePermission) -> Self {
        let max = match permission.max_messages {
            0 => Some(defaults::ALLOW_RESPONSES_MAX.unsigned_abs()),
            max => u64::try_from(max).ok(),
        };
        let expires = match permission.expires_ns {
            0 => Some(defaults::ALLOW_RESPONSES_EXPIRES),
            ns => u64::try_from(ns).ok().map(Duration::from_nanos),
        };
        Self { max, expires, grants: HashMap::new(), since_prune: 0, pruned_at: Instant::now() }
    }

    /// A request with this reply subject was delivered. Where an answer to it is allowed already, as when it arrives on a
    /// second subscription, that uses one answer up and allows no more (nats-server v2.15.2, observed).
    pub(super) fn grant(&mut self, reply: &[u8]) {
        if self.take(reply) {
            return;
        }
        let now = Instant::now();
        self.grants.insert(reply.into(), Grant { since: now, used: 0 });
        self.since_prune += 1;
        if self.since_prune > PRUNE_AFTER || now.duration_since(self.pruned_at) > PRUNE_EVERY {
            self.prune(now);
        }
    }

    /// Uses one reply of what was granted for `subject`.
    pub(super) fn take(&mut self, subject: &[u8]) -> bool {
        let Some(grant) = self.grants.get_mut(subject) else { return false };
        grant.used += 1;
        let spent = self.max.is_some_and(|max| grant.used > max);
        let late = self.expires.is_some_and(|expires| grant.since.elapsed() > expires);
        if spent || late {
            self.grants.remove(subject);
            return false;
        }
        true
    }

    fn prune(&mut self, now: Instant) {
        let (max, expires) = (self.max, self.expires);
        self.grants.retain(|_, grant| {
            max.is_none_or(|max| grant.used < max)
                && expires.is_none_or(|expires| now.duration_since(grant.since) <= expires)
        });
        self.since_prune = 0;
        self.pruned_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_allows_as_many_replies_as_configured() {
        let mut grants = ReplyGrants::new(ResponsePermission { max_messages: 2, expires_ns: -1 });
        assert!(!grants.take(b"inbox"));
        grants.grant(b"inbox");
        assert!(grants.take(b"inbox") && grants.take(b"inbox"));
        assert!(!grants.take(b"inbox") && !grants.take(b"inbox"));
    }

    #[test]
    fn a_request_that_arrives_twice_uses_an_answer_up() {
        for (max, answers) in [(1, 0), (2, 1), (3, 2)] {
            let mut grants = ReplyGrants::new(ResponsePermission { max_messages: max, expires_ns: -1 });
            grants.grant(b"inbox");
            grants.grant(b"inbox");
            assert_eq!((0..5).take_while(|_| grants.take(b"inbox")).count(), answers, "of {max}");
        }
    }

    #[test]
    fn a_reply_that_comes_too_late_is_refused() {
        let mut grants = ReplyGrants::new(ResponsePermission { max_messages: -1, expires_ns: 1 });
        grants.grant(b"inbox");
        while grants.grants.get(&b"inbox"[..]).is_some_and(|grant| grant.since.elapsed().as_nanos() < 2) {}
        assert!(!grants.take(b"inbox"));
    }
}
