use crate::clock::{ManualClock, WallNs};
use crate::message::Inbound;
use crate::settings::EngineConfig;
use crate::steps;
use crate::stream::{Stream, TakesLong};
use crate::testing::{Fault, SimDisk, TestEngine};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What one hold of the lock may look at.
const STEPS_MAX: u64 = 3 * crate::stream::NODES as u64;
const MSGS: u64 = 2_000;
const ALL: &str = "NATS/1.0\r\nNats-Rollup: all\r\n\r\n";
const SUBJECT: &str = "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n";
/// Name and configuration of consumers that stand in different ways to what is rolled up.
const CONSUMERS: [(&str, &str); 5] = [
    ("all", r#""ack_policy":"explicit""#),
    ("one", r#""ack_policy":"explicit","filter_subject":"s.a""#),
    ("other", r#""ack_policy":"explicit","filter_subject":"s.b.>""#),
    ("wide", r#""ack_policy":"all","filter_subject":"s.*""#),
    ("pushed", r#""ack_policy":"explicit","deliver_subject":"d","max_ack_pending":10"#),
];

fn open(disk: Arc<SimDisk>) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), ..EngineConfig::default() };
    let clock = Arc::new(ManualClock::new(WallNs::from_ns(1_700_000_000_000_000_000)));
    TestEngine::on_disk(config, clock, disk).unwrap()
}

fn stream(storage: &str) -> (Arc<TestEngine>, Arc<Stream>) {
    stream_on(storage, Arc::new(SimDisk::new(1)))
}

/// `s.a`, and each tenth message another subject. Each consumer has got ten messages and acknowledged none.
fn stream_on(storage: &str, disk: Arc<SimDisk>) -> (Arc<TestEngine>, Arc<Stream>) {
    let engine = open(disk);
    let config = format!(
        r#"{{"name":"S","subjects":["s.>"],"storage":"{storage}","allow_rollup_hdrs":true,"allow_direct":true,
            "max_bytes":3000000}}"#
    );
    assert!(engine.request("STREAM.CREATE.S", &config).contains("did_create"));
    for seq in 1..=MSGS {
        engine.publish(&subject(seq), &[], &"x".repeat(100));
    }
    for listener in ["d", "_INBOX.api"] {
        engine.host.listen(listener, None);
    }
    for (name, config) in CONSUMERS {
        let body = format!(r#"{{"stream_name":"S","config":{{"durable_name":"{name}",{config}}}}}"#);
        assert!(engine.request(&format!("CONSUMER.DURABLE.CREATE.S.{name}"), &body).contains("num_pending"));
        engine.request(&format!("CONSUMER.MSG.NEXT.S.{name}"), r#"{"batch":10,"no_wait":true}"#);
    }
    engine.host.pump_all();
    engine.host.take();
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    (Arc::new(engine), stream)
}

fn subject(seq: u64) -> String {
    if seq.is_multiple_of(10) { format!("s.b.{seq}") } else { "s.a".to_owned() }
}

fn msg(headers: &str) -> Inbound<'_> {
    Inbound { subject: b"s.a", reply: b"reply", headers: headers.as_bytes(), payload: b"new" }
}

/// What a client sees afterwards: the answer, the stream, its consumers, and what those get.
fn shown(engine: &TestEngine, stream: &Stream) -> Vec<String> {
    stream.commit(&*engine.host);
    engine.host.pump_all();
    for (name, _) in CONSUMERS {
        engine.request(&format!("CONSUMER.MSG.NEXT.S.{name}"), r#"{"batch":10,"no_wait":true}"#);
    }
    engine.host.pump_all();
    let sent = engine.host.take().into_iter();
    let mut shown: Vec<String> =
        sent.map(|sent| format!("{} {} {} {}", sent.to, sent.subject, sent.reply, sent.payload)).collect();
    shown.sort_unstable();
    shown.push(engine.request("STREAM.INFO.S", r#"{"deleted_details":true,"subjects_filter":">"}"#));
    shown.extend(CONSUMERS.map(|(name, _)| engine.request(&format!("CONSUMER.INFO.S.{name}"), "")));
    shown
}

#[test]
fn a_message_that_rolls_up_many_is_left_to_another_thread_and_rolls_up_in_slices() {
    for storage in ["memory", "file"] {
        for headers in [ALL, SUBJECT] {
            let (_engine, stream) = stream(storage);
            assert_eq!(stream.publish_if_short(&msg(headers)), Err(TakesLong));
            assert_eq!(stream.lock().store.totals().last_seq, MSGS, "nothing has happened");
            let (_, most, holds) = steps::count(|| stream.publish_when_known(&msg(headers)));
            assert!(most <= STEPS_MAX, "{storage} {headers}: {most} steps in one of {holds} holds");
            let totals = stream.lock().store.totals();
            let left = if headers == ALL { 1 } else { 1 + MSGS / 10 };
            assert_eq!((totals.msgs, totals.last_seq), (left, MSGS + 1), "{storage} {headers}");
            // Now there is little to roll up.
            stream.publish_if_short(&msg(SUBJECT)).unwrap();
            assert_eq!(stream.lock().store.totals().msgs, left);
        }
    }
}

#[test]
fn clients_see_the_same_whether_it_goes_in_slices_or_at_once() {
    for storage in ["memory", "file"] {
        for headers in [ALL, SUBJECT] {
            let (engine, at_once) = stream(storage);
            at_once.publish(&msg(headers));
            let wanted = shown(&engine, &at_once);
            let (engine, in_slices) = stream(storage);
            in_slices.publish_when_known(&msg(headers));
            assert_eq!(shown(&engine, &in_slices), wanted, "{storage} {headers}");
        }
    }
}

#[test]
fn what_is_rolled_up_is_gone_for_all_at_once_and_acknowledged_when_it_is_removed() {
    for storage in ["memory", "file"] {
        for headers in [ALL, SUBJECT] {
            let (engine, stream) = stream(storage);
            let (other, of, turns) = (engine.clone(), stream.clone(), Rc::new(RefCell::new(0)));
            let counted = turns.clone();
            let between = move || {
                *counted.borrow_mut() += 1;
                let (is_there, held) = {
                    let mut inner = of.lock();
                    let is_there = |seq| !inner.is_purged(seq) && inner.store.load(seq).unwrap().is_some();
                    ([1, MSGS - 1, MSGS, MSGS + 1].map(is_there), inner.store.totals().msgs)
                };
                assert!(held > 1, "there is more to remove");
                assert_eq!(is_there, [false, false, headers == SUBJECT, true]);
                // Others publish, also on the subject; what rolls up many waits for its turn.
                assert!(other.publish("s.c", &[], "new").contains("\"seq\""));
                let last = of.lock().store.index().get(b"s.a").map_or(0, |entry| entry.last_seq).to_string();
                let expects = [("Nats-Expected-Last-Subject-Sequence", &*last)];
                assert!(other.publish("s.a", &expects, "new").contains("\"seq\""));
                of.commit(&*other.host);
                let answered = other.host.take().iter().any(|sent| sent.to == "reply");
                assert!(!answered, "not before all is removed");
            };
            steps::with_between(between, || stream.publish_when_known(&msg(headers)));
            stream.commit(&*engine.host);
            let answers: Vec<String> = engine.host.take().into_iter().map(|sent| sent.payload).collect();
            let wanted = format!("{{\"stream\":\"S\",\"seq\":{}}}", MSGS + 1);
            assert!(answers.contains(&wanted), "{answers:?}");
            let turns = *turns.borrow();
            let left = if headers == ALL { 1 } else { 1 + MSGS / 10 };
            assert_eq!(stream.lock().store.totals().msgs, left + 2 * turns, "what came meanwhile stays");
        }
    }
}

#[test]
fn two_that_roll_up_many_come_one_after_the_other() {
    let (engine, stream) = stream("file");
    let (of, first) = (stream.clone(), Rc::new(RefCell::new(true)));
    let between = move || {
        if first.replace(false) {
            let also = Inbound { subject: b"s.c", ..msg(ALL) };
            assert_eq!(of.publish_if_short(&also), Err(TakesLong));
        }
    };
    steps::with_between(between, || stream.publish_when_known(&msg(SUBJECT)));
    stream.commit(&*engine.host);
    assert_eq!(stream.lock().store.totals().msgs, 1 + MSGS / 10);
    assert_eq!(engine.host.take().iter().filter(|sent| sent.to == "reply").count(), 1);
}

#[test]
fn a_roll_up_that_cannot_be_kept_is_answered_with_an_error() {
    for after in [0, 3] {
        let disk = Arc::new(SimDisk::new(1));
        let (engine, stream) = stream_on("file", disk.clone());
        let mut slices = 0;
        let between = move || {
            slices += 1;
            if slices > after {
                disk.fail_after(0, u64::MAX, Fault::Full);
            }
        };
        steps::with_between(between, || stream.publish_when_known(&msg(SUBJECT)));
        stream.commit(&*engine.host);
        let answers = engine.host.take();
        let answer = answers.iter().find(|sent| sent.to == "reply").map(|sent| sent.payload.clone());
        assert!(answer.is_some_and(|answer| answer.contains("\"error\"")), "{answers:?}");
        assert!(stream.lock().purging.is_none());
    }
}

#[test]
fn what_is_acknowledged_is_whole_after_a_crash() {
    for headers in [ALL, SUBJECT] {
        let disk = Arc::new(SimDisk::new(1));
        let (engine, stream) = stream_on("file", disk.clone());
        stream.publish_when_known(&msg(headers));
        stream.commit(&*engine.host);
        engine.host.sync_all();
        assert!(engine.host.take().iter().any(|sent| sent.to == "reply"));
        let after = open(Arc::new(disk.clone_of()));
        let stream = after.engine.stream(after.account, "S").unwrap();
        let left = if headers == ALL { 1 } else { 1 + MSGS / 10 };
        assert_eq!(stream.lock().store.totals().msgs, left, "{headers}");
    }
}

#[test]
fn what_a_schedule_rolls_up_goes_in_slices_and_what_is_due_behind_it_comes_behind_it() {
    let engine = open(Arc::new(SimDisk::new(1)));
    let config = r#"{"name":"S","subjects":["s.>"],"allow_msg_schedules":true,"allow_rollup_hdrs":true,
        "allow_msg_ttl":true}"#;
    assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
    let schedule = |plan: &str, target: &str, rollup: &[(&str, &str)]| {
        let mut headers = vec![("Nats-Schedule", "@every 1h"), ("Nats-Schedule-Target", target)];
        headers.extend_from_slice(rollup);
        assert!(engine.publish(plan, &headers, "due").contains("\"seq\""));
    };
    schedule("s.plan.1", "s.a", &[("Nats-Schedule-Rollup", "sub")]);
    schedule("s.plan.2", "s.b", &[]);
    for _ in 0..MSGS {
        engine.publish("s.a", &[], "x");
    }
    let (_, most, _) = steps::count(|| engine.advance_ns(3_600_000_000_000));
    assert!(most <= STEPS_MAX, "{most} steps");
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    let inner = stream.lock();
    let held = |subject: &str| {
        inner.store.index().get(subject.as_bytes()).map(|entry| (entry.count, entry.last_seq))
    };
    assert_eq!((held("s.a"), held("s.b")), (Some((1, MSGS + 3)), Some((1, MSGS + 4))));
}
