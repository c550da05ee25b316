//! Compares what two servers sent, field by field, and lets through only what may differ.

use serde_json::{Map, Value, json};

use crate::transcript::normalise::Normaliser;
use crate::transcript::template;
use crate::wire::{Frame, Message};

/// The number of messages that are left, in an ack subject: nats-server counts it somewhat later than it delivers.
const ACK_PENDING_TOKEN: usize = 8;

/// What a stream gathers from, in information about it.
const SOURCES: &str = ".sources";
/// How much one of them has yet to bring.
const LAG: &str = "lag";

/// The header that says where a message comes from, and the length of what ends it.
const SOURCE: &str = "Nats-Stream-Source: ";
const SOURCE_ID_LEN: usize = 8;

/// The first difference between two lists of frames, or `None`.
pub fn difference(normaliser: &Normaliser, reference: &[Frame], candidate: &[Frame]) -> Option<String> {
    for (index, frame) in reference.iter().enumerate() {
        let other = candidate.get(index);
        let difference = match other {
            Some(other) => frame_difference(normaliser, frame, other),
            None => Some(format!("- {}\n+ nothing", show(frame))),
        };
        if let Some(difference) = difference {
            return Some(format!("answer {}:\n{difference}", index + 1));
        }
    }
    candidate.get(reference.len()).map(|more| format!("one answer too many:\n+ {}", show(more)))
}

/// How two frames differ.
pub fn frame_difference(normaliser: &Normaliser, reference: &Frame, candidate: &Frame) -> Option<String> {
    let is_same = match (reference, candidate) {
        (Frame::Message(reference), Frame::Message(candidate)) => {
            return message_difference(normaliser, reference, candidate);
        }
        (Frame::Info(_), Frame::Info(_)) => true,
        (reference, candidate) => reference == candidate,
    };
    (!is_same).then(|| format!("- {}\n+ {}", show(reference), show(candidate)))
}

fn message_difference(normaliser: &Normaliser, reference: &Message, candidate: &Message) -> Option<String> {
    let head = |message: &Message| {
        (message.subject.clone(), message.sid.clone(), message.reply.as_deref().map(without_pending))
    };
    let texts = |message: &Message| {
        let (subject, sid, reply) = head(message);
        let headers = headers(message).unwrap_or_default();
        normaliser.text(&format!("{subject} sid {sid} reply {reply:?} {}", headers.escape_debug()))
    };
    let heads_equal = head(reference) == head(candidate) && headers(reference) == headers(candidate);
    if !heads_equal && texts(reference) != texts(candidate) {
        return Some(format!("- {}\n+ {}", texts(reference), texts(candidate)));
    }
    if reference.payload == candidate.payload {
        return None;
    }
    let parse = |message: &Message| serde_json::from_slice::<Value>(&message.payload).ok();
    match (parse(reference), parse(candidate)) {
        (Some(reference), Some(candidate)) => value_difference(normaliser, "", &reference, &candidate),
        _ => Some(format!(
            "- {}\n+ {}",
            template::encode(&reference.payload),
            template::encode(&candidate.payload)
        )),
    }
}

/// The first field that differs.
fn value_difference(
    normaliser: &Normaliser,
    path: &str,
    reference: &Value,
    candidate: &Value,
) -> Option<String> {
    match (reference, candidate) {
        (Value::Object(fields), Value::Object(others)) => {
            let missing = fields.iter().find(|(name, _)| !others.contains_key(*name));
            if let Some((name, value)) = missing {
                return Some(format!("- {path}.{name} = {value}\n+ no such field"));
            }
            if let Some((name, value)) = others.iter().find(|(name, _)| !fields.contains_key(*name)) {
                return Some(format!("- no such field\n+ {path}.{name} = {value}"));
            }
            let is_miscounted = path.starts_with(SOURCES) && has_filters_that_meet(fields);
            let counts = |name: &str| !(is_miscounted && name == LAG);
            fields.iter().filter(|(name, _)| counts(name)).find_map(|(name, value)| {
                let other = others.get(name).unwrap_or(&Value::Null);
                value_difference(normaliser, &format!("{path}.{name}"), value, other)
            })
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let (items, others) = (in_order(path, items), in_order(path, others));
            items.iter().zip(others).enumerate().find_map(|(index, (value, other))| {
                value_difference(normaliser, &format!("{path}[{index}]"), value, other)
            })
        }
        _ if reference == candidate => None,
        _ => {
            let key = path.rsplit('.').next().unwrap_or_default();
            let lines = |value: &Value| normaliser.json(&json!({ key: value }));
            (lines(reference) != lines(candidate))
                .then(|| format!("- {path} = {reference}\n+ {path} = {candidate}"))
        }
    }
}

