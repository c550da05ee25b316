//! Replaces what may differ between two servers by a name for it: times near now, random ids, ports, folders.
//!
//! A value is replaced only when it has the right shape, so a time in a wrong format or an id of a wrong length shows
//! up as a difference. Times that a scenario chose itself (far from now) are compared as they are.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use regex_lite::{Captures, Regex};
use serde_json::Value;

/// Numbers that depend on the machine, the moment, or how often a wait asked.
const VOLATILE_NUMBERS: &[&str] = &[
    "avg_fanout",
    "cache_hit_rate",
    "cid",
    "client_id",
    "cores",
    "cpu",
    "gomaxprocs",
    "gomemlimit",
    "max_fanout",
    "mem",
    "num_cache",
    "num_inserts",
    "num_matches",
    "num_removes",
    "pause_remaining",
    "pid",
];
/// Texts that depend on the machine or the build, of which only the form is compared.
const VOLATILE_TEXTS: &[&str] = &["go", "git_commit", "idle", "rtt", "uptime", "exec"];
/// The field of the API that holds a message's headers.
const HEADERS: &str = "hdrs";
/// Counters of API requests: waits ask as often as they must.
const API_COUNTERS: &[&str] = &[".api.total", ".api.errors"];
/// How many of them are under way: only there while some are, which is over at some time after the answer.
const API_UNDER_WAY: &str = ".api.inflight";
/// Limits that nats-server takes from the machine's memory and disk; smaller ones than any machine's are a scenario's own.
const MACHINE_LIMITS: &[&str] = &["max_memory", "max_storage", "max_mem", "max_file"];
const MACHINE_LIMIT_MIN: u64 = 32 << 20;
/// What a mask has in it that takes any text.
const ANY_TEXT: &[&str] = &[".*", r"\S*", r"\S+", "[^"];
/// The group of a mask that is hidden, instead of all that the mask matches.
const RANDOM: &str = "random";
/// A time within this distance of now is taken for the server's own.
const NEAR: SignedDuration = SignedDuration::from_hours(24);

static RFC3339: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)").ok());
static CLI_TIME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d(\.\d+)?( [+-]\d{4} [A-Z]+)?").ok());
static NKEY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b[NUACOXS][A-Z2-7]{55}\b").ok());
static NUID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b[0-9A-Za-z]{22}\b").ok());
static PORT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(\d+\.\d+\.\d+\.\d+|localhost|\[::\]):\d{4,5}\b").ok());
static CID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b(cid|jsid|aid):\d+").ok());
static ACK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$JS\.ACK\.[^\s,]+").ok());
static FLOW: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(\$JS\.FC\.[^\s.]+\.[^\s.]+\.)\w+").ok());
static INBOX: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b_INBOX\.(\w+)\.\d+").ok());
static LOG_HEAD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} ").ok());
/// Where it has no time (`logtime: false`).
static LOG_HEAD_WITHOUT_TIME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)^\[\d+\] \[").ok());
static ELAPSED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b\d+(\.\d+)?(ns|µs|ms)\b|\b\d+\.\d+s\b").ok());
static CLOCK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^\[\d\d:\d\d:\d\d\]|^\d\d:\d\d:\d\d\b").ok());
static CLI_INBOX: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"_INBOX\.[0-9A-Za-z]{22}\.[0-9A-Za-z]{8}\b").ok());
/// What tells a stream from later ones of its name stands at the end of what a message says of its origin.
static STREAM_IDENTITY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let source = r"Nats-Stream-Source: \S+ \d+ \S+ \S+ \S+ ";
    let regex =
        format!(r"({source}|Nats-Stream-Identity: |stream identity does not match: )[0-9A-Za-z]{{8}}\b");
    Regex::new(&regex).ok()
});
static PADDING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r" *│ *| {2,}|─+").ok());

/// The replacements of one case on one server.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    literals: Vec<(String, String)>,
    masks: Vec<Regex>,
    ports: Vec<u64>,
    ignored: Vec<String>,
    sorted: Vec<String>,
}

