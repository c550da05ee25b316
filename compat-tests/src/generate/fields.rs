//! Sessions about configurations: every field of a stream and of a consumer with values that are fine, at a bound, beyond it,
//! of another type; alone and together, at creation and in changes, with and without `pedantic`.

use serde_json::{Map, Value, json};

use super::operation::Operation;
use crate::random::Random;

/// Bounds of most numbers.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "-2",
    "5",
    "100",
    "1000",
    "9223372036854775807",
    "2147483648",
    "1.5",
    "1e3",
    "\"1\"",
    "null",
];
/// Durations that end nothing while a session lasts.
const DURATIONS: &[&str] = &[
    "0",
    "-1",
    "1",
    "99999999",
    "100000000000",
    "119000000000",
    "120000000000",
    "3600000000000",
    "9223372036854775807",
    "\"1s\"",
    "null",
];
const FLAGS: &[&str] = &["true", "true", "false", "null", "\"true\"", "1"];
const METADATA: &[&str] = &[
    "{}",
    "null",
    r#"{"a":"b"}"#,
    r#"{"_nats.req.level":"9"}"#,
    r#"{"_nats.x":"y"}"#,
    r#"{"_nats.ver":"1","_nats.level":"7"}"#,
    r#"{"a":1}"#,
    "5",
];
const DESCRIPTIONS: &[&str] = &["\"words\"", "\"\"", "null", "5"];
const REPLICAS: &[&str] = &["0", "1", "3", "5", "6", "-1", "\"1\""];

/// What a mirror or source may not be; those that may are for sessions of their own.
const NO_ORIGINS: &[&str] = &[
    r#"{"name":""}"#,
    r#"{"name":"a.b"}"#,
    r#"{}"#,
    r#"{"name":"@O","filter_subject":"o..1"}"#,
    r#"{"name":"@O","filter_subject":"a","subject_transforms":[{"src":"b","dest":"c"}]}"#,
    r#"{"name":"@O","subject_transforms":[{"src":"o..1","dest":"p"}]}"#,
    r#"{"name":"@O","subject_transforms":[{"src":"o.*","dest":"p.{{wildcard(2)}}"}]}"#,
    r#"{"name":"@O","subject_transforms":[{"src":"o.*","dest":"p.$1"},{"src":"o.1","dest":"q"}]}"#,
    r#"{"name":"@O","external":{"api":"$JS.API","deliver":"d"}}"#,
    r#"{"name":"@O","external":{"api":"x.*"}}"#,
    r#"{"name":"@O","consumer":{"name":"C"}}"#,
    r#"{"name":"@O","opt_start_seq":-1}"#,
    "5",
];

