//! What a generated session consists of, and its text as a scenario.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::transcript::template;

/// Stands for the session's own name in subjects and payloads, so that sessions share servers without meeting.
pub const OWN_NAME: char = '@';
/// Stands for an at sign in headers, where [`OWN_NAME`] is none.
pub const AT_SIGN: &str = "<at>";
/// Stands in a header for a moment that is close when the request is sent.
pub const SOON: &str = "<soon>";
/// The end of subjects that are deep: 9, 17 and 40 tokens, alike up to the last.
pub const DEEP: [&str; 3] = [
    "d.d.d.d.d.d.d.d.x",
    "d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.x",
    "d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.d.x",
];
/// Stands in a header for the sequence of the newest message that an answer showed on the request's subject, or 0.
pub const REVISION: &str = "<revision>";
/// What push consumers deliver to, below `@D`; the sids are these with a `p` in front. Each is subscribed to by itself:
/// nats-server v2.15.2 does not count a wildcard as interest in a deliver subject, and JetKV does.
pub(super) const PUSH_SUBJECTS: [&str; 5] = ["one", "two", "w1", "w2", "w3"];
/// Below it is what publishers of fast batches are told.
pub(super) const FAST_SUBJECT: &str = "f";

/// The code of an error: there is no such message.
const NO_MESSAGE: &str = "10037";

/// How the end of the answers to a request is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// There is one.
    One,
    /// Messages of a direct get, up to a status or an error.
    Batch,
    /// A pull: so many messages, or fewer and a status.
    Pull(usize),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Subject.
    pub subject: String,
    /// Header lines (`Name: value`).
    pub headers: Vec<String>,
    /// Payload.
    pub payload: String,
    /// What answers it.
    pub answers: Answers,
    /// It changes nothing, so it can be asked again while a server still works off earlier requests.
    pub is_read: bool,
}

/// What a request has time take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The message that the request stored, with this sequence once that is known.
    Stored(Option<u64>),
    /// All that the stream holds.
    All,
}

/// One step of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A request of the session's main connection.
    Request(Request),
    /// A payload for the ack subject of a message that a pull or (with `pushed`) a push consumer brought. The number
    /// counts from the first such message, modulo how many there were; nothing happens when there were none.
    Acknowledge {
        /// Which message.
        nth: usize,
        /// Whether it is one of those that were pushed.
        pushed: bool,
        /// `+ACK` and others.
        payload: String,
    },
    /// A request whose answers arrive with what is pushed, now or with later operations: a pull that waits, a message of a fast
    /// batch.
    Ask {
        /// Subject.
        subject: String,
        /// One of the subjects that are pushed to, or one below `FAST_SUBJECT`.
        inbox: String,
        /// Header lines (`Name: value`).
        headers: Vec<String>,
        /// Payload.
        payload: String,
    },
    /// A read that is repeated until a field of what both answer has this value.
    Await {
        /// The read.
        request: Request,
        /// Where the field is.
        pointer: String,
        /// Its value.
        value: String,
    },
    /// A request, and then, unless it was refused, a wait until both show that time has taken away what it was about.
    Expiring {
        /// The request.
        request: Request,
        /// The stream.
        stream: &'static str,
        /// What goes.
        gone: Gone,
    },
    /// The next heartbeat on one of the subjects that are pushed to, if any comes.
    Heartbeat {
        /// The subject.
        inbox: &'static str,
    },
    /// An answer to the latest flow control request on one of the subjects that are pushed to, if there is one: it says
    /// that everything delivered there so far has arrived.
    AnswerFlow {
        /// The subject.
        inbox: &'static str,
    },
    /// A control line (and payload) of one of a few client connections, all of which are then brought up to date.
    Client {
        /// Connection: 0, 1, ...
        connection: usize,
        /// The bytes.
        text: String,
    },
    /// Requests and acknowledgements that arrive at once. What one of them changes holds for the next; their answers have
    /// no order between them.
    Packet {
        /// What is in it.
        operations: Vec<Operation>,
    },
    /// A connection of its own that sends these pieces.
    Raw {
        /// The pieces, each written by itself.
        pieces: Vec<Vec<u8>>,
    },
    /// The server is ended, with SIGKILL or SIGTERM, and started again.
    Restart {
        /// Without a chance to write anything more.
        kill: bool,
    },
    /// Time passes: timers of the servers fire.
    Pause {
        /// How long.
        duration_ms: u64,
    },
}