impl Normaliser {
    /// With the paths of a scenario's fields of which only the form is compared, paths of arrays without an order, and masks.
    ///
    /// # Errors
    /// When a mask is not a regular expression.
    pub fn new(ignored: &[String], sorted: &[String], masks: &[String]) -> crate::Result<Self> {
        let masks = masks.iter().map(|mask| Regex::new(mask)).collect::<Result<_, _>>()?;
        Ok(Self { masks, ignored: ignored.to_vec(), sorted: sorted.to_vec(), ..Self::default() })
    }

    /// Replaces `value` by `<name>` from now on.
    pub fn name_literal(&mut self, value: &str, name: &str) {
        if !value.is_empty() && !self.literals.iter().any(|(known, _)| known == value) {
            self.literals.push((value.to_string(), format!("<{name}>")));
        }
    }

    /// Declares a number to be a listener's port.
    pub fn name_port(&mut self, port: u16) {
        self.ports.push(u64::from(port));
    }

    /// Whether what programs write to this channel (`out`, `err`) is not compared.
    pub fn hides_channel(&self, channel: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored.strip_prefix("std") == Some(channel))
    }

    /// A text with everything variable replaced.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (value, name) in &self.literals {
            text = text.replace(value.as_str(), name);
        }
        text = replace(&ACK, &text, |found| ack_subject(&found[0]));
        text = replace(&RFC3339, &text, |found| near_time(&found[0], "T"));
        text = replace(&CLI_TIME, &text, |found| near_time(&found[0], " "));
        text = replace(&PORT, &text, |found| format!("{}:<port>", &found[1]));
        text = replace(&NKEY, &text, |_| "<nkey>".to_string());
        text = replace(&NUID, &text, |found| nuid(&found[0]));
        text = replace(&FLOW, &text, |found| format!("{}<random>", &found[1]));
        text = replace(&INBOX, &text, |found| format!("_INBOX.{}.<n>", &found[1]));
        text = replace(&CID, &text, |found| format!("{}:<n>", &found[1]));
        text = replace(&STREAM_IDENTITY, &text, |found| format!("{}<identity>", &found[1]));
        for mask in &self.masks {
            text = mask.replace_all(&text, |found: &Captures<'_>| without_random(mask, found)).into_owned();
        }
        text
    }

    /// A log line or a whole log without process id and time.
    pub fn log(&self, text: &str) -> String {
        let text = replace(&LOG_HEAD, text, |_| String::new());
        let text = replace(&LOG_HEAD_WITHOUT_TIME, &text, |_| "[<pid>] [".to_string());
        let text = replace(&ELAPSED, &text, |_| "<elapsed>".to_string());
        self.text(&text)
    }

    /// What the CLI printed: times of the day and elapsed ones are replaced too, and with them the padding that follows
    /// their width. Its listings of differences choose at random between blanks that break and that do not.
    pub fn cli(&self, text: &str) -> Vec<String> {
        let text = replace(&CLOCK, &text.replace('\u{a0}', " "), |_| "<clock>".to_string());
        let text = replace(&CLI_INBOX, &text, |_| "<inbox>".to_string());
        let text = replace(&ELAPSED, &text, |_| "<elapsed>".to_string());
        let text = replace(&PADDING, &self.text(&text), |found| {
            let column = ["│", "─"].into_iter().find(|line| found[0].contains(line));
            column.unwrap_or("  ").to_string()
        });
        text.lines().map(|line| line.trim_end().to_string()).collect()
    }

    /// A JSON value as one line a field: `.config.name = "X"`, sorted by path.
    pub fn json(&self, value: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        self.flatten("", value, &mut lines);
        lines
    }

    fn flatten(&self, path: &str, value: &Value, lines: &mut Vec<String>) {
        match value {
            _ if path.ends_with(API_UNDER_WAY) => {}
            _ if is_among(path, &self.ignored) => lines.push(format!("{path} = {}", form(value))),
            Value::Object(fields) if !fields.is_empty() => {
                let mut names: Vec<&String> =
                    fields.keys().filter(|name| !name.starts_with("jetkv")).collect();
                names.sort();
                for name in names {
                    if let Some(field) = fields.get(name) {
                        self.flatten(&format!("{path}.{}", self.text(name)), field, lines);
                    }
                }
            }
            Value::Array(items) if !items.is_empty() && is_among(path, &self.sorted) => {
                let mut parts: Vec<Vec<String>> = Vec::new();
                for item in items {
                    let mut part = Vec::new();
                    self.flatten(&format!("{path}[]"), item, &mut part);
                    parts.push(part);
                }
                parts.sort();
                lines.extend(parts.into_iter().flatten());
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.flatten(&format!("{path}[{index}]"), item, lines);
                }
            }
            leaf => {
                let shown = if path.is_empty() { "." } else { path };
                lines.push(format!("{shown} = {}", self.leaf(path, leaf)));
            }
        }
    }

    fn leaf(&self, path: &str, value: &Value) -> String {
        let key = path.rsplit('.').next().unwrap_or_default();
        let key = key.split('[').next().unwrap_or_default();
        match value {
            Value::Number(number) => {
                let integer = number.as_u64().unwrap_or_default();
                let is_counter = API_COUNTERS.iter().any(|counter| path.ends_with(counter));
                if VOLATILE_NUMBERS.contains(&key) || is_counter {
                    "<number>".to_string()
                } else if MACHINE_LIMITS.contains(&key) && integer > MACHINE_LIMIT_MIN {
                    "<machine limit>".to_string()
                } else if integer > 1023 && self.ports.contains(&integer) {
                    "<port>".to_string()
                } else {
                    number.to_string()
                }
            }
            Value::String(text) if key == "go" && is_go_version(text) => "<go version>".to_string(),
            Value::String(_) if VOLATILE_TEXTS.contains(&key) => form(value).to_string(),
            Value::String(text) if key == HEADERS => self.headers(text),
            Value::String(text) => Value::String(self.text(text)).to_string(),
            other => other.to_string(),
        }
    }

    /// The headers of a stored message, which the API gives in Base64, as what they say.
    fn headers(&self, text: &str) -> String {
        match BASE64.decode(text) {
            Ok(bytes) => format!("headers \"{}\"", self.text(&super::template::encode(&bytes))),
            Err(_) => Value::String(text.to_owned()).to_string(),
        }
    }

    /// Payload bytes: JSON objects field by field, all else as escaped text.
    pub fn payload(&self, bytes: &[u8]) -> Vec<String> {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(value @ Value::Object(_)) => self.json(&value),
            _ => vec![format!("\"{}\"", self.text(&super::template::encode(bytes)))],
        }
    }
}

