//! The protocol of connections in the log.

use jetkv_jetstream::OutMsg;
use jetkv_protocol::{ClientOp, Publish};
use serde_json::Value;

use super::Client;
use super::connection::Connection;
use crate::connections::{CloseReason, ConnectionHandle as _};
use crate::faults::LAB;
use crate::journal::{Actor, Entry, Journal};
use crate::router::Subscription;

impl Connection {
    /// Shows an operation that came in to those who want to see it.
    #[cold]
    pub(super) fn observe(&self, op: &ClientOp<'_>) {
        if self.client.is_traced() {
            self.trace_in(op);
        }
        if let Some(journal) = &self.shared.journal {
            self.note(journal, op);
        }
    }

    /// Notes an operation in the journal of the lab, unless it is a request to the lab itself.
    fn note(&self, journal: &Journal, op: &ClientOp<'_>) {
        let mut actor = self.actor();
        match op {
            ClientOp::Pub(publish) if publish.subject.starts_with(LAB.as_bytes()) => return,
            // What account it comes to is not known yet.
            ClientOp::Connect(json) => {
                actor.account = "";
                actor.name = announced_name(json);
            }
            _ => {}
        }
        if let Some(entry) = Entry::of(actor, op, redacted) {
            journal.note(entry);
        }
    }

    /// Notes in the journal of the lab, if there is one, that the connection ends.
    pub(super) fn note_end(&self, reason: CloseReason) {
        if let Some(journal) = &self.shared.journal {
            journal.note(Entry::closed(self.actor(), &reason.to_string()));
        }
    }

    fn actor(&self) -> Actor<'_> {
        let (at, id, name) = (self.shared.clock.wall(), self.client.id(), self.options.name.clone());
        Actor { at, id, name, account: self.account.name() }
    }

    /// Logs an operation that came in.
    fn trace_in(&self, op: &ClientOp<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = match op {
            ClientOp::Connect(json) => format!("CONNECT {}", redacted(json)),
            ClientOp::Pub(publish) => {
                let reply = publish.reply.map(|reply| format!("{} ", text(reply))).unwrap_or_default();
                let (verb, header) = match publish.headers.len() {
                    0 => ("PUB", String::new()),
                    length => ("HPUB", format!("{length} ")),
                };
                format!("{verb} {} {reply}{header}{}", text(publish.subject), publish.size_bytes())
            }
            ClientOp::Sub { subject, queue, sid } => {
                let queue = queue.map(|queue| format!("{} ", text(queue))).unwrap_or_default();
                format!("SUB {} {queue}{}", text(subject), text(sid))
            }
            ClientOp::Unsub { sid, max } => {
                format!("UNSUB {}{}", text(sid), max.map(|max| format!(" {max}")).unwrap_or_default())
            }
            ClientOp::Ping => "PING".to_owned(),
            ClientOp::Pong => "PONG".to_owned(),
            ClientOp::Info(json) => format!("INFO {}", text(json)),
            ClientOp::Ok => "+OK".to_owned(),
            ClientOp::Err(error) => format!("-ERR {}", text(error)),
        };
        tracing::trace!("{} - <<- [{line}]", self.client.label());
        // What is mapped shows that first.
        if let ClientOp::Pub(publish) = op
            && !self.account.renames()
        {
            self.client.trace_payload("<<-", publish.headers, publish.payload);
        }
    }

    /// Logs under which subject a message goes on, and what it holds.
    pub(super) fn trace_mapping(&self, publish: &Publish<'_>, subject: Option<&[u8]>) {
        if let Some(subject) = subject {
            let (from, to) = (String::from_utf8_lossy(publish.subject), String::from_utf8_lossy(subject));
            tracing::trace!("{} - <<- [MAPPING {from} -> {to}]", self.client.label());
        }
        self.client.trace_payload("<<-", publish.headers, publish.payload);
    }

    /// Logs an operation that goes out.
    pub(super) fn trace_out(&self, verb: &str, text: &str) {
        self.client.trace_out(verb, text);
    }
}

