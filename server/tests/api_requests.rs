//! Requests of the JetStream API wait for threads of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Wire, message, request, start, with_streams};
use jetkv::Server;
use jetkv::options::{AccountOptions, UserOptions};
use tempfile::TempDir;

/// Makes a request and waits for its answer.
fn ask(wire: &mut Wire, subject: &str, body: &str) -> String {
    wire.send(&format!("SUB _ask 9\r\nUNSUB 9 1\r\n{}", request(subject, "_ask", body)));
    let (to, answer) = message(wire);
    assert_eq!(to, "_ask");
    answer
}

fn create(wire: &mut Wire, name: &str, subjects: &str) {
    let config = format!(
        r#"{{"name":"{name}","subjects":["{subjects}"],"storage":"memory","allow_direct":true,"max_msgs_per_subject":1}}"#
    );
    let answer = ask(wire, &format!("STREAM.CREATE.{name}"), &config);
    assert!(answer.contains("\"did_create\":true"), "{answer}");
}

fn with_bucket() -> (TempDir, Server, Wire) {
    let (directory, options) = with_streams();
    let server = start(options);
    let mut wire = Wire::client(&server);
    create(&mut wire, "KV", "kv.>");
    (directory, server, wire)
}

/// Puts a value under each of `keys` keys.
fn fill(wire: &mut Wire, keys: usize) {
    let puts: String = (0..keys).map(|key| format!("PUB kv.a.{key} 1\r\nx\r\n")).collect();
    wire.send(&puts);
    wire.send("SUB _last 8\r\nUNSUB 8 1\r\nPUB kv.a.0 _last 1\r\nx\r\n");
    assert_eq!(message(wire).0, "_last");
}