fn replace(regex: &LazyLock<Option<Regex>>, text: &str, with: impl Fn(&Captures<'_>) -> String) -> String {
    match regex.as_ref() {
        Some(regex) => regex.replace_all(text, |found: &Captures<'_>| with(found)).into_owned(),
        None => text.to_string(),
    }
}

/// What a mask leaves of a text that it matched: all but its group `random`, where it has one.
fn without_random(mask: &Regex, found: &Captures<'_>) -> String {
    let whole = &found[0];
    let Some(random) = found.name(RANDOM) else { return masked(mask, whole) };
    let begin = found.get(0).map_or(0, |whole| whole.start());
    let (before, after) = (whole.get(..random.start() - begin), whole.get(random.end() - begin..));
    format!("{}<masked>{}", before.unwrap_or_default(), after.unwrap_or_default())
}

/// What takes the place of a text that a mask matched: where the mask takes any text, the form of this one, that is what is
/// left when numbers with their units, and ids, have names instead. A mask that says itself what it takes needs no more, and
/// one with `[\s\S]*` leaves out even the form.
fn masked(mask: &Regex, text: &str) -> String {
    static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"\d[\d.,:/-]*( ?([KMGTP]i?B|B|ns|µs|us|ms|[smhd])\b)?([\d.]+(µs|ms|[smh])\b)*").ok()
    });
    static ID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[0-9A-Za-z+/=_-]{16,}").ok());
    if !ANY_TEXT.iter().any(|any| mask.as_str().contains(any)) {
        return "<masked>".to_string();
    }
    let text = text.replace("<elapsed>", "<number>");
    let text = replace(&ID, &text, |_| "<id>".to_string());
    let text = replace(&NUMBER, &text, |_| "<number>".to_string());
    format!("<masked {}>", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn is_among(path: &str, paths: &[String]) -> bool {
    let path = without_indexes(path);
    paths.iter().any(|known| path.ends_with(known.as_str()))
}

/// What a value that is not compared must have in common with the other server's: its type, and of a text the format.
fn form(value: &Value) -> &'static str {
    static DURATION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(\d+y)?(\d+d)?(\d+(\.\d+)?(h|m|s|ms|µs|ns))*$").ok());
    let is = |text: &str, regex: &LazyLock<Option<Regex>>| {
        let found = regex.as_ref().and_then(|regex| regex.find(text));
        found.is_some_and(|found| found.as_str() == text)
    };
    match value {
        Value::Null => "<null>",
        Value::Bool(_) => "<bool>",
        Value::Number(_) => "<number>",
        Value::Array(_) => "<array>",
        Value::Object(_) => "<object>",
        Value::String(text) if text.is_empty() => "\"\"",
        Value::String(text) if is(text, &RFC3339) => "<time>",
        Value::String(text) if is(text, &DURATION) => "<duration>",
        Value::String(text) if is(text, &NKEY) => "<nkey>",
        Value::String(text) if is(text, &NUID) => "<nuid>",
        Value::String(_) => "<string>",
    }
}

