//! What the lexer makes of a configuration text.

/// One item of a configuration text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: ItemKind,
    pub(super) text: String,
    pub(super) place: Place,
}

/// Where something stands in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Bytes from the last line feed; so it counts from 0 in the first line and from 1 in all others.
    pub(crate) column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// The text is wrong here; nothing follows.
    Error,
    /// Nothing follows.
    End,
    Key,
    String,
    Bool,
    Integer,
    Float,
    Datetime,
    ArrayStart,
    ArrayEnd,
    MapStart,
    MapEnd,
    /// `$NAME` where a value stands; the text is `NAME`.
    Variable,
    /// `include NAME` where a key stands; the text is the file's name.
    Include,
}

/// Where the lines of a text begin, to turn offsets into places.
pub(super) struct Lines {
    /// Offset of every line feed.
    feeds: Vec<usize>,
}

impl Lines {
    pub(super) fn new(input: &str) -> Self {
        Self { feeds: memchr::memchr_iter(b'\n', input.as_bytes()).collect() }
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let feeds_before = self.feeds.partition_point(|feed| *feed < offset);
        let line_start = feeds_before.checked_sub(1).and_then(|last| self.feeds.get(last)).copied();
        Place { line: feeds_before + 1, column: offset - line_start.unwrap_or(0) }
    }
}