#[test]
fn a_request_is_answered_where_the_subscription_to_the_answer_comes_behind_it() {
    let (_directory, server, mut wire) = with_bucket();
    fill(&mut wire, 1);
    let durable = r#"{"stream_name":"KV","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    assert!(ask(&mut wire, "CONSUMER.DURABLE.CREATE.KV.C", durable).contains("\"name\":\"C\""));
    for (subject, body) in [
        ("INFO", ""),
        ("STREAM.INFO.KV", ""),
        ("STREAM.NAMES", ""),
        ("CONSUMER.INFO.KV.C", ""),
        ("STREAM.MSG.GET.KV", r#"{"seq":1}"#),
        ("STREAM.MSG.GET.KV", r#"{"last_by_subj":"kv.a.0"}"#),
        ("DIRECT.GET.KV", r#"{"last_by_subj":"kv.a.0"}"#),
        ("DIRECT.GET.KV.kv.a.0", ""),
    ] {
        let mut late = Wire::client(&server);
        late.send(&format!("{}SUB _late 1\r\n", request(subject, "_late", body)));
        assert_eq!(message(&mut late).0, "_late", "{subject}");
    }
}

#[test]
fn answers_leave_behind_the_acknowledgements_of_what_was_published_before() {
    let (_directory, _server, mut wire) = with_bucket();
    let put = "PUB kv.x ack 1\r\nx\r\n";
    let get = request("DIRECT.GET.KV.kv.x", "get", "");
    let info = request("STREAM.INFO.KV", "info", "");
    wire.send(&format!("SUB ack 1\r\nSUB get 2\r\nSUB info 3\r\n{put}{get}{put}{get}{put}{info}"));
    let answers: Vec<(String, String)> = (0..6).map(|_| message(&mut wire)).collect();
    let order: Vec<&str> = answers.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(order, ["ack", "ack", "ack", "get", "get", "info"]);
    assert!(answers[3].1.contains("Nats-Sequence: 1\r\n") && answers[4].1.contains("Nats-Sequence: 2\r\n"));
    assert!(answers[5].1.contains("\"last_seq\":3"), "{}", answers[5].1);
}

#[test]
fn the_next_get_of_a_key_sees_every_change_to_streams_and_listeners() {
    let (_directory, server, mut wire) = with_bucket();
    fill(&mut wire, 2);
    // Its subscription stays, so that nothing but what is changed here makes the server look again.
    wire.send("SUB _got 7\r\n");
    let asked = |wire: &mut Wire, subject: &str, body: &str| {
        wire.send(&request(subject, "_got", body));
        let (to, answer) = message(wire);
        assert_eq!(to, "_got");
        answer
    };
    let got = |wire: &mut Wire, key: &str| asked(wire, &format!("DIRECT.GET.KV.{key}"), "");
    let both_are_there = |wire: &mut Wire| {
        for key in ["kv.a.0", "kv.a.1"] {
            assert!(got(wire, key).contains(&format!("Nats-Subject: {key}\r\n")), "{key}");
        }
        assert!(got(wire, "kv.a.2").starts_with("NATS/1.0 404"));
    };
    both_are_there(&mut wire);

    let mut listener = Wire::client(&server);
    listener.send("SUB $JS.API.DIRECT.GET.KV.> 1\r\n");
    listener.expect_nothing();
    both_are_there(&mut wire);
    for key in ["kv.a.0", "kv.a.1", "kv.a.2"] {
        assert_eq!(message(&mut listener).0, format!("$JS.API.DIRECT.GET.KV.{key}"));
    }
    listener.send("UNSUB 1\r\n");
    listener.expect_nothing();
    both_are_there(&mut wire);

    // What looks like a key and is none takes the other way, and leads to the same stream.
    assert!(got(&mut wire, "kv.a.*").contains("Nats-Subject: kv.a.0\r\n"));
    assert!(got(&mut wire, "kv.\u{e9}").starts_with("NATS/1.0 404"));
    assert!(asked(&mut wire, "DIRECT.GET.KV.kv.a.0", "{\"seq\":1}").starts_with("NATS/1.0 408"));

    let other = r#"{"name":"KV","subjects":["kv.>"],"storage":"memory","allow_direct":true}"#;
    assert!(asked(&mut wire, "STREAM.DELETE.KV", "").contains("\"success\":true"));
    assert!(got(&mut wire, "kv.a.0").starts_with("NATS/1.0 503"));
    assert!(asked(&mut wire, "STREAM.CREATE.KV", other).contains("\"did_create\":true"));
    assert!(got(&mut wire, "kv.a.0").starts_with("NATS/1.0 404"), "it is another stream");
    wire.send("PUB kv.a.0 _got 1\r\ny\r\n");
    assert!(message(&mut wire).1.contains("\"seq\":1"));
    assert!(got(&mut wire, "kv.a.0").contains("\r\n\r\ny"));
    let closed = other.replace("\"allow_direct\":true", "\"allow_direct\":false");
    assert!(!asked(&mut wire, "STREAM.UPDATE.KV", &closed).contains("\"error\""));
    assert!(got(&mut wire, "kv.a.0").starts_with("NATS/1.0 503"));
}

fn user(name: &str, account: &str) -> UserOptions {
    UserOptions {
        username: name.into(),
        password: "p".into(),
        account: Some(account.into()),
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    }
}

#[test]
fn a_full_queue_drops_what_waits_in_it_and_says_how_much() {
    let (_directory, mut options) = with_streams();
    options.accounts = ["A", "SYS"].map(AccountOptions::new).into();
    options.accounts[0].jetstream = Some(jetkv::options::AccountJetStreamTiers::default());
    options.system_account = Some("SYS".into());
    options.auth.users = vec![user("a", "A"), user("s", "SYS")];
    options.jetstream.request_queue_limit = 4;
    let server = start(options);
    let mut system = Wire::client_with(&server, ",\"user\":\"s\",\"pass\":\"p\"");
    system.send("SUB $JS.EVENT.ADVISORY.API.LIMIT_REACHED 1\r\n");
    system.expect_nothing();
    let mut wire = Wire::client_with(&server, ",\"user\":\"a\",\"pass\":\"p\"");
    create(&mut wire, "KV", "kv.>");
    wire.send("SUB _answer 1\r\n");
    // The threads take requests out meanwhile; sooner or later they are slower than one read.
    let burst = request("STREAM.MSG.GET.KV", "_none", r#"{"seq":1}"#).repeat(500);
    wire.send(&burst);
    system.send("PING\r\n");
    let mut burst_again = 0;
    let advisory = loop {
        let line = system.line();
        if line == "PONG" {
            burst_again += 1;
            assert!(burst_again < 10_000, "the queue never filled");
            wire.send(&burst);
            system.send("PING\r\n");
        } else if line.starts_with("MSG $JS.EVENT.ADVISORY.API.LIMIT_REACHED 1 ") {
            break system.line();
        }
    };
    assert!(advisory.contains("\"type\":\"io.nats.jetstream.advisory.v1.api_limit_reached\""), "{advisory}");
    assert!(advisory.contains("\"dropped\":4"), "{advisory}");
    // What comes when there is room again is served. All of the bursts is queued or dropped once a PING behind them is
    // answered, and what is queued is served before what asks how things are.
    wire.expect_nothing();
    assert!(ask(&mut wire, "INFO", "").contains("\"streams\":1"));
    assert!(ask(&mut wire, "STREAM.MSG.GET.KV", r#"{"seq":1}"#).contains("no message found"));
}

/// Connections of one client each, on every thread of the server.
fn idle_connections(server: &Server) -> Vec<Wire> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    (0..=threads).map(|_| Wire::client(server)).collect()
}

/// A connection that puts values into the bucket.
fn putter(server: &Server) -> Wire {
    let mut wire = Wire::client(server);
    wire.send("SUB _put 1\r\n");
    wire
}

/// How long it took until a put was acknowledged and each of `idle` had answered a PING.
fn round(idle: &mut [Wire], putter: &mut Wire) -> Duration {
    let began = Instant::now();
    putter.send("PUB kv.a.0 _put 1\r\nx\r\n");
    idle.iter_mut().for_each(|wire| wire.send("PING\r\n"));
    idle.iter_mut().for_each(|wire| wire.expect("PONG\r\n"));
    assert_eq!(message(putter).0, "_put");
    began.elapsed()
}

/// A burst is long enough to tell a connection that waits for all of it from one that does not.
const LONG: Duration = Duration::from_millis(500);
/// No burst is longer than this: what a client may write at once.
const BURST_BYTES: usize = 64 << 10;
/// Part of a burst's time that an idle connection may wait, and the multiple of what it waits without a burst.
const PART: u32 = 3;
const MULTIPLE: u32 = 50;

/// Attempts of which one must show that nobody waits: whatever else the machine does may hold up any of them, and a
/// server whose connections wait for a burst shows it each time.
const ATTEMPTS: usize = 5;

/// What floods a server: each message is answered by one.
struct Flood {
    /// What the burst repeats.
    message: String,
    /// How often at most.
    most: usize,
    /// What is published before each burst, so often.
    before: Option<(&'static str, usize)>,
}

impl Flood {
    fn of(message: String) -> Self {
        Self { most: (BURST_BYTES / message.len()).max(1), message, before: None }
    }

    /// A message that rolls up what is published before it.
    fn rolling_up(subject: &str, value: &str, before: (&'static str, usize)) -> Self {
        let headers = format!("NATS/1.0\r\nNats-Rollup: {value}\r\n\r\n");
        let (head, all) = (headers.len(), headers.len() + 1);
        let message = format!("HPUB {subject} _flood {head} {all}\r\n{headers}x\r\n");
        Self { most: 1, message, before: Some(before) }
    }

    /// Floods a server until an attempt shows that idle connections do not wait for it.
    fn holds_up_nobody(&self, server: &Server) {
        let mut failures = Vec::new();
        while let Err(failure) = self.attempt(server) {
            failures.push(failure);
            assert!(failures.len() < ATTEMPTS, "{failures:#?}");
        }
    }

    /// Sends bursts, twice as many each time until they take long, and compares what idle connections, and who puts into a
    /// bucket, wait with that, and with what they wait without.
    fn attempt(&self, server: &Server) -> Result<(), String> {
        let (mut idle, mut putter) = (idle_connections(server), putter(server));
        let without = (0..20).map(|_| round(&mut idle, &mut putter)).max().unwrap();
        let mut count = self.most.min(4);
        loop {
            let (took, longest) = self.burst(server, count, &mut idle, &mut putter);
            if took >= LONG || count >= self.most {
                if longest < took / PART || longest < without * MULTIPLE {
                    return Ok(());
                }
                let message = &self.message;
                return Err(format!(
                    "{count} of {message:?} took {took:?}; waited {longest:?}, without {without:?}"
                ));
            }
            count = (count * 2).min(self.most);
        }
    }

    /// How long a burst took, and the longest round meanwhile.
    fn burst(
        &self,
        server: &Server,
        count: usize,
        idle: &mut [Wire],
        putter: &mut Wire,
    ) -> (Duration, Duration) {
        let mut flooding = Wire::client(server);
        if let Some((subject, times)) = self.before {
            flooding.send(&format!("PUB {subject} 1\r\nx\r\n").repeat(times));
            flooding.expect_nothing();
        }
        flooding.send("SUB _flood 1\r\n");
        let burst = self.message.repeat(count);
        std::thread::scope(|scope| {
            let began = Instant::now();
            let served = scope.spawn(move || {
                flooding.send(&burst);
                (0..count).for_each(|_| assert_eq!(message(&mut flooding).0, "_flood"));
                began.elapsed()
            });
            let mut longest = Duration::ZERO;
            while !served.is_finished() {
                longest = longest.max(round(idle, putter));
            }
            (served.join().unwrap(), longest)
        })
    }
}

/// Messages in each of the streams that are flooded.
const MSGS: usize = 100_000;

#[test]
fn no_flood_makes_idle_connections_or_puts_wait_for_it() {
    let (_directory, server, mut wire) = with_bucket();
    fill(&mut wire, MSGS);
    let none = "kv.*.*.none";
    let create = |config: &str| format!(r#"{{"stream_name":"KV","config":{{{config}}}}}"#);
    // Of several shapes, some of which match.
    let filters = (0..50).map(|number| match number % 3 {
        0 => format!("\"kv.*.{number}\""),
        1 => format!("\"kv.a.{number}.>\""),
        _ => format!("\"kv.*.*.{number}\""),
    });
    let filters = filters.collect::<Vec<_>>().join(",");
    let floods = [
        ("STREAM.INFO.KV", r#"{"subjects_filter":">"}"#.to_owned()),
        ("STREAM.INFO.KV", format!(r#"{{"subjects_filter":"{none}"}}"#)),
        ("STREAM.INFO.KV", r#"{"deleted_details":true}"#.to_owned()),
        ("STREAM.PURGE.KV", format!(r#"{{"filter":"{none}"}}"#)),
        ("STREAM.MSG.GET.KV", format!(r#"{{"seq":1,"next_by_subj":"{none}"}}"#)),
        ("STREAM.MSG.GET.KV", format!(r#"{{"last_by_subj":"{none}"}}"#)),
        ("DIRECT.GET.KV", format!(r#"{{"multi_last":["{none}","kv.*.1.none"]}}"#)),
        (
            "CONSUMER.CREATE.KV",
            create(&format!(r#""filter_subject":"{none}","deliver_policy":"last_per_subject""#)),
        ),
        ("CONSUMER.CREATE.KV", create(&format!(r#""filter_subjects":[{filters}],"ack_policy":"none""#))),
    ];
    for (subject, body) in floods {
        Flood::of(request(subject, "_flood", &body)).holds_up_nobody(&server);
    }
}

#[test]
fn no_message_that_rolls_up_a_stream_makes_idle_connections_or_puts_wait_for_it() {
    let (_directory, server, mut wire) = with_bucket();
    for name in ["one", "all"] {
        let config = format!(
            r#"{{"name":"{name}","subjects":["{name}.>"],"storage":"memory","allow_rollup_hdrs":true}}"#
        );
        let answer = ask(&mut wire, &format!("STREAM.CREATE.{name}"), &config);
        assert!(answer.contains("\"did_create\":true"), "{answer}");
    }
    Flood::rolling_up("one.a", "sub", ("one.a", MSGS)).holds_up_nobody(&server);
    Flood::rolling_up("all.b", "all", ("all.a", MSGS)).holds_up_nobody(&server);
}
