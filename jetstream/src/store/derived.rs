//! What follows from the messages of a store, and takes time to find out.

/// What the owner of a store derived from its messages, and need not find again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derived {
    /// Sequence and moment of expiry of every message that expires by itself; `None` where that is not known.
    pub expiries: Option<Vec<(u64, i64)>>,
    /// No message before this sequence has an id that is remembered, with the window in which they are, in nanoseconds.
    pub ids_from: Option<(u64, i64)>,
}

/// What a start took over and its owner need not find out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// No message before this sequence has an id that is remembered.
    pub ids_from: Option<u64>,
    /// That is so only where they are remembered for as long as this, in nanoseconds.
    pub ids_window_ns: Option<i64>,
    /// No subject has more messages than this.
    pub most_per_subject: Option<u64>,
}