/// The fields of a stream's configuration but its name and origins, each with the JSON of its values. `#` is the number of the
/// stream in its session.
const STREAM: &[(&str, &[&str])] = &[
    ("description", DESCRIPTIONS),
    (
        "subjects",
        &[
            r#"["@a#.>"]"#,
            r#"["@a#.1"]"#,
            "[]",
            "null",
            r#"["@a#.*","@a#.1"]"#,
            r#"["@a#.1","@a#.1"]"#,
            r#"["$JS.x"]"#,
            r#"["$JS.API.>"]"#,
            r#"["$SYS.>"]"#,
            r#"[">"]"#,
            r#"[" "]"#,
            r#"["a b"]"#,
            r#"[""]"#,
            r#"["a..b"]"#,
            r#""@a#""#,
        ],
    ),
    ("retention", &["\"limits\"", "\"interest\"", "\"workqueue\"", "\"x\"", "null", "1", "\"\""]),
    ("max_consumers", NUMBERS),
    ("max_msgs", NUMBERS),
    ("max_bytes", NUMBERS),
    ("max_age", DURATIONS),
    ("max_msgs_per_subject", NUMBERS),
    ("max_msg_size", NUMBERS),
    ("discard", &["\"old\"", "\"new\"", "\"new\"", "\"x\"", "null", "1"]),
    ("storage", &["\"memory\"", "\"memory\"", "\"tape\"", "1"]),
    ("num_replicas", REPLICAS),
    ("no_ack", FLAGS),
    ("duplicate_window", DURATIONS),
    (
        "placement",
        &[
            "null",
            "{}",
            r#"{"cluster":"x"}"#,
            r#"{"tags":["a"]}"#,
            r#"{"tags":[]}"#,
            r#"{"preferred":"generated"}"#,
            "5",
        ],
    ),
    ("compression", &["\"none\"", "\"s2\"", "\"x\"", "null", "1"]),
    ("first_seq", &["0", "1", "100", "-1", "18446744073709551616", "\"1\""]),
    (
        "subject_transform",
        &[
            "null",
            "{}",
            r#"{"src":"@a#.*","dest":"@a#.x.{{wildcard(1)}}"}"#,
            r#"{"src":"@a#.*","dest":"t.{{wildcard(3)}}"}"#,
            r#"{"src":"@a#..","dest":"t"}"#,
            r#"{"src":"@a#.*","dest":"{{bad(1)}}"}"#,
            r#"{"src":"zz","dest":"@a#.q"}"#,
        ],
    ),
    // Without a destination, nats-server v2.15.2 makes one of an update.
    (
        "republish",
        &[
            "null",
            r#"{"src":"@a#.*","dest":"r.{{wildcard(1)}}"}"#,
            r#"{"dest":"r.>"}"#,
            r#"{"src":"@a#.>","dest":"@a#.>"}"#,
            r#"{"src":"@a#.*","dest":"r.{{wildcard(2)}}"}"#,
            r#"{"src":"@a#..","dest":"r"}"#,
            r#"{"src":"@a#.>","dest":"r.>","headers_only":true}"#,
        ],
    ),
    ("allow_direct", FLAGS),
    ("mirror_direct", FLAGS),
    ("discard_new_per_subject", FLAGS),
    ("sealed", FLAGS),
    ("deny_delete", FLAGS),
    ("deny_purge", FLAGS),
    ("allow_rollup_hdrs", FLAGS),
    (
        "consumer_limits",
        &[
            "null",
            "{}",
            r#"{"inactive_threshold":3600000000000}"#,
            r#"{"inactive_threshold":-1}"#,
            r#"{"max_ack_pending":5}"#,
            r#"{"max_ack_pending":-2}"#,
            r#"{"inactive_threshold":3600000000000,"max_ack_pending":7}"#,
            "5",
        ],
    ),
    ("allow_msg_ttl", FLAGS),
    ("subject_delete_marker_ttl", DURATIONS),
    ("allow_msg_counter", FLAGS),
    ("allow_atomic", FLAGS),
    ("allow_msg_schedules", FLAGS),
    ("persist_mode", &["\"\"", "\"default\"", "\"async\"", "\"x\"", "null", "1"]),
    ("allow_batched", FLAGS),
    ("metadata", METADATA),
    ("pedantic", FLAGS),
    ("unknown", &["1"]),
];

