//! A nats-server of the real kind, and just enough of a client to fill it and to read it back.

use jetkv_compat_tests::oracle::{Tool, Toolbox};
use jetkv_jetstream::Filter;
use jetkv_jetstream::store::Store;
use jetkv_testing::{Wire, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The real nats-server, installed on first use; none where it cannot be, which is an error with `CI=true`.
pub(crate) fn oracle_program() -> Option<PathBuf> {
    Toolbox::default().require(Tool::Server).unwrap().map(|launch| launch.program)
}

/// Copies a directory with everything below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A running nats-server; ended with the value.
pub(crate) struct Oracle {
    child: Child,
    port: u16,
}

impl Oracle {
    pub(crate) fn start(program: &Path, store_dir: &Path) -> Self {
        let ports_dir = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"])
            .arg(store_dir)
            .arg("--ports_file_dir")
            .arg(ports_dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Made first, so that a nats-server that does not start is ended, too.
        let mut oracle = Self { child, port: 0 };
        let file = ports_dir.path().join(format!("nats-server_{}.ports", oracle.child.id()));
        let ports: Value = until("nats-server starts", || {
            let text = std::fs::read(&file).map_err(|error| error.to_string())?;
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        });
        oracle.port = ports["nats"][0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        oracle
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Ends it in order: it syncs and writes its index files.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Client {
    wire: Wire,
    serial: u64,
}

impl Client {
    fn connect(port: u16) -> Self {
        let mut wire = Wire::client(([127, 0, 0, 1], port).into());
        wire.send("SUB r.* 1\r\n");
        Self { wire, serial: 0 }
    }

    /// The next message: subject, reply, headers, payload.
    fn message(&mut self) -> (String, String, Vec<u8>, Vec<u8>) {
        loop {
            let line = self.wire.line();
            let words: Vec<&str> = line.split(' ').collect();
            let lengths = match words[0] {
                "MSG" => 1,
                "HMSG" => 2,
                "PING" => {
                    self.wire.send("PONG\r\n");
                    continue;
                }
                "-ERR" | "" => panic!("server said {line:?}"),
                _ => continue,
            };
            let total: usize = words.last().unwrap().parse().unwrap();
            let headers_len: usize = if lengths == 2 { words[words.len() - 2].parse().unwrap() } else { 0 };
            let reply = if words.len() - lengths == 4 { words[3].to_owned() } else { String::new() };
            let mut body = self.wire.take(total + 2);
            body.truncate(total);
            let payload = body.split_off(headers_len);
            return (words[1].to_owned(), reply, body, payload);
        }
    }

    fn put(&mut self, subject: &str, reply: &str, headers: &str, payload: &[u8]) {
        let mut bytes = Vec::new();
        if headers.is_empty() {
            write!(bytes, "PUB {subject} {reply} {}\r\n", payload.len()).unwrap();
        } else {
            let headers = format!("NATS/1.0\r\n{headers}\r\n");
            write!(
                bytes,
                "HPUB {subject} {reply} {} {}\r\n{headers}",
                headers.len(),
                headers.len() + payload.len()
            )
            .unwrap();
        }
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.wire.send_bytes(&bytes);
    }

    pub(crate) fn request(&mut self, subject: &str, headers: &str, payload: &[u8]) -> Value {
        self.serial += 1;
        let reply = format!("r.{}", self.serial);
        self.put(subject, &reply, headers, payload);
        loop {
            let (subject, _, _, payload) = self.message();
            if subject == reply {
                return serde_json::from_slice(&payload).unwrap_or(Value::Null);
            }
        }
    }

    pub(crate) fn api(&mut self, subject: &str, body: &Value) -> Value {
        let answer = self.request(&format!("$JS.API.{subject}"), "", body.to_string().as_bytes());
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    /// Stores a message and says its sequence.
    pub(crate) fn store(&mut self, subject: &str, headers: &str, payload: &[u8]) -> u64 {
        let answer = self.request(subject, headers, payload);
        answer["seq"].as_u64().unwrap_or_else(|| panic!("{subject}: {answer}"))
    }

    /// Fetches `count` messages of a consumer; acknowledges those whose place in the batch `ack` picks.
    pub(crate) fn fetch(&mut self, stream: &str, consumer: &str, count: usize, ack: impl Fn(usize) -> bool) {
        self.serial += 1;
        let inbox = format!("r.{}", self.serial);
        let body = json!({"batch": count, "expires": 5_000_000_000_u64}).to_string();
        self.put(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), &inbox, "", body.as_bytes());
        let replies: Vec<String> = (0..count).map(|_| self.message().1).collect();
        for (_, reply) in replies.iter().enumerate().filter(|(at, _)| ack(*at)) {
            // An ack that asks for an answer has been processed when the answer is here.
            self.request(reply, "", b"+ACK");
        }
    }

    /// Counters and messages of every stream.
    pub(crate) fn snapshot(&mut self) -> BTreeMap<String, Stream> {
        let list = self.api("STREAM.NAMES", &json!({}));
        let names: Vec<String> = serde_json::from_value(list["streams"].clone()).unwrap_or_default();
        names.into_iter().map(|name| (name.clone(), self.snapshot_of(&name))).collect()
    }

    fn snapshot_of(&mut self, name: &str) -> Stream {
        let info = self.api(&format!("STREAM.INFO.{name}"), &json!({}));
        let number = |key: &str| info["state"][key].as_u64().unwrap_or(0);
        let mut stream = Stream {
            msgs: number("messages"),
            bytes: number("bytes"),
            first_seq: number("first_seq"),
            last_seq: number("last_seq"),
            subjects: number("num_subjects"),
            content: BTreeMap::new(),
        };
        let mut next = stream.first_seq;
        while stream.content.len() < usize::try_from(stream.msgs).unwrap() {
            let body = json!({"seq": next, "next_by_subj": ">"});
            let answer =
                self.request(&format!("$JS.API.STREAM.MSG.GET.{name}"), "", body.to_string().as_bytes());
            assert!(
                answer.get("error").is_none(),
                "{name} from {next}: {answer}; have {} of {}",
                stream.content.len(),
                stream.msgs
            );
            let msg = &answer["message"];
            let seq = msg["seq"].as_u64().unwrap();
            let time: jiff::Timestamp = msg["time"].as_str().unwrap().parse().unwrap();
            let bytes = |key: &str| decode_base64(msg[key].as_str().unwrap_or(""));
            let found = Message {
                subject: msg["subject"].as_str().unwrap().to_owned(),
                ts_ns: i64::try_from(time.as_nanosecond()).unwrap(),
                headers: bytes("hdrs"),
                payload: bytes("data"),
            };
            stream.content.insert(seq, found);
            next = seq + 1;
        }
        stream
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) ts_ns: i64,
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) msgs: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) subjects: u64,
    pub(crate) content: BTreeMap<u64, Message>,
}

/// What a store of ours holds, in the same form.
pub(crate) fn read_store(store: &mut dyn Store) -> Stream {
    let state = store.state();
    let mut content = BTreeMap::new();
    let mut next = 0;
    while let Some(msg) = store.next(&Filter::All, next).unwrap() {
        next = msg.seq + 1;
        let found = Message {
            subject: String::from_utf8(msg.subject.to_vec()).unwrap(),
            ts_ns: msg.ts_ns,
            headers: msg.headers.to_vec(),
            payload: msg.payload.to_vec(),
        };
        content.insert(msg.seq, found);
    }
    assert!(store.state() == state, "reading changed the counters");
    Stream {
        msgs: state.msgs,
        bytes: state.bytes,
        first_seq: state.first_seq,
        last_seq: state.last_seq,
        subjects: state.subjects,
        content,
    }
}