impl Operation {
    /// A request with one answer.
    pub fn request(subject: impl Into<String>, payload: impl Into<String>) -> Self {
        Self::Request(Request {
            subject: subject.into(),
            headers: Vec::new(),
            payload: payload.into(),
            answers: Answers::One,
            is_read: false,
        })
    }

    /// A request of the JetStream API.
    pub fn api(subject: &str, payload: impl Into<String>) -> Self {
        Self::request(format!("$JS.API.{subject}"), payload)
    }

    /// A request of the JetStream API that changes nothing.
    pub fn read(subject: &str, payload: impl Into<String>) -> Self {
        match Self::api(subject, payload) {
            Self::Request(request) => Self::Request(Request { is_read: true, ..request }),
            other => other,
        }
    }

    /// A direct get of several messages.
    pub fn batch(subject: &str, payload: impl Into<String>) -> Self {
        match Self::read(subject, payload) {
            Self::Request(request) => Self::Request(Request { answers: Answers::Batch, ..request }),
            other => other,
        }
    }

    /// A publish that is acknowledged.
    pub fn publish(subject: &str, headers: Vec<String>, payload: &str) -> Self {
        match Self::request(subject, payload) {
            Self::Request(request) => Self::Request(Request { headers, ..request }),
            other => other,
        }
    }

    /// Waits until the last message on a subject of a stream has this payload.
    pub fn await_last(stream: &str, subject: &str, payload: &str) -> Self {
        let body = serde_json::json!({"last_by_subj": subject}).to_string();
        let read = Self::read(&format!("STREAM.MSG.GET.{stream}"), body);
        read.awaited("/message/data", &BASE64.encode(payload))
    }

    /// The same request, of which time takes something away.
    pub fn expiring(self, stream: &'static str, gone: Gone) -> Self {
        match self {
            Self::Request(request) => Self::Expiring { request, stream, gone },
            other => other,
        }
    }

    /// What shows that all of it is gone, where it is known what that is.
    pub fn shows_gone(stream: &str, gone: Gone) -> Option<Self> {
        match gone {
            Gone::All => {
                let info = Self::read(&format!("STREAM.INFO.{stream}"), "{}");
                Some(info.awaited("/state/messages", "0"))
            }
            Gone::Stored(seq) => {
                let body = serde_json::json!({ "seq": seq? }).to_string();
                let get = Self::read(&format!("STREAM.MSG.GET.{stream}"), body);
                Some(get.awaited("/error/err_code", NO_MESSAGE))
            }
        }
    }

    /// The same request, repeated until a field of the answers has this value.
    pub fn awaited(self, pointer: &str, value: &str) -> Self {
        match self {
            Self::Request(request) => {
                Self::Await { request, pointer: pointer.to_string(), value: value.to_string() }
            }
            other => other,
        }
    }

    /// A pull.
    pub fn pull(subject: &str, payload: impl Into<String>, count: usize) -> Self {
        match Self::api(subject, payload) {
            Self::Request(request) => Self::Request(Request { answers: Answers::Pull(count), ..request }),
            other => other,
        }
    }
}

/// The text of a session as a scenario file, with how many answers the reference gave to each operation.
pub fn scenario_text(title: &str, operations: &[Operation], answer_counts: &[usize]) -> String {
    let mut text = format!("# {title}\n");
    let mut clients: Vec<usize> = operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Client { connection, .. } => Some(*connection),
            _ => None,
        })
        .collect();
    clients.sort_unstable();
    clients.dedup();
    for client in &clients {
        let _ = writeln!(text, "connect c{client} {{\"user\":\"u{client}\",\"pass\":\"p\"}}");
    }
    let needs_main = operations.iter().any(|operation| match operation {
        Operation::Request(request) => matches!(request.answers, Answers::Pull(_)),
        Operation::Packet { .. }
        | Operation::Acknowledge { .. }
        | Operation::Ask { .. }
        | Operation::Heartbeat { .. } => true,
        Operation::AnswerFlow { .. } => true,
        _ => false,
    });
    if needs_main {
        text.push_str(&main_connection());
    }
    for (index, operation) in operations.iter().enumerate() {
        let count = answer_counts.get(index).copied().unwrap_or(1);
        text.push_str(
            &step_text(index, operation, count, &clients, needs_main)
                .replace(OWN_NAME, "G")
                .replace(AT_SIGN, "@"),
        );
    }
    text
}

