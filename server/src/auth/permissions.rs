//! What a user may publish and subscribe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jetkv_protocol::subject;
use parking_lot::Mutex;

use super::replies::ReplyGrants;
use crate::options::{Permissions, ResponsePermission, SubjectPermission};

/// The permissions of a user, ready to be asked.
#[derive(Debug)]
pub(crate) struct UserPermissions {
    publish_allow: Option<Patterns>,
    publish_deny: Patterns,
    subscribe_allow: Option<Patterns>,
    subscribe_deny: Patterns,
    responses: Option<ResponsePermission>,
    configured: Permissions,
}

/// Subject patterns, each perhaps for one queue group only.
#[derive(Debug, Default)]
struct Patterns(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    subject: Box<[u8]>,
    /// Name or pattern of queue groups; empty for every subscription.
    queue: Box<[u8]>,
}

impl Patterns {
    fn new(configured: &[String]) -> Self {
        Self(configured.iter().filter_map(|text| Pattern::new(text)).collect())
    }

    /// A subject with an empty token is matched by none (nats-server v2.15.2).
    fn matching(&self, subject: &[u8]) -> impl Iterator<Item = &Pattern> {
        let is_whole = subject::tokens(subject).all(|token| !token.is_empty());
        self.0.iter().filter(move |pattern| is_whole && subject::matches(subject, &pattern.subject))
    }

    /// Whether `subject` is covered, for whatever queue group.
    fn covers(&self, subject: &[u8]) -> bool {
        self.matching(subject).next().is_some()
    }

    /// Whether a pattern without queue group covers `subject`, and whether one with a queue group that stands for
    /// `queue` does; `None` when no pattern with a queue group covers the subject at all.
    fn verdict(&self, subject: &[u8], queue: &[u8]) -> (bool, Option<bool>) {
        let (mut plain, mut queued) = (false, None);
        for pattern in self.matching(subject) {
            if pattern.queue.is_empty() {
                plain = true;
            } else if !queue.is_empty() {
                queued = Some(queued == Some(true) || pattern.stands_for(queue));
            }
        }
        (plain, queued)
    }
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (subject, queue) = (words.next()?, words.next().unwrap_or_default());
        Some(Self { subject: subject.as_bytes().into(), queue: queue.as_bytes().into() })
    }

    fn stands_for(&self, queue: &[u8]) -> bool {
        *self.queue == *queue
            || (subject::has_wildcard(&self.queue) && subject::is_subset(queue, &self.queue))
    }
}

impl UserPermissions {
    /// Makes permissions ready. A permission to answer without a list of subjects to publish allows nothing else
    /// to be published.
    pub(crate) fn new(configured: &Permissions) -> Self {
        let none = SubjectPermission::default();
        let publish = configured.publish.as_ref().unwrap_or(&none);
        let subscribe = configured.subscribe.as_ref().unwrap_or(&none);
        let publish_allow = match &publish.allow {
            Some(allow) => Some(Patterns::new(allow)),
            None => configured.responses.map(|_| Patterns::default()),
        };
        Self {
            publish_allow,
            publish_deny: Patterns::new(&publish.deny),
            // An empty list of allowed subscriptions allows all of them (nats-server v2.15.2).
            subscribe_allow: subscribe.allow.as_deref().filter(|list| !list.is_empty()).map(Patterns::new),
            subscribe_deny: Patterns::new(&subscribe.deny),
            responses: configured.responses,
            configured: configured.clone(),
        }
    }

    /// The same, with a further subject that is not to be published.
    pub(crate) fn denying(of: Option<&Self>, subject: &str) -> Self {
        let mut configured = of.map(|permissions| permissions.configured.clone()).unwrap_or_default();
        configured.publish.get_or_insert_default().deny.push(subject.to_owned());
        Self::new(&configured)
    }

    /// As configured.
    pub(crate) fn configured(&self) -> &Permissions {
        &self.configured
    }

    /// Whether `subject` may be published, answers aside.
    pub(crate) fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish_allow.as_ref().is_none_or(|allow| allow.covers(subject))
            && !self.publish_deny.covers(subject)
    }

    /// Whether `subject` may be subscribed to; `queue` is empty for none. A subject with wildcards has to be
    /// covered as a whole.
    pub(crate) fn may_subscribe(&self, subject: &[u8], queue: &[u8]) -> bool {
        let allowed = self.subscribe_allow.as_ref().is_none_or(|allow| {
            let (plain, queued) = allow.verdict(subject, queue);
            queued.unwrap_or(plain)
        });
        let (denied, queue_denied) = self.subscribe_deny.verdict(subject, queue);
        allowed && !denied && queue_denied != Some(true)
    }

    /// Whether messages of a subscription have to be checked one by one, because it is wider than what is denied.
    fn overlaps_denied(&self, subject: &[u8], queue: &[u8]) -> bool {
        (!queue.is_empty() || subject::has_wildcard(subject))
            && self.subscribe_deny.0.iter().any(|denied| subject::collide(&denied.subject, subject))
    }
}

