//! Origins that answer, and deliver, what no server does. They are in another account as often as not, so what they send is as
//! foreign as what any client sends.

use std::collections::BTreeMap;
use std::time::Duration;

use jetkv::Server;
use jetkv_testing::eventually;
use serde_json::Value;

use crate::common::Wire;
use crate::common::lab::{api, lab_server};

/// What a hostile origin sends, when it is asked for a consumer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Nothing at all.
    None,
    /// These bytes.
    Raw(&'static str),
    /// JSON that is nested deeply.
    Deep,
    /// A consumer whose deliveries begin behind a sequence.
    Consumer { delivered: u64 },
}

/// A message on the subject of the deliveries: headers, reply and payload.
type Delivery = (&'static str, &'static str, &'static str);

const BEAT: &str = "NATS/1.0 100 Idle Heartbeat\r\n\r\n";
const FLOW: &str = "NATS/1.0 100 FlowControl Request\r\n\r\n";
/// Who asks so is answered when everything before it was taken in.
const DONE: Delivery = (FLOW, "$JS.FC.done", "");
const KINDS: [(&str, &str); 4] =
    [("mirror", "file"), ("mirror", "memory"), ("sources", "file"), ("sources", "memory")];

/// An origin, as it is used by streams that follow it.
struct Origin {
    /// Where it is asked.
    wire: Wire,
    /// On which it answers and delivers, and hears what is sent to others because of that.
    voice: Wire,
}

/// A request for a consumer.
struct Asked {
    /// The stream that asks.
    by: String,
    reply: String,
    deliver: String,
}

impl Origin {
    fn new(server: &Server) -> Self {
        let mut wire = Wire::client(server);
        wire.send("SUB evil.*.API.> 1\r\n");
        wire.expect_nothing();
        let mut voice = Wire::client(server);
        voice.send("SUB $JS.FC.> 2\r\nSUB victim.> 3\r\nSUB unheard 4\r\n");
        voice.expect_nothing();
        Self { wire, voice }
    }

    /// The next request.
    fn asked(&mut self) -> Asked {
        let (words, body) = self.message();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let deliver = body["config"]["deliver_subject"].as_str().unwrap().to_owned();
        let by = words[1].split('.').nth(1).unwrap().to_owned();
        Asked { by, reply: words[3].clone(), deliver }
    }

    /// The next message: the words of its first line, and its payload.
    fn message(&mut self) -> (Vec<String>, Vec<u8>) {
        let line = self.wire.line();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let size = |from_end: usize| words[words.len() - from_end].parse::<usize>().unwrap();
        let mut body = self.wire.take(size(1) + 2);
        body.truncate(size(1));
        if words[0] == "HMSG" {
            body.drain(..size(2));
        }
        (words, body)
    }

    /// Waits until somebody listens for the deliveries.
    fn wait_for_listener(&mut self, asked: &Asked) {
        let deliver = &asked.deliver;
        eventually("nobody listens", || {
            self.voice.send(&format!("PUB {deliver} unheard 0\r\n\r\nPING\r\n"));
            let is_heard = self.voice.line() == "PONG";
            if !is_heard {
                self.voice.expect(&format!("NATS/1.0 503\r\nNats-Subject: {deliver}\r\n\r\n\r\nPONG\r\n"));
            }
            is_heard
        });
    }

    fn answer(&mut self, asked: &Asked, answer: Answer) {
        let body = match answer {
            Answer::None => return,
            Answer::Raw(text) => text.to_owned(),
            Answer::Deep => format!("{{\"config\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            Answer::Consumer { delivered } => consumer(&asked.deliver, delivered),
        };
        self.voice.send(&format!("PUB {} {}\r\n{body}\r\n", asked.reply, body.len()));
    }

    fn deliver(&mut self, asked: &Asked, (headers, reply, payload): Delivery) {
        let (head, all) = (headers.len(), headers.len() + payload.len());
        let to = &asked.deliver;
        let text = match headers {
            "" => format!("PUB {to} {reply} {all}\r\n{payload}\r\n"),
            _ => format!("HPUB {to} {reply} {head} {all}\r\n{headers}{payload}\r\n"),
        };
        self.voice.send(&text);
    }
}

fn consumer(deliver: &str, delivered: u64) -> String {
    format!(
        r#"{{"name":"C","config":{{"deliver_subject":"{deliver}","ack_policy":"none"}},"delivered":{{"stream_seq":{delivered}}}}}"#
    )
}

/// Has streams ask their origins that were made since time stood still. As it does so again, nobody is given up for being slow.
fn let_them_ask(server: &Server) {
    server.lab().unwrap().advance(Duration::from_secs(1));
}

/// A stream that follows a hostile origin.
fn follow(client: &mut Wire, name: &str, kind: &str, storage: &str) {
    let origin =
        format!(r#"{{"name":"O","external":{{"api":"evil.{name}.API","deliver":"evil.{name}.D"}}}}"#);
    let origins = if kind == "mirror" { origin } else { format!("[{origin}]") };
    let config = format!(r#"{{"name":"{name}","storage":"{storage}","{kind}":{origins}}}"#);
    api(client, &format!("STREAM.CREATE.{name}"), &config);
}

fn state(client: &mut Wire, name: &str) -> Value {
    api(client, &format!("STREAM.INFO.{name}"), "")["state"].clone()
}

/// Everything else goes on: a stream that follows nobody takes what it gets.
fn others_go_on(client: &mut Wire) {
    api(client, "STREAM.CREATE.OWN", r#"{"name":"OWN","subjects":["own"],"storage":"memory"}"#);
    client.send("PUB own 1\r\nx\r\n");
    client.expect_nothing();
    assert_eq!(state(client, "OWN")["messages"], 1);
    api(client, "STREAM.DELETE.OWN", "");
}

/// What no server sends is taken in by mirrors and sources, in files and in memory, and they can be asked and deleted afterwards.
#[test]
fn whatever_an_origin_sends_those_who_follow_it_go_on() {
    let good = Answer::Consumer { delivered: 0 };
    let answers = [
        (Answer::None, vec![]),
        (Answer::Raw("nonsense"), vec![]),
        (Answer::Raw(""), vec![]),
        (Answer::Raw("{}"), vec![]),
        (Answer::Raw(r#"{"config":{"deliver_subject":7},"name":[]}"#), vec![]),
        (Answer::Raw(r#"{"error":{"code":99999999,"err_code":-1,"description":null}}"#), vec![]),
        (Answer::Raw(r#"{"error":{"code":400,"err_code":10185,"description":"no"}}"#), vec![]),
        (Answer::Raw(r#"{"name":"C","config":{"deliver_subject":""}}"#), vec![]),
        (Answer::Raw(r#"{"name":"C","config":{"deliver_subject":"a..b c"}}"#), vec![]),
        (Answer::Deep, vec![]),
        (Answer::Consumer { delivered: u64::MAX }, vec![(BEAT, "", "")]),
        (Answer::Consumer { delivered: u64::MAX - 1 }, vec![(BEAT, "", "")]),
        (Answer::Consumer { delivered: 1 << 62 }, vec![(BEAT, "", "")]),
        (good, vec![("", "", "x"), ("", "x", ""), ("NATS/1.0\r\n: : :\r\nNats-\r\n\r\n", "x", "x")]),
        (
            good,
            vec![("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 18446744073709551615\r\n\r\n", "", "")],
        ),
        (good, vec![("NATS/1.0 100 \r\nNats-Last-Consumer: -1\r\nNats-Consumer-Stalled: \r\n\r\n", "", "")]),
        (good, vec![(BEAT, "", ""), (BEAT, "", ""), ("NATS/1.0 503\r\n\r\n", "", "")]),
    ];
    let (_directory, server) = lab_server(None);
    let (mut client, mut origin) = (Wire::client(&server), Origin::new(&server));
    server.lab().unwrap().freeze();
    let mut waiting = BTreeMap::new();
    for (kind, storage) in KINDS {
        for (at, attack) in answers.iter().enumerate() {
            let name = format!("{kind}-{storage}-{at}");
            follow(&mut client, &name, kind, storage);
            waiting.insert(name, attack);
        }
    }
    let_them_ask(&server);
    let names: Vec<String> = waiting.keys().cloned().collect();
    while !waiting.is_empty() {
        // Who is refused for its level asks again, for less.
        let asked = origin.asked();
        let Some((answer, deliveries)) = waiting.remove(&asked.by) else { continue };
        origin.answer(&asked, *answer);
        if !deliveries.is_empty() {
            origin.wait_for_listener(&asked);
        }
        deliveries.iter().for_each(|delivery| origin.deliver(&asked, *delivery));
    }
    others_go_on(&mut client);
    for name in names {
        state(&mut client, &name);
        api(&mut client, &format!("STREAM.DELETE.{name}"), "");
    }
}

/// Who may send to where a mirror or source listens may not publish by it what he may not publish himself.
#[test]
fn nobody_publishes_by_an_answer_to_flow_control() {
    let (_directory, server) = lab_server(None);
    let (mut client, mut origin) = (Wire::client(&server), Origin::new(&server));
    server.lab().unwrap().freeze();
    for (kind, storage) in KINDS {
        let name = format!("{kind}-{storage}");
        follow(&mut client, &name, kind, storage);
        let_them_ask(&server);
        let asked = origin.asked();
        origin.answer(&asked, Answer::Consumer { delivered: 0 });
        origin.wait_for_listener(&asked);
        for attack in [
            (FLOW, "victim.flow", ""),
            ("NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: victim.stalled\r\n\r\n", "", ""),
            ("NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.>\r\n\r\n", "", ""),
            DONE,
        ] {
            origin.deliver(&asked, attack);
        }
        assert!(origin.voice.line().starts_with("HMSG $JS.FC.done 2 "), "the only thing that is said");
        origin.voice.expect("NATS/1.0\r\nNats-Last-Consumer: 0\r\nNats-Last-Stream: 0\r\n\r\n\r\n");
    }
}

/// A consumer of another stream that delivers to where a mirror or source listens brings nothing in.
#[test]
fn only_the_consumer_that_was_asked_for_is_listened_to() {
    let (_directory, server) = lab_server(None);
    let (mut client, mut origin) = (Wire::client(&server), Origin::new(&server));
    server.lab().unwrap().freeze();
    api(&mut client, "STREAM.CREATE.OTHER", r#"{"name":"OTHER","subjects":["other"],"storage":"memory"}"#);
    client.send("PUB other 6\r\nforged\r\n");
    for (kind, storage) in KINDS {
        let name = format!("{kind}-{storage}");
        follow(&mut client, &name, kind, storage);
        let_them_ask(&server);
        let asked = origin.asked();
        origin.answer(&asked, Answer::Consumer { delivered: 0 });
        origin.wait_for_listener(&asked);
        // The last one has the name that the origin's consumer has.
        for (consumer, messages) in [("X", 0), ("C", 1)] {
            let config = format!(
                r#"{{"stream_name":"OTHER","config":{{"name":"{consumer}","deliver_subject":"{}","ack_policy":"none"}}}}"#,
                asked.deliver
            );
            api(&mut client, &format!("CONSUMER.CREATE.OTHER.{consumer}"), &config);
            let consumed = || api(&mut client, &format!("CONSUMER.INFO.OTHER.{consumer}"), "");
            let mut consumed = consumed;
            eventually("it delivers", || consumed()["delivered"]["consumer_seq"] == 1);
            if messages == 0 {
                // What is asked behind it is answered behind it.
                origin.deliver(&asked, DONE);
                assert!(origin.voice.line().starts_with("HMSG $JS.FC.done 2 "));
                origin.voice.expect("NATS/1.0\r\nNats-Last-Consumer: 0\r\nNats-Last-Stream: 0\r\n\r\n\r\n");
                assert_eq!(state(&mut client, &name)["messages"], 0);
            } else {
                eventually("it is taken in", || state(&mut client, &name)["messages"] == 1);
            }
            api(&mut client, &format!("CONSUMER.DELETE.OTHER.{consumer}"), "");
        }
    }
}