fn step_text(
    index: usize,
    operation: &Operation,
    count: usize,
    clients: &[usize],
    needs_main: bool,
) -> String {
    match operation {
        Operation::Request(request) => {
            let message =
                format!("{}{}", bracketed(&request.headers), template::encode(request.payload.as_bytes()));
            match request.answers {
                Answers::One => format!("request {} {message}\n", request.subject),
                Answers::Batch => format!("collect {count} {} {message}\n", request.subject),
                Answers::Pull(_) => format!("m ask {} in {message}\nm < {count}\n", request.subject),
            }
        }
        Operation::Ask { subject, inbox, headers, payload } => {
            let message = format!("{}{}", bracketed(headers), template::encode(payload.as_bytes()));
            format!("m ask {subject} GD.{inbox} {message}\nm quiet 50ms\n")
        }
        Operation::Await { request, pointer, value } => {
            let subject = request.subject.trim_start_matches("$JS.API.");
            format!("until {subject} {} {pointer} = {value}\n", request.payload)
        }
        Operation::Expiring { request, stream, gone } => {
            let text = |operation: &Operation| step_text(index, operation, count, clients, needs_main);
            let shown = Operation::shows_gone(stream, *gone);
            text(&Operation::Request(request.clone())) + &shown.as_ref().map(text).unwrap_or_default()
        }
        Operation::Heartbeat { inbox } => format!("# the next heartbeat on {inbox}\nm quiet 250ms\n"),
        Operation::AnswerFlow { inbox } => format!("# an answer to flow control on {inbox}\nm sync\n"),
        Operation::Acknowledge { nth, payload, .. } => {
            format!("# message {nth} of those so far\nm reply {payload}\nm sync\n")
        }
        Operation::Client { connection, text } => {
            let mut step = format!("c{connection} >> {}\n", template::encode(text.as_bytes()));
            for client in clients {
                let _ = writeln!(step, "c{client} sync");
            }
            step
        }
        Operation::Packet { operations } => {
            let lines: String = operations.iter().map(published).collect();
            format!("m >> {}\nm < {count} sorted\n", template::encode(lines.as_bytes()))
        }
        Operation::Raw { pieces } => {
            let mut step = format!("open r{index}\n");
            for piece in pieces {
                let _ = writeln!(step, "r{index} >> {}", template::encode(piece));
            }
            let _ = writeln!(step, "r{index} quiet 60ms");
            step
        }
        Operation::Restart { kill } => {
            let signal = if *kill { "kill" } else { "term" };
            let again = if needs_main { main_connection() } else { String::new() };
            format!("stop {signal}\nstart\n{again}")
        }
        Operation::Pause { duration_ms } => format!("sleep {duration_ms}ms\n"),
    }
}

fn bracketed(headers: &[String]) -> String {
    match headers {
        [] => String::new(),
        headers => format!("[{}] ", headers.join("; ")),
    }
}

/// A request as the bytes of a packet.
fn published(operation: &Operation) -> String {
    match operation {
        Operation::Request(Request { subject, headers, payload, .. }) if headers.is_empty() => {
            format!("PUB {subject} in {}\r\n{payload}\r\n", payload.len())
        }
        Operation::Request(Request { subject, headers, payload, .. }) => {
            let block = format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n"));
            let (head, all) = (block.len(), block.len() + payload.len());
            format!("HPUB {subject} in {head} {all}\r\n{block}{payload}\r\n")
        }
        _ => String::new(),
    }
}

fn main_connection() -> String {
    let mut text = "connect m\nm > SUB in 1\n".to_string();
    for subject in PUSH_SUBJECTS {
        let _ = writeln!(text, "m > SUB GD.{subject} p{subject}");
    }
    let _ = writeln!(text, "m > SUB GD.{FAST_SUBJECT}.> p{FAST_SUBJECT}");
    text
}
