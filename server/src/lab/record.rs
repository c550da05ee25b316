//! What the journal holds, as a scenario that can be played again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::answer::LabError;
use crate::journal::{Entry, Verb};

/// What stands in CONNECT where there was a secret.
const REDACTED: &str = "[REDACTED]";
const ACK: &[u8] = b"$JS.ACK.";

/// A scenario of these entries. `is_answered` tells of a request whether the server itself answers it, once.
///
/// # Errors
/// An entry does not hold all that came.
pub(super) fn scenario(entries: &[Entry], is_answered: impl Fn(&Entry) -> bool) -> Result<String, LabError> {
    let mut text = String::from("# Recorded by the test lab.\n");
    let mut open: BTreeMap<u64, bool> = BTreeMap::new();
    for entry in entries {
        let id = entry.client_id;
        if !entry.is_whole() {
            let number = entry.number;
            return Err(LabError::bad_request(format!("entry {number} is too large to be recorded")));
        }
        let is_open = *open.entry(id).or_insert(false);
        if !is_open && !matches!(entry.verb, Verb::Connect | Verb::Close) {
            // It connected before the journal began, or spoke without CONNECT.
            open.insert(id, true);
            line(&mut text, format_args!("connect c{id}"));
        }
        match entry.verb {
            Verb::Connect => {
                open.insert(id, true);
                line(&mut text, format_args!("connect c{id} {}", connect(&entry.payload)));
            }
            Verb::Close => {
                if open.insert(id, false) == Some(true) {
                    line(&mut text, format_args!("c{id} close"));
                }
            }
            Verb::Sub => {
                let queue =
                    if entry.queue.is_empty() { String::new() } else { format!("{} ", shown(&entry.queue)) };
                let (subject, sid) = (shown(&entry.subject), shown(&entry.sid));
                line(&mut text, format_args!("c{id} > SUB {subject} {queue}{sid}"));
            }
            Verb::Unsub => {
                let max = entry.max.map(|max| format!(" {max}")).unwrap_or_default();
                line(&mut text, format_args!("c{id} > UNSUB {}{max}", shown(&entry.sid)));
            }
            Verb::Pub => published(&mut text, entry, is_answered(entry)),
        }
    }
    for (id, _) in open.iter().filter(|(_, is_open)| **is_open) {
        line(&mut text, format_args!("c{id} sync"));
    }
    Ok(text)
}

fn published(text: &mut String, entry: &Entry, is_answered: bool) {
    let (id, subject, payload) = (entry.client_id, shown(&entry.subject), shown(&entry.payload));
    // The subject of an acknowledgement is another one each time.
    if entry.subject.starts_with(ACK) {
        return line(text, format_args!("c{id} reply {payload}"));
    }
    if is_answered && entry.headers.is_empty() {
        return line(text, format_args!("c{id} request {subject} {payload}"));
    }
    let reply = if entry.reply.is_empty() { String::new() } else { format!("{} ", shown(&entry.reply)) };
    let (headers, all) = (entry.headers.len(), entry.size_bytes);
    if headers == 0 {
        line(text, format_args!("c{id} >> PUB {subject} {reply}{all}\\r\\n{payload}\\r\\n"));
    } else {
        let headers_shown = shown(&entry.headers);
        line(
            text,
            format_args!(
                "c{id} >> HPUB {subject} {reply}{headers} {all}\\r\\n{headers_shown}{payload}\\r\\n"
            ),
        );
    }
    line(text, format_args!("c{id} sync"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Text takes all there is.
    let _ = writeln!(text, "{content}");
}

/// What a CONNECT said, without what cannot be said again.
fn connect(json: &[u8]) -> String {
    let mut fields: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
    fields.retain(|_, value| value.as_str() != Some(REDACTED));
    fields.retain(|name, _| !name.eq_ignore_ascii_case("verbose"));
    shown(Value::Object(fields).to_string().as_bytes())
}

/// Bytes as a scenario has them.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    // Variables are replaced before anything else.
    text.replace("${", "\\x24{")
}

#[cfg(test)]
mod tests {
    use jetkv_jetstream::WallNs;

    use super::*;

    fn entry(verb: Verb, subject: &str, headers: &str, payload: &str) -> Entry {
        Entry {
            number: 1,
            at: WallNs::from_ns(0),
            verb,
            client_id: 5,
            client: String::new(),
            account: String::new(),
            subject: subject.into(),
            reply: Vec::new(),
            queue: Vec::new(),
            sid: b"1".to_vec(),
            max: None,
            headers: headers.into(),
            payload: payload.into(),
            size_bytes: headers.len() + payload.len(),
        }
    }

    #[test]
    fn what_clients_did_becomes_steps() {
        let secret = r#"{"name":"n","pass":"[REDACTED]","verbose":true}"#;
        let entries = [
            entry(Verb::Connect, "", "", secret),
            Entry { queue: b"q".to_vec(), ..entry(Verb::Sub, "a.*", "", "") },
            entry(Verb::Pub, "$JS.API.INFO", "", ""),
            Entry { reply: b"r".to_vec(), ..entry(Verb::Pub, "a.b", "", "${x}\r") },
            entry(Verb::Pub, "a.b", "NATS/1.0\r\n\r\n", "v"),
            entry(Verb::Pub, "$JS.ACK.S.C.1.1.1.1.0", "", "+ACK"),
            Entry { max: Some(2), ..entry(Verb::Unsub, "", "", "") },
            entry(Verb::Close, "", "", "Client Closed"),
        ];
        let text = scenario(&entries, |entry| entry.subject.starts_with(b"$JS.API.")).unwrap();
        let steps = [
            "# Recorded by the test lab.",
            r#"connect c5 {"name":"n"}"#,
            "c5 > SUB a.* q 1",
            "c5 request $JS.API.INFO ",
            r"c5 >> PUB a.b r 5\r\n\x24{x}\r\r\n",
            "c5 sync",
            r"c5 >> HPUB a.b 12 13\r\nNATS/1.0\r\n\r\nv\r\n",
            "c5 sync",
            "c5 reply +ACK",
            "c5 > UNSUB 1 2",
            "c5 close",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), steps);
        let large = Entry { size_bytes: 1 << 20, ..entry(Verb::Pub, "a", "", "") };
        assert!(scenario(&[large], |_| false).is_err());
    }
}
