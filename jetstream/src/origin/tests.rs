//! The state machine, told of time and of what came, and asked what it wants done.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::{Act, Heard, Held, Here, Origins, Positions, Told};
use crate::clock::ElapsedNs;
use crate::config::StreamConfig;
use crate::message::OutMsg;
use jetkv_go_compat::json;

const SECOND: u64 = 1_000_000_000;

/// A stream with origins, at a moment.
struct World {
    origins: Origins,
    now: ElapsedNs,
    held: Held,
}

/// What was asked of an origin.
struct Asked {
    channel: u64,
    subject: String,
    headers: String,
    body: serde_json::Value,
}

impl World {
    fn new(config: &str) -> Self {
        let mut world = Self { origins: Origins::default(), now: ElapsedNs::ORIGIN, held: Held::default() };
        world.adopt(config, &Positions::new());
        world
    }

    fn adopt(&mut self, config: &str, positions: &Positions) {
        let mut read = StreamConfig::default();
        json::decode_lenient(config.as_bytes(), &mut read).unwrap();
        let here = here(self.now, self.held);
        self.origins.adopt(&read, (positions, &Told::new()), &here);
    }

    /// Lets time pass, and gives what is to be done.
    fn pass(&mut self, ns: u64) -> Vec<Act> {
        self.now = self.now.plus(ns);
        self.origins.tick(&here(self.now, self.held));
        self.origins.take_acts()
    }

    /// Lets time pass until something is asked.
    fn asked(&mut self) -> Asked {
        let due = self.origins.deadline().unwrap();
        let acts = self.pass(due.since(self.now));
        asked(acts)
    }

    fn hear(&mut self, channel: u64, msg: &OutMsg<'_>) -> Option<(String, String, u64)> {
        let here = here(self.now, self.held);
        match self.origins.hear(channel, msg, &here) {
            Heard::Store(brought) => {
                let headers = String::from_utf8_lossy(&brought.headers).into_owned();
                let subject = String::from_utf8_lossy(&brought.subject).into_owned();
                let (of, seq) = (brought.of, brought.seq);
                self.held.last_seq += 1;
                self.held.msgs += 1;
                self.origins.storing(of);
                self.origins.stored(of, Some(self.held.last_seq));
                Some((subject, headers, seq))
            }
            _ => None,
        }
    }

    /// Answers a request well; gives the channel of the deliveries.
    fn answer(&mut self, asked: &Asked, identity: &str) -> u64 {
        let deliver = asked.body["config"]["deliver_subject"].as_str().unwrap_or("d");
        let answer = format!(
            r#"{{"name":"C","config":{{"deliver_subject":"{deliver}","ack_policy":"none"}},"delivered":{{"stream_seq":0}}}}"#
        );
        let headers = format!("NATS/1.0\r\nNats-Stream-Identity: {identity}\r\n\r\n");
        self.hear(asked.channel, &msg("", &headers, &answer));
        let mut acts = self.origins.take_acts();
        acts.retain(|act| !matches!(act, Act::Warn(_)));
        match acts.as_slice() {
            [Act::Unlisten { channel }, Act::Listen { channel: deliveries, subject }] => {
                assert_eq!((*channel, subject.as_str()), (asked.channel, deliver));
                *deliveries
            }
            other => panic!("{other:?}"),
        }
    }

    fn hurry(&mut self) {
        self.origins.hurry(&here(self.now, self.held));
    }

    fn refuse(&mut self, asked: &Asked, err_code: u16) {
        let answer = format!(r#"{{"error":{{"code":400,"err_code":{err_code},"description":"no"}}}}"#);
        self.hear(asked.channel, &msg("", "", &answer));
    }

    /// When it is to ask next, in seconds from now.
    fn due_secs(&self) -> u64 {
        self.origins.deadline().unwrap().since(self.now) / SECOND
    }
}

fn here(now: ElapsedNs, held: Held) -> Here<'static> {
    Here { stream: "S", account: "A", domain: "", now, held, random: 4711 }
}