impl Client {
    /// Logs an operation that goes out.
    #[cold]
    pub(super) fn trace_out(&self, verb: &str, text: &str) {
        let blank = if text.is_empty() { "" } else { " " };
        tracing::trace!("{} - ->> [{verb}{blank}{text}]", self.label());
    }

    /// Logs a message that goes out.
    #[cold]
    pub(super) fn trace_delivery(&self, sid: &[u8], headers: &[u8], msg: OutMsg<'_>) {
        let text = String::from_utf8_lossy;
        let reply = if msg.reply.is_empty() { String::new() } else { format!("{} ", text(msg.reply)) };
        let size_bytes = headers.len() + msg.payload.len();
        let (verb, header_size) = match headers.len() {
            0 => ("MSG", String::new()),
            length => ("HMSG", format!("{length} ")),
        };
        let (subject, sid) = (text(msg.subject), text(sid));
        tracing::trace!("{} - ->> [{verb} {subject} {sid} {reply}{header_size}{size_bytes}]", self.label());
        self.trace_payload("->>", headers, msg.payload);
    }

    /// Logs that a subscription ended.
    pub(super) fn trace_ended(&self, sub: &Subscription) {
        if self.is_traced() {
            tracing::trace!("{} - <-> [DELSUB {}]", self.label(), String::from_utf8_lossy(sub.sid()));
        }
    }

    /// Logs what a message holds, as far as the options want that.
    fn trace_payload(&self, direction: &str, headers: &[u8], payload: &[u8]) {
        if let Some(content) = self.trace_options().content(headers, payload) {
            tracing::trace!("{} - {direction} MSG_PAYLOAD: [{content}]", self.label());
        }
    }
}

/// What a client that sends this CONNECT calls itself.
fn announced_name(json: &[u8]) -> String {
    let fields: Option<Value> = serde_json::from_slice(json).ok();
    fields.and_then(|fields| Some(fields.get("name")?.as_str()?.to_owned())).unwrap_or_default()
}

/// CONNECT as it was sent, but for its secrets.
fn redacted(json: &[u8]) -> String {
    const SECRETS: [&str; 6] = ["pass", "auth_token", "jwt", "nkey", "sig", "proxy_sig"];
    let mut text = String::from_utf8_lossy(json).into_owned();
    for secret in SECRETS {
        let key = format!("\"{secret}\"");
        let mut from = 0;
        // Keys match without regard to case, as they do when CONNECT is read.
        while let Some(at) = find(text.get(from..).unwrap_or_default(), &key) {
            let value_at = from + at + key.len();
            from = value_at;
            if let Some((start, end)) = string_value(text.get(value_at..).unwrap_or_default()) {
                text.replace_range(value_at + start..value_at + end, "[REDACTED]");
            }
        }
    }
    text
}

fn find(text: &str, key: &str) -> Option<usize> {
    text.as_bytes().windows(key.len()).position(|window| window.eq_ignore_ascii_case(key.as_bytes()))
}

/// Where the content of the string is that follows a key, if a string follows it.
fn string_value(text: &str) -> Option<(usize, usize)> {
    let after_colon = text.trim_start().strip_prefix(':')?.trim_start();
    let content = after_colon.strip_prefix('"')?;
    let start = text.len() - content.len();
    let mut escaped = false;
    let end = content.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    Some((start, start + end.unwrap_or(content.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        let line =
            redacted(br#"{"user":"u", "Pass" : "sec\"ret","auth_token":"secret","sig":1,"verbose":false}"#);
        let shown =
            r#"{"user":"u", "Pass" : "[REDACTED]","auth_token":"[REDACTED]","sig":1,"verbose":false}"#;
        assert_eq!(line, shown);
        assert_eq!(redacted(br#"{"jwt":"never ends"#), r#"{"jwt":"[REDACTED]"#);
    }
}
