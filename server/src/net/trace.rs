//! The protocol of connections in the log.

use jetkv_protocol::{ClientOp, quoted};

use super::connection::Connection;

impl Connection {
    /// Logs an operation that came in.
    pub(super) fn trace_in(&self, op: &ClientOp<'_>) {
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
        let label = self.client.label();
        tracing::trace!("{label} - <<- [{line}]");
        if let ClientOp::Pub(publish) = op {
            let options = self.shared.options();
            let mut shown = publish.headers.to_vec();
            if !options.log.trace_headers {
                shown.extend_from_slice(publish.payload);
            }
            let max = options.log.max_traced_msg_len;
            let cut = max > 0 && shown.len() > max;
            shown.truncate(if cut { max } else { shown.len() });
            let end = if cut { "..." } else { "" };
            tracing::trace!("{label} - <<- MSG_PAYLOAD: [{}{end}]", quoted(&shown));
        }
    }

    /// Logs an operation that goes out.
    pub(super) fn trace_out(&self, verb: &str, text: &str) {
        let blank = if text.is_empty() { "" } else { " " };
        tracing::trace!("{} - ->> [{verb}{blank}{text}]", self.client.label());
    }
}

/// CONNECT without its secrets.
fn redacted(json: &[u8]) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(json) else {
        return String::from_utf8_lossy(json).into_owned();
    };
    for (name, value) in &mut fields {
        if ["pass", "auth_token", "jwt", "sig"].iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            *value = serde_json::Value::from("[REDACTED]");
        }
    }
    serde_json::Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        let line = redacted(br#"{"user":"u","pass":"secret","auth_token":"secret","verbose":false}"#);
        assert_eq!(line, r#"{"user":"u","pass":"[REDACTED]","auth_token":"[REDACTED]","verbose":false}"#);
    }
}
