//! Which subjects of a stream an operation is about.

/// A set of subject patterns; a message is meant when its subject matches one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every subject.
    #[default]
    All,
    /// One subject without wildcards.
    Literal(Box<[u8]>),
    /// One or more patterns; each may hold `*` and `>`.
    Patterns(Box<[Box<[u8]>]>),
}

impl Filter {
    /// Builds the cheapest filter for `patterns`; no pattern, or `>` among them, means every subject.
    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let patterns: Box<[Box<[u8]>]> = patterns.into_iter().map(|p| p.as_ref().into()).collect();
        if patterns.is_empty() || patterns.iter().any(|pattern| &**pattern == b">") {
            return Self::All;
        }
        match &*patterns {
            [one] if !has_wildcard(one) => Self::Literal(one.clone()),
            _ => Self::Patterns(patterns),
        }
    }

    /// Whether a literal `subject` is meant.
    #[must_use]
    pub fn matches(&self, subject: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Literal(literal) => &**literal == subject,
            Self::Patterns(patterns) => patterns.iter().any(|pattern| matches(subject, pattern)),
        }
    }
}

fn has_wildcard(pattern: &[u8]) -> bool {
    pattern.split(|byte| *byte == b'.').any(|token| token == b"*" || token == b">")
}

fn matches(subject: &[u8], pattern: &[u8]) -> bool {
    let mut tokens = subject.split(|byte| *byte == b'.');
    let mut wanted = pattern.split(|byte| *byte == b'.');
    loop {
        match (tokens.next(), wanted.next()) {
            (Some(_), Some(b">")) => return true,
            (Some(_), Some(b"*")) => {}
            (Some(token), Some(want)) if token == want => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}