fn asked(acts: Vec<Act>) -> Asked {
    let mut channel = None;
    for act in acts {
        match act {
            Act::Listen { channel: on, .. } => channel = Some(on),
            Act::Publish { subject, headers, payload, .. } => {
                let (headers, body) =
                    (String::from_utf8(headers).unwrap(), serde_json::from_slice(&payload).unwrap());
                return Asked { channel: channel.unwrap(), subject, headers, body };
            }
            _ => {}
        }
    }
    panic!("nothing was asked");
}

fn msg<'m>(reply: &'m str, headers: &'m str, payload: &'m str) -> OutMsg<'m> {
    OutMsg {
        to: b"d",
        subject: b"o.a",
        reply: reply.as_bytes(),
        headers: headers.as_bytes(),
        payload: payload.as_bytes(),
    }
}

const SOURCE: &str = r#"{"name":"S","sources":[{"name":"O"}]}"#;

#[test]
fn a_source_asks_stores_what_comes_and_says_where_it_is_from() {
    let mut world = World::new(SOURCE);
    assert!(world.pass(99_000_000).is_empty(), "not at once");
    let asked = world.asked();
    assert_eq!(asked.subject, "$JS.API.CONSUMER.CREATE.O");
    assert_eq!(asked.body["config"]["deliver_policy"], "all");
    assert!(asked.headers.contains("Nats-Required-Api-Level: 5"), "{}", asked.headers);
    let channel = world.answer(&asked, "ident");
    let brought = world
        .hear(channel, &msg("$JS.ACK.O.C.1.5.1.99.3", "NATS/1.0\r\nNats-Expected-Stream: O\r\n\r\n", "x"));
    let headers = "NATS/1.0\r\nNats-Stream-Source: O 5 > > o.a ident\r\n\r\n";
    assert_eq!(brought, Some(("o.a".into(), headers.into(), 5)));
    let info = &world.origins.sources_info(world.now)[0];
    assert_eq!((info.lag, info.seq, info.active_ns), (2, 5, 0));
}

#[test]
fn what_came_before_is_left_out_and_a_gap_begins_again_behind_what_is_stored() {
    let mut world = World::new(SOURCE);
    let first = world.asked();
    let channel = world.answer(&first, "ident");
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.5.1.99.3", "", "x")).is_some());
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.5.2.99.3", "", "x")).is_none(), "it came before");
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.9.4.99.3", "", "x")).is_none(), "one is missing");
    assert_eq!(world.origins.take_acts(), [Act::Unlisten { channel }]);
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.6.3.99.3", "", "x")).is_none(), "it listens no more");
    let again = world.asked();
    assert_eq!(again.body["config"]["opt_start_seq"], 6);
    assert!(again.headers.contains("Nats-Stream-Identity: ident"));
}

#[test]
fn a_heartbeat_tells_of_what_is_missing_and_silence_is_not_waited_out() {
    let mut world = World::new(SOURCE);
    let first = world.asked();
    let channel = world.answer(&first, "");
    let beat = "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\r\n";
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.1.1.99.0", "", "x")).is_some());
    world.hear(channel, &msg("", beat, ""));
    assert!(world.origins.take_acts().is_empty(), "nothing is missing");
    world.hear(channel, &msg("", "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\n\r\n", ""));
    assert_eq!(world.origins.take_acts(), [Act::Unlisten { channel }]);
    let second = world.asked();
    let channel = world.answer(&second, "");
    assert!(world.pass(9 * SECOND).is_empty());
    assert_eq!(world.pass(SECOND), [Act::Unlisten { channel }], "nothing was heard for ten seconds");
}

#[test]
fn failures_are_waited_for_longer_each_time_and_two_minutes_at_most() {
    let mut world = World::new(SOURCE);
    let mut waits = Vec::new();
    for _ in 0..14 {
        let asked = world.asked();
        world.refuse(&asked, 10059);
        world.origins.take_acts();
        waits.push(world.due_secs());
    }
    assert_eq!(waits[..4], [12, 22, 32, 42]);
    assert_eq!(waits[13], 122);
    assert_eq!(world.origins.sources_info(world.now)[0].error.as_ref().unwrap().err_code, 10059);
    let asked = world.asked();
    world.answer(&asked, "");
    assert!(world.origins.sources_info(world.now)[0].error.is_none());
}