fn is_go_version(text: &str) -> bool {
    let numbers = text.strip_prefix("go").unwrap_or_default();
    numbers.split('.').count() > 1
        && numbers.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn without_indexes(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = (inside || *c == '[') && *c != ']';
            !inside && *c != ']'
        })
        .collect()
}

/// A time near now becomes `<time>`, with its zone's form kept; any other stays.
fn near_time(text: &str, separator: &str) -> String {
    let mut canonical = text.replace('/', "-").replacen(' ', "T", 1);
    if separator == " " {
        canonical = canonical.split(' ').next().unwrap_or_default().to_string() + "Z";
    }
    match canonical.parse::<Timestamp>() {
        Ok(time) if Timestamp::now().duration_since(time).abs() < NEAR => {
            if text.ends_with('Z') || separator == " " {
                "<time>".to_string()
            } else {
                "<local time>".to_string()
            }
        }
        _ => text.to_string(),
    }
}

fn nuid(text: &str) -> String {
    // Words in camel case have neither digits nor two capitals in a row. JavaScript's ids have no small letters.
    let bytes = text.as_bytes();
    let has_upper = bytes.iter().any(u8::is_ascii_uppercase);
    let has_lower = bytes.iter().any(u8::is_ascii_lowercase);
    let has_capitals = bytes.windows(2).any(|pair| pair.iter().all(u8::is_ascii_uppercase));
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let is_random = has_upper && (has_digit || (has_lower && has_capitals));
    if is_random { "<nuid>".to_string() } else { text.to_string() }
}

