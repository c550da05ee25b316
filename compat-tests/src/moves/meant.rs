//! What differs on purpose between JetKV and nats-server, and what nats-server leaves to chance.

use std::cell::Cell;

use regex_lite::Regex;

use crate::Result;

/// What only one of the two shows, as regular expressions of whole lines, each with the reason. `-` is nats-server, `+` is
/// JetKV. One that is not seen any more fails the test: the list may only shrink.
const MEANT: &[(&str, &str)] = &[
    (
        r"- .*subscriptions_list\[\w+ (\$(SYS|JS)\.[^\]]*|serve)\]\.sid moved, a text",
        "a reload makes the server's own subscriptions anew there, with new numbers; here they stay",
    ),
    (
        r"- .*subscriptions_list\[\w+ \$(SYS|JS)\.[^\]]*\]\.msgs moved, a number",
        "their counts begin anew with them",
    ),
    (
        r"- (/debug/vars\.body|\$SYS\.REQ\.SERVER\.PING\.EXPVARZ\.data)\.memstats is a text",
        "the numbers of Go's memory",
    ),
    (
        r"[-+] \$SYS\.REQ\.SERVER\.PING\.IPQUEUESZ\.data( is an empty object|\.System recvQ\.\w+ is a number)",
        "here no queue stands between a request and its answer, so none is seen",
    ),
    (
        r"- \$SYS\.REQ\.SERVER\.PING\.STATSZ\.statsz\.active_accounts moved, a number",
        "there a client that is refused for its account's limit takes the account off the count, although others are in it",
    ),
];

/// What is luck on nats-server, on either side; seen when it is compared with itself.
const LUCK: &[(&str, &str)] = &[(
    r"\$JS\.EVENT\.ADVISORY\.(STREAM\.DELETED\.S|CONSUMER\.DELETED\.S\.[^OP:]): .*",
    "what a stream that is deleted has to tell waits in its own queue, which ends with it, sometimes before that is sent",
)];

/// The list, with what was seen of it.
pub struct Meant {
    meant: Vec<(&'static str, Regex, Cell<bool>)>,
    luck: Vec<Regex>,
}

impl Meant {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// When an entry is no regular expression.
    pub fn new() -> Result<Self> {
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$"));
        let mut meant = Vec::new();
        for (pattern, _) in MEANT {
            meant.push((*pattern, whole(pattern)?, Cell::new(false)));
        }
        let luck = LUCK.iter().map(|(pattern, _)| whole(pattern)).collect::<std::result::Result<_, _>>()?;
        Ok(Self { meant, luck })
    }

    /// Whether a difference is on the list.
    pub fn covers(&self, line: &str) -> bool {
        let found = self.meant.iter().find(|(_, regex, _)| regex.is_match(line));
        if let Some((_, _, is_seen)) = found {
            is_seen.set(true);
        }
        found.is_some() || self.luck.iter().any(|regex| regex.is_match(line.get(2..).unwrap_or_default()))
    }

    /// What was not seen.
    pub fn unseen(&self) -> Vec<&'static str> {
        self.meant.iter().filter(|(_, _, is_seen)| !is_seen.get()).map(|(pattern, _, _)| *pattern).collect()
    }
}