/// The fields of a consumer's configuration but its names.
const CONSUMER: &[(&str, &[&str])] = &[
    ("description", DESCRIPTIONS),
    (
        "deliver_policy",
        &[
            "\"all\"",
            "\"last\"",
            "\"new\"",
            "\"by_start_sequence\"",
            "\"by_start_time\"",
            "\"last_per_subject\"",
            "\"x\"",
            "null",
        ],
    ),
    ("opt_start_seq", &["0", "1", "2", "50", "-1", "\"1\"", "null"]),
    (
        "opt_start_time",
        &[
            "\"2020-01-01T00:00:00Z\"",
            "\"2100-01-01T00:00:00+02:00\"",
            "\"0001-01-01T00:00:00Z\"",
            "\"x\"",
            "5",
            "null",
        ],
    ),
    (
        "ack_policy",
        &["\"none\"", "\"all\"", "\"explicit\"", "\"explicit\"", "\"flow_control\"", "\"x\"", "null"],
    ),
    ("ack_wait", DURATIONS),
    ("max_deliver", NUMBERS),
    (
        "backoff",
        &[
            "[]",
            "null",
            "[1000000000]",
            "[1000000000,2000000000]",
            "[1000000000,2000000000,3000000000]",
            "[-1]",
            "[0]",
            "[\"x\"]",
        ],
    ),
    ("filter_subject", &["\"\"", "\"@a#.1\"", "\"@a#.*\"", "\"t\"", "\"@a#..1\"", "null", "5"]),
    (
        "filter_subjects",
        &[
            "[]",
            "null",
            r#"["@a#.1"]"#,
            r#"["@a#.1","@a#.2"]"#,
            r#"["@a#.1","@a#.*"]"#,
            r#"["@a#.1","@a#.1"]"#,
            r#"["@a#.1",""]"#,
            r#"["t"]"#,
            "[5]",
        ],
    ),
    ("replay_policy", &["\"instant\"", "\"original\"", "\"x\"", "null"]),
    ("rate_limit_bps", &["0", "1000", "-1", "\"1\""]),
    ("sample_freq", &["\"50%\"", "\"50\"", "\"x\"", "\"150%\"", "\"-1\"", "\"\"", "50"]),
    ("max_waiting", NUMBERS),
    ("max_ack_pending", NUMBERS),
    ("flow_control", FLAGS),
    ("headers_only", FLAGS),
    ("max_batch", NUMBERS),
    ("max_expires", DURATIONS),
    ("max_bytes", NUMBERS),
    ("deliver_subject", &["\"\"", "\"@d\"", "\"@d.x\"", "\"@d.*\"", "\"a b\"", "\"d..x\"", "null", "5"]),
    ("deliver_group", &["\"\"", "\"g\"", "\"a b\"", "\"a.b\"", "null", "5"]),
    ("idle_heartbeat", DURATIONS),
    ("inactive_threshold", &["0", "-1", "3600000000000", "\"1s\"", "null"]),
    ("num_replicas", REPLICAS),
    ("mem_storage", FLAGS),
    ("direct", FLAGS),
    ("sourcing", &["false", "null", "1"]),
    ("metadata", METADATA),
    ("pause_until", &["\"2020-01-01T00:00:00Z\"", "\"0001-01-01T00:00:00Z\"", "\"x\"", "null"]),
    (
        "priority_groups",
        &["[]", r#"["a"]"#, r#"["a"]"#, r#"["a","b"]"#, r#"[""]"#, r#"["xxxxxxxxxxxxxxxxx"]"#, "null", "[5]"],
    ),
    (
        "priority_policy",
        &["\"none\"", "\"overflow\"", "\"pinned_client\"", "\"prioritized\"", "\"x\"", "null"],
    ),
    ("priority_timeout", DURATIONS),
    ("unknown", &["1"]),
];

/// A session of at least `length` operations.
pub fn session(random: Random, length: usize) -> Vec<Operation> {
    let mut writer = Writer { random, number: 0, operations: Vec::new() };
    while writer.operations.len() < length {
        // Each stream has a name of its own: nats-server v2.15.2 may find a part of a stream that was just deleted.
        writer.number += 1;
        writer.stream();
        writer.consumer();
    }
    writer.operations
}

struct Writer {
    random: Random,
    number: usize,
    operations: Vec<Operation>,
}

impl Writer {
    fn stream(&mut self) {
        let name = format!("@A{}", self.number);
        let mut config = Map::new();
        config.insert("name".to_owned(), json!(name));
        config.insert("subjects".to_owned(), json!([format!("@a{}.>", self.number)]));
        config.insert("storage".to_owned(), json!("memory"));
        self.vary(&mut config, STREAM, 5);
        if self.random.chance(8) {
            let origin = self.parsed(NO_ORIGINS);
            let (field, value) =
                if self.random.chance(50) { ("mirror", origin) } else { ("sources", json!([origin])) };
            config.insert(field.to_owned(), value);
        }
        self.operations
            .push(Operation::api(&format!("STREAM.CREATE.{name}"), Value::from(config.clone()).to_string()));
        for _ in 0..self.random.below(3) {
            let mut other = config.clone();
            self.vary(&mut other, STREAM, 3);
            self.operations.push(Operation::api(
                &format!("STREAM.UPDATE.{name}"),
                Value::from(other.clone()).to_string(),
            ));
            self.operations.push(Operation::read(&format!("STREAM.INFO.{name}"), ""));
            if self.random.chance(50) {
                config = other;
            }
        }
    }

    fn consumer(&mut self) {
        let stream = format!("@A{}", self.number);
        let mut config = Map::new();
        config.insert("name".to_owned(), json!("C"));
        if self.random.chance(50) {
            config.insert("durable_name".to_owned(), json!("C"));
        }
        if self.random.chance(30) {
            config.insert("deliver_subject".to_owned(), json!("@d"));
        }
        for _ in 0..=self.random.below(3) {
            self.vary(&mut config, CONSUMER, 4);
            let action = self.random.pick(&["", "", "create", "update", "x"]);
            let mut request = json!({"stream_name": stream, "config": config, "action": action});
            if let Some(fields) = request.as_object_mut().filter(|_| self.random.chance(20)) {
                fields.insert("pedantic".to_owned(), json!(true));
            }
            self.operations.push(Operation::api(&format!("CONSUMER.CREATE.{stream}.C"), request.to_string()));
            self.operations.push(Operation::read(&format!("CONSUMER.INFO.{stream}.C"), ""));
        }
    }

    /// Sets some fields.
    fn vary(
        &mut self,
        config: &mut Map<String, Value>,
        fields: &[(&str, &'static [&'static str])],
        most: u64,
    ) {
        for _ in 0..=self.random.below(most) {
            let Some(at) = self.random.index(fields.len()) else { return };
            let Some((field, values)) = fields.get(at) else { return };
            let value = self.parsed(values);
            config.insert((*field).to_owned(), value);
        }
    }

    fn parsed(&mut self, values: &[&'static str]) -> Value {
        let text = self.random.pick(values).replace('#', &self.number.to_string());
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names that `go_struct!` gives to the fields of a configuration.
    fn fields(source: &str, of: &str) -> BTreeSet<String> {
        let (_, rest) = source.split_once(&format!("as \"{of}\" {{")).unwrap_or_default();
        let (body, _) = rest.split_once("} }").unwrap_or_default();
        body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn missing(all: &BTreeSet<String>, table: &[(&str, &[&str])], elsewhere: &[&str]) -> Vec<String> {
        let named = |field: &&String| {
            table.iter().any(|(name, _)| name == field) || elsewhere.contains(&field.as_str())
        };
        all.iter().filter(|field| !named(field)).cloned().collect()
    }

    #[test]
    fn no_field_is_left_out() {
        let streams = fields(include_str!("../../../jetstream/src/config/stream.rs"), "StreamConfig");
        let consumers = fields(include_str!("../../../jetstream/src/config/consumer.rs"), "ConsumerConfig");
        assert!(streams.len() > 30 && consumers.len() > 30, "{streams:?} {consumers:?}");
        assert_eq!(missing(&streams, STREAM, &["name", "mirror", "sources"]), [""; 0]);
        assert_eq!(missing(&consumers, CONSUMER, &["name", "durable_name"]), [""; 0]);
    }

    #[test]
    fn every_value_is_json() {
        let values = STREAM.iter().chain(CONSUMER).flat_map(|(_, values)| *values).chain(NO_ORIGINS);
        // A number that is too large for both is there on purpose.
        let bad: Vec<_> = values.filter(|text| serde_json::from_str::<Value>(text).is_err()).collect();
        assert_eq!(bad, [&""; 0]);
    }
}