/// The sources in information about a stream are those of a Go map.
fn in_order<'a>(path: &str, items: &'a [Value]) -> Vec<&'a Value> {
    let mut items: Vec<&Value> = items.iter().collect();
    if path == SOURCES {
        let key = |source: &Value| {
            ["name", "filter_subject", "subject_transforms"].map(|of| source.get(of).map(Value::to_string))
        };
        items.sort_by_key(|source| key(source));
    }
    items
}

/// Whether a subject may be of several filters of a source. nats-server v2.15.2 counts a message that comes then once for each,
/// until it finds nothing more; what it says that is left depends on when it looks.
fn has_filters_that_meet(source: &Map<String, Value>) -> bool {
    let transforms = source.get("subject_transforms").and_then(Value::as_array);
    let filters: Vec<&str> =
        transforms.into_iter().flatten().filter_map(|of| of.get("src")?.as_str()).collect();
    filters.iter().enumerate().any(|(at, one)| filters.iter().skip(at + 1).any(|other| meet(one, other)))
}

/// Whether there are subjects that two filters have in common.
fn meet(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

/// The headers, without what ends the one of a source: it is made anew whenever an origin is asked for its messages.
fn headers(message: &Message) -> Option<String> {
    let lines = message.headers.as_ref()?.split("\r\n").map(|line| match line.rsplit_once(' ') {
        Some((source, id)) if line.starts_with(SOURCE) && id.len() == SOURCE_ID_LEN => source,
        _ => line,
    });
    Some(lines.collect::<Vec<_>>().join("\r\n"))
}

fn without_pending(subject: &str) -> String {
    if !subject.starts_with("$JS.ACK.") {
        return subject.to_string();
    }
    let tokens: Vec<&str> = subject
        .split('.')
        .enumerate()
        .map(|(index, token)| if index == ACK_PENDING_TOKEN { "<pending>" } else { token })
        .collect();
    tokens.join(".")
}

/// A frame on one line.
pub fn show(frame: &Frame) -> String {
    match frame {
        Frame::Message(message) => {
            let head = format!("{} sid {} reply {:?}", message.subject, message.sid, message.reply);
            let headers = message.headers.as_deref().unwrap_or_default().escape_debug().to_string();
            format!("MSG {head} {headers} {}", template::encode(&message.payload))
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reply: &str, payload: &str) -> Frame {
        Frame::Message(Message {
            subject: "s".into(),
            sid: "1".into(),
            reply: Some(reply.into()),
            headers: None,
            payload: payload.into(),
        })
    }

    #[test]
    fn times_near_now_and_lagging_counts_may_differ_and_nothing_else() {
        let normaliser = Normaliser::default();
        let one =
            message("$JS.ACK.S.C.1.2.3.1700000000000000000.4", r#"{"a":1,"created":"2001-01-01T00:00:00Z"}"#);
        let two =
            message("$JS.ACK.S.C.1.2.3.1700000000000000009.5", r#"{"created":"2001-01-01T00:00:00Z","a":1}"#);
        assert_eq!(frame_difference(&normaliser, &one, &two), None);
        let three =
            message("$JS.ACK.S.C.1.2.3.1700000000000000000.4", r#"{"a":2,"created":"2001-01-01T00:00:00Z"}"#);
        assert_eq!(frame_difference(&normaliser, &one, &three).as_deref(), Some("- .a = 1\n+ .a = 2"));
        let four = message("$JS.ACK.S.C.1.2.4.1700000000000000000.4", "{}");
        assert!(frame_difference(&normaliser, &one, &four).is_some());
    }

    #[test]
    fn what_is_left_of_a_source_counts_unless_its_filters_meet() {
        let normaliser = Normaliser::default();
        let info = |filters: [&str; 2], lag: u64| {
            let transforms = filters.map(|filter| json!({"src": filter, "dest": ""}));
            message(
                "r",
                &json!({"sources": [{"name": "A", "lag": lag, "subject_transforms": transforms}]})
                    .to_string(),
            )
        };
        for (filters, counts) in [
            (["A.a.*", "A.*.b"], false),
            (["A.a.>", "A.*.b.c"], false),
            (["A.a", "A.a.>"], true),
            (["A.b", "A.*.*"], true),
        ] {
            let found = frame_difference(&normaliser, &info(filters, 1), &info(filters, 0));
            assert_eq!(found.is_some(), counts, "{filters:?}");
        }
    }

    #[test]
    fn a_missing_answer_is_a_difference() {
        let normaliser = Normaliser::default();
        assert!(difference(&normaliser, &[Frame::Ok], &[]).is_some());
        assert!(difference(&normaliser, &[], &[Frame::Ok]).is_some());
        assert!(difference(&normaliser, &[Frame::Ok], &[Frame::Ok]).is_none());
    }
}