/// What has to be looked at when a message is delivered to a connection whose user has permissions.
#[derive(Debug)]
pub(crate) struct DeliveryRules {
    permissions: Arc<UserPermissions>,
    /// Some subscription is wider than what is denied.
    filters: AtomicBool,
    replies: Option<Mutex<ReplyGrants>>,
}

impl DeliveryRules {
    pub(crate) fn new(permissions: Arc<UserPermissions>) -> Self {
        let replies = permissions.responses.map(|responses| Mutex::new(ReplyGrants::new(responses)));
        Self { permissions, filters: AtomicBool::new(false), replies }
    }

    /// The permissions.
    pub(crate) fn permissions(&self) -> &UserPermissions {
        &self.permissions
    }

    /// Whether `subject` may be published; uses up one of the answers that a request allowed.
    pub(crate) fn may_publish(&self, subject: &[u8]) -> bool {
        self.permissions.may_publish(subject)
            || self.replies.as_ref().is_some_and(|replies| replies.lock().take(subject))
    }

    /// Whether a subscription is allowed.
    pub(crate) fn may_subscribe(&self, subject: &[u8], queue: &[u8]) -> bool {
        if !self.permissions.may_subscribe(subject, queue) {
            return false;
        }
        if self.permissions.overlaps_denied(subject, queue) {
            self.filters.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Whether a message must not be delivered.
    pub(crate) fn denies(&self, subject: &[u8], queue: &[u8]) -> bool {
        if !self.filters.load(Ordering::Relaxed) {
            return false;
        }
        let (denied, queue_denied) = self.permissions.subscribe_deny.verdict(subject, queue);
        denied || queue_denied == Some(true)
    }

    /// A message with a reply subject was delivered: the answer may be published.
    pub(crate) fn expect_reply(&self, reply: &[u8]) {
        if let Some(replies) = &self.replies
            && !self.permissions.may_publish(reply)
        {
            replies.lock().grant(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allow: Option<&[&str]>, deny: &[&str]) -> Option<SubjectPermission> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Some(SubjectPermission { allow: allow.map(owned), deny: owned(deny) })
    }

    fn subscribing(allow: Option<&[&str]>, deny: &[&str]) -> UserPermissions {
        UserPermissions::new(&Permissions { subscribe: list(allow, deny), ..Permissions::default() })
    }

    #[test]
    fn queue_permissions_hold_for_their_queue_groups_only() {
        let permissions = subscribing(Some(&["foo v1", "foo v2.>", "bar"]), &["bar secret"]);
        for (subject, queue, allowed) in [
            ("foo", "", false),
            ("foo", "v1", true),
            ("foo", "v2.a", true),
            ("foo", "v3", false),
            ("bar", "", true),
            ("bar", "any", true),
            ("bar", "secret", false),
        ] {
            assert_eq!(
                permissions.may_subscribe(subject.as_bytes(), queue.as_bytes()),
                allowed,
                "{subject} {queue}"
            );
        }
    }

    #[test]
    fn a_denied_subject_under_an_allowed_wildcard_is_filtered_on_delivery() {
        let rules = DeliveryRules::new(Arc::new(subscribing(Some(&["x.*"]), &["x.no"])));
        assert!(!rules.may_subscribe(b"x.no", b""));
        assert!(rules.may_subscribe(b"x.yes", b"") && !rules.denies(b"x.no", b""));
        assert!(rules.may_subscribe(b"x.*", b""));
        assert!(rules.denies(b"x.no", b"") && !rules.denies(b"x.yes", b""));
    }

    #[test]
    fn permission_to_answer_alone_allows_answers_only() {
        let permissions = UserPermissions::new(&Permissions {
            responses: Some(ResponsePermission { max_messages: 1, expires_ns: -1 }),
            ..Permissions::default()
        });
        let rules = DeliveryRules::new(Arc::new(permissions));
        assert!(!rules.may_publish(b"foo") && !rules.may_publish(b"inbox"));
        rules.expect_reply(b"inbox");
        assert!(rules.may_publish(b"inbox") && !rules.may_publish(b"inbox"));
    }

    #[test]
    fn an_empty_publish_list_allows_nothing_and_a_missing_one_everything() {
        let publishing = |publish| UserPermissions::new(&Permissions { publish, ..Permissions::default() });
        assert!(!publishing(list(Some(&[]), &[])).may_publish(b"foo"));
        assert!(publishing(list(None, &["bar"])).may_publish(b"foo"));
        assert!(!publishing(list(None, &["bar"])).may_publish(b"bar"));
    }
}