#[test]
fn where_the_way_opens_again_failures_are_forgotten_and_what_is_read_goes_on() {
    let mut world = World::new(SOURCE);
    for _ in 0..5 {
        let asked = world.asked();
        world.refuse(&asked, 10059);
        world.origins.take_acts();
    }
    assert!(world.due_secs() > 40);
    world.hurry();
    assert!(world.due_secs() <= 2, "it asks soon");
    let asked = world.asked();
    // Nobody knows whether the request got through.
    world.pass(3 * SECOND);
    world.hurry();
    assert_eq!(world.origins.take_acts(), [Act::Unlisten { channel: asked.channel }]);
    let again = world.asked();
    let channel = world.answer(&again, "");
    world.hurry();
    assert_eq!(world.origins.take_acts(), [], "it reads");
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.1.1.99.0", "", "x")).is_some());
    world.now = world.now.plus(10 * SECOND);
    world.hurry();
    assert_eq!(world.origins.take_acts(), [Act::Unlisten { channel }], "nothing was heard for ten seconds");
    assert!(world.due_secs() <= 2);
}

#[test]
fn a_request_without_an_answer_is_made_again() {
    let mut world = World::new(SOURCE);
    let asked = world.asked();
    assert!(world.pass(29 * SECOND).is_empty());
    assert_eq!(world.pass(SECOND), [Act::Unlisten { channel: asked.channel }]);
    assert_eq!(world.due_secs(), 10);
}

#[test]
fn another_stream_of_that_name_is_taken_from_its_beginning() {
    let mut world = World::new(SOURCE);
    let first = world.asked();
    let channel = world.answer(&first, "old");
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.5.1.99.0", "", "x")).is_some());
    world.pass(10 * SECOND);
    let again = world.asked();
    world.refuse(&again, 10225);
    world.origins.take_acts();
    let anew = world.asked();
    assert_eq!(anew.body["config"]["deliver_policy"], "all");
    let channel = world.answer(&anew, "new");
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.1.1.99.0", "", "x")).is_some());
}

#[test]
fn an_older_server_is_asked_for_less() {
    let mut world = World::new(SOURCE);
    let asked5 = world.asked();
    world.refuse(&asked5, 10185);
    let asked4 = asked(world.origins.take_acts());
    assert!(asked4.headers.contains("Level: 4") && !asked4.headers.contains("Identity"));
    assert_eq!(asked4.body["config"]["sourcing"], true);
    world.refuse(&asked4, 10025);
    let asked0 = asked(world.origins.take_acts());
    assert!(asked0.headers.is_empty() && asked0.body["config"]["sourcing"].is_null());
    let name = |asked: &Asked| asked.body["config"]["name"].as_str().unwrap().to_owned();
    assert_ne!(name(&asked0), name(&asked4), "the name is one of its own");
}