/// The time in an ack subject is a number of nanoseconds: the only token of 19 digits.
fn ack_subject(text: &str) -> String {
    let tokens: Vec<&str> = text
        .split('.')
        .map(|token| {
            let is_time = token.len() == 19 && token.bytes().all(|b| b.is_ascii_digit());
            if is_time { "<ns>" } else { token }
        })
        .collect();
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_right_shape_is_replaced() {
        let normaliser = Normaliser::default();
        let now = Timestamp::now().to_string();
        assert_eq!(normaliser.text(&now), "<time>");
        assert_eq!(normaliser.text("2001-02-03T04:05:06Z"), "2001-02-03T04:05:06Z");
        assert_eq!(normaliser.text("0123456789abcdefghijABcd"), "0123456789abcdefghijABcd");
        assert_eq!(normaliser.text("4KV32Y2HIVHD7170WET561"), "<nuid>");
        assert_eq!(normaliser.text("$JS.ACK.S.C.1.2.3.1700000000000000000.0"), "$JS.ACK.S.C.1.2.3.<ns>.0");
        let source = "Nats-Stream-Source: O 2 o.* > o.subjects";
        assert_eq!(normaliser.text(source), source, "a subject is no identity");
        assert_eq!(normaliser.text(&format!("{source} 6EZLbDhb")), format!("{source} <identity>"));
    }

    #[test]
    fn fields_are_sorted_and_ignored_by_path() {
        let normaliser = Normaliser::new(&[".b.c".to_string()], &[], &[]).unwrap();
        let value = serde_json::json!({"z": 1, "b": [{"c": 2, "d": {}}], "cpu": 3});
        assert_eq!(
            normaliser.json(&value),
            [".b[0].c = <number>", ".b[0].d = {}", ".cpu = <number>", ".z = 1"]
        );
    }

    #[test]
    fn headers_are_compared_as_what_they_say() {
        let stored = BASE64.encode("NATS/1.0\r\nNats-Stream-Source: O 1 > > o.a 6EZLbDhb\r\n\r\n");
        let lines = Normaliser::default().json(&serde_json::json!({"hdrs": stored}));
        let said = r"NATS/1.0\r\nNats-Stream-Source: O 1 > > o.a <identity>\r\n\r\n";
        assert_eq!(lines, [format!(".hdrs = headers \"{said}\"")]);
        let broken = Normaliser::default().json(&serde_json::json!({"hdrs": "no Base64"}));
        assert_eq!(broken, [".hdrs = \"no Base64\""]);
    }

    #[test]
    fn of_a_mask_only_what_is_random_is_hidden() {
        let mask = r"NAME_(A|B)-(?P<random>[0-9a-f]{4})";
        let normaliser = Normaliser::new(&[], &[], &[mask.to_owned()]).unwrap();
        assert_eq!(normaliser.text("NAME_A-01ef NAME_C-01ef"), "NAME_A-<masked> NAME_C-01ef");
    }

    #[test]
    fn of_what_is_ignored_the_form_is_left() {
        let normaliser = Normaliser::new(&[".a".to_string(), ".o".to_string()], &[], &[]).unwrap();
        let forms = [
            (serde_json::json!(-1.5), "<number>"),
            (serde_json::json!("2001-02-03T04:05:06.7Z"), "<time>"),
            (serde_json::json!("1m2.5s"), "<duration>"),
            (serde_json::json!("1y2d3h4m5s"), "<duration>"),
            (serde_json::json!("4KV32Y2HIVHD7170WET561"), "<nuid>"),
            (serde_json::json!("2001-02-03 04:05:06"), "<string>"),
            (serde_json::json!(""), "\"\""),
            (serde_json::json!([1]), "<array>"),
            (serde_json::json!({"b": 1}), "<object>"),
        ];
        for (value, form) in forms {
            let json = serde_json::json!({"a": value});
            assert_eq!(normaliser.json(&json), [format!(".a = {form}")]);
        }
        let volatile = serde_json::json!({"go": "go1.26.2", "rtt": "12.5µs", "uptime": "1m2s"});
        let forms = [".go = <go version>", ".rtt = <duration>", ".uptime = <duration>"];
        assert_eq!(normaliser.json(&volatile), forms);
        let odd = serde_json::json!({"go": "rustc 1.90", "rtt": "0.1"});
        assert_eq!(normaliser.json(&odd), [".go = <string>", ".rtt = <string>"]);
    }
}
