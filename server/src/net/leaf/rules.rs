//! What may cross a leaf node connection.

use jetkv_protocol::connect::SubjectPermission;
use jetkv_protocol::subject;

/// What passes in one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gate {
    /// `None`: everything that is not denied.
    allow: Option<Vec<String>>,
    deny: Vec<String>,
}

impl Gate {
    pub(super) fn new(allow: Option<Vec<String>>, deny: Vec<String>) -> Self {
        Self { allow, deny }
    }

    /// As the other server says it in INFO; an empty list there allows everything.
    pub(super) fn told(permission: Option<&SubjectPermission>) -> Self {
        let Some(told) = permission else { return Self::default() };
        Self::new(Some(told.allow.clone()).filter(|allow| !allow.is_empty()), told.deny.clone())
    }

    /// For INFO.
    pub(super) fn to_tell(&self) -> Option<SubjectPermission> {
        let allow = self.allow.clone().unwrap_or_default();
        (!allow.is_empty() || !self.deny.is_empty())
            .then(|| SubjectPermission { allow, deny: self.deny.clone() })
    }

    /// Denies further subjects.
    pub(super) fn deny(&mut self, subjects: impl IntoIterator<Item = impl Into<String>>) {
        for subject in subjects.into_iter().map(Into::into) {
            if !self.deny.contains(&subject) {
                self.deny.push(subject);
            }
        }
    }

    /// Whether a message passes.
    pub(super) fn passes(&self, subject: &[u8]) -> bool {
        let covers = |patterns: &[String]| {
            patterns.iter().any(|pattern| subject::matches(subject, pattern.as_bytes()))
        };
        self.allow.as_deref().is_none_or(covers) && !covers(&self.deny)
    }

    /// Whether to listen to a subject makes sense: nothing of it may be allowed, or all of it denied.
    pub(super) fn passes_some(&self, pattern: &[u8]) -> bool {
        let covered = |wider: &String| subject::is_subset(pattern, wider.as_bytes());
        let overlaps = |other: &String| covered(other) || subject::is_subset(other.as_bytes(), pattern);
        self.allow.as_deref().is_none_or(|allow| allow.iter().any(overlaps)) && !self.deny.iter().any(covered)
    }
}

/// What passes a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// To the other server.
    pub outward: Gate,
    /// What this server asks the other one for.
    pub wanted: Gate,
    /// From the other server, where this one is the hub. What it does not let through closes the connection.
    pub inward: Gate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_as_a_whole_is_not_listened_to() {
        let mut gate = Gate::default();
        gate.deny(["$JS.API.>", "b"]);
        assert!(!gate.passes(b"$JS.API.INFO") && !gate.passes(b"b") && gate.passes(b"a"));
        assert!(!gate.passes_some(b"$JS.API.>") && !gate.passes_some(b"$JS.API.STREAM.*"));
        assert!(gate.passes_some(b">") && gate.passes_some(b"*"));
    }

    #[test]
    fn what_overlaps_with_what_is_allowed_is_listened_to() {
        let gate = Gate::new(Some(vec!["a.b".to_owned(), "c.*".to_owned()]), Vec::new());
        assert!(gate.passes(b"a.b") && gate.passes(b"c.d") && !gate.passes(b"a.c"));
        assert!(gate.passes_some(b"a.*") && gate.passes_some(b"c.d") && !gate.passes_some(b"d.>"));
        assert_eq!(Gate::told(gate.to_tell().as_ref()), gate);
        assert_eq!(Gate::default().to_tell(), None);
    }
}