#[test]
fn a_mirror_takes_sequences_as_they_are_and_goes_over_gaps() {
    let mut world = World::new(r#"{"name":"S","mirror":{"name":"O","filter_subject":"o.*"}}"#);
    let asked = world.asked();
    assert!(asked.subject.starts_with("$JS.API.CONSUMER.CREATE.O.JS_MIRROR_"), "{}", asked.subject);
    assert!(asked.subject.ends_with(".o.*"));
    let channel = world.answer(&asked, "");
    assert_eq!(world.hear(channel, &msg("$JS.ACK.O.C.1.3.1.99.0", "", "x")).unwrap().2, 3);
    assert_eq!(world.hear(channel, &msg("$JS.ACK.O.C.1.7.2.99.0", "", "x")).unwrap().2, 7);
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.9.4.99.0", "", "x")).is_none(), "one is missing");
    assert_eq!(world.hear(channel, &msg("$JS.ACK.O.C.1.8.3.99.0", "", "x")), None, "it begins again");
}

#[test]
fn sources_that_stay_go_on_when_others_come_and_go() {
    let mut world = World::new(SOURCE);
    let asked = world.asked();
    let channel = world.answer(&asked, "");
    world.adopt(r#"{"name":"S","sources":[{"name":"P"},{"name":"O"}]}"#, &Positions::new());
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.1.1.99.0", "", "x")).is_some());
    world.adopt(r#"{"name":"S","sources":[{"name":"P"}]}"#, &Positions::new());
    let acts = world.origins.take_acts();
    assert!(
        matches!(&acts[..], [Act::Unlisten { .. }, Act::Publish { subject, .. }]
        if subject.starts_with("$JS.API.CONSUMER.DELETE.O.JS_SRC_")),
        "{acts:?}"
    );
}

#[test]
fn a_consumer_that_waits_for_an_answer_again_and_again_is_an_error() {
    let mut world = World::new(SOURCE);
    let asked = world.asked();
    let channel = world.answer(&asked, "");
    let stalled = "NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.O.C.x\r\n\r\n";
    let error = |world: &World| world.origins.sources_info(world.now)[0].error.as_ref().map(|e| e.err_code);
    for _ in 0..3 {
        assert_eq!(error(&world), None);
        world.hear(channel, &msg("", stalled, ""));
    }
    assert_eq!(error(&world), Some(10228));
    assert!(world.hear(channel, &msg("$JS.ACK.O.C.1.1.1.99.0", "", "x")).is_some());
    assert_eq!(error(&world), None, "it goes on");
}

#[test]
fn deliveries_of_other_consumers_are_not_those_of_the_origin() {
    for config in [SOURCE, r#"{"name":"S","mirror":{"name":"O"}}"#] {
        let mut world = World::new(config);
        let asked = world.asked();
        let channel = world.answer(&asked, "");
        for reply in ["$JS.ACK.O.D.1.1.1.99.0", "$JS.ACK._.hash.O.CC.1.1.1.99.0.x", "$JS.ACK.C.O.1.1.1.99.0"]
        {
            assert_eq!(world.hear(channel, &msg(reply, "", "x")), None, "{reply}");
        }
        assert!(world.hear(channel, &msg("$JS.ACK._.hash.O.C.1.1.1.99.0.x", "", "x")).is_some());
    }
}

#[test]
fn whoever_asks_whether_all_was_taken_cannot_have_anything_else_published() {
    let mut world = World::new(SOURCE);
    let asked = world.asked();
    let channel = world.answer(&asked, "");
    let ask = "NATS/1.0 100 FlowControl Request\r\n\r\n";
    for reply in ["victim", "$JS.API.STREAM.DELETE.S", "$JS.FC", "$JS.FC.>", "$JS.FC.*.x", "$JS.FC..x"] {
        world.hear(channel, &msg(reply, ask, ""));
        let stalled = format!("NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: {reply}\r\n\r\n");
        world.hear(channel, &msg("", &stalled, ""));
        assert_eq!(world.origins.take_acts(), [], "{reply}");
    }
    world.hear(channel, &msg("$JS.FC.O.C.x", ask, ""));
    assert!(
        matches!(&world.origins.take_acts()[..], [Act::Publish { subject, .. }] if subject == "$JS.FC.O.C.x")
    );
}

#[test]
fn numbers_at_their_ends_are_taken_in() {
    const MAX: u64 = u64::MAX;
    for config in [SOURCE, r#"{"name":"S","mirror":{"name":"O"}}"#] {
        for (stream_seq, consumer_seq) in [(MAX, 1), (MAX - 1, 1), (1, MAX), (MAX, MAX), (1, 0)] {
            let mut world = World::new(config);
            let asked = world.asked();
            let channel = world.answer(&asked, "");
            for (seq, at) in [(stream_seq, consumer_seq), (1, 1), (2, 2), (MAX, 2), (MAX, MAX), (1, MAX)] {
                world.hear(channel, &msg(&format!("$JS.ACK.O.C.1.{seq}.{at}.{}.{MAX}", i64::MAX), "", "x"));
                world.hear(channel, &msg(&format!("$JS.ACK.O.C.{MAX}.{seq}.{at}.99.0"), "", "x"));
            }
            // It asks again, or goes on.
            world.pass(100 * SECOND);
        }
    }
}
