//! Batches, counters and schedules on a disk that fails at each operation in turn: what was answered with an error is not
//! there, what was acknowledged is, whole, and all goes on when the disk works again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::{EngineConfig, Inbound, ManualClock, SyncPolicy};
use jetkv_testing::{Fault, START_NS, SimDisk, TestEngine};
use std::sync::Arc;

const POLICIES: [SyncPolicy; 2] = [SyncPolicy::EveryNs(120_000_000_000), SyncPolicy::Always];
const FAULTS: [Fault; 2] = [Fault::Full, Fault::Error];

fn start(disk: &SimDisk, sync: SyncPolicy) -> TestEngine {
    let config = EngineConfig { store_dir: Some("/store".into()), sync, ..EngineConfig::default() };
    TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(disk.clone())).unwrap()
}

/// The number behind the first `"name":` of an answer.
fn number(answer: &str, name: &str) -> Option<u64> {
    let (_, rest) = answer.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// How many messages there are but for that which shows that the disk works again.
fn held(engine: &TestEngine) -> u64 {
    number(&engine.request("STREAM.INFO.S", ""), "messages").unwrap() - 1
}

/// Has `act` run while the disk fails at each of its operations in turn, under every policy, and `check` what came of it, then
/// once more when the process was killed. `act` says what it was told.
fn fail_everywhere(
    config: &str,
    act: impl Fn(&TestEngine) -> Vec<String>,
    check: impl Fn(&TestEngine, &[String], &str),
) {
    for (policy, fault) in POLICIES.iter().flat_map(|policy| FAULTS.map(|fault| (*policy, fault))) {
        let mut refused = 0;
        for step in 0.. {
            let disk = SimDisk::new(step);
            let engine = start(&disk, policy);
            assert!(engine.request("STREAM.CREATE.S", config).contains("did_create"));
            disk.fail_after(step, 2, fault);
            let answers = act(&engine);
            let when = format!("{policy:?}, {fault:?} at operation {step}: {answers:?}");
            let has_failed = answers.iter().any(|answer| answer.contains("\"error\""));
            refused += u32::from(has_failed);
            disk.restart();
            // What could not be cut while the disk failed is cut before a message is stored.
            let headers: &[_] = if config.contains("counter") { &[("Nats-Incr", "1")] } else { &[] };
            let has_healed = (0..10).any(|_| !engine.publish("heal", headers, "").contains("\"error\""));
            assert!(has_healed, "{when}: it does not go on");
            check(&engine, &answers, &when);
            drop(engine);
            disk.restart();
            check(&start(&disk, policy), &answers, &format!("{when}, killed"));
            if !has_failed && step > 40 {
                break;
            }
        }
        assert!(refused > 0, "{policy:?}: the disk failed nothing");
    }
}

const ALL: &str =
    r#"{"name":"S","subjects":["s.>","heal"],"allow_atomic":true,"allow_batched":true,"allow_direct":true}"#;

#[test]
fn an_atomic_batch_that_was_refused_is_not_there_and_one_that_was_not_is_whole() {
    let act = |engine: &TestEngine| {
        let put = |seq: usize| {
            let number = seq.to_string();
            let mut headers = vec![("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", &*number)];
            headers.extend((seq == 5).then_some(("Nats-Batch-Commit", "1")));
            engine.publish(&format!("s.{seq}"), &headers, &"v".repeat(3_000))
        };
        (1..=5).map(put).filter(|answer| !answer.is_empty()).collect()
    };
    fail_everywhere(ALL, act, |engine, answers, when| {
        let is_stored = answers.iter().any(|answer| answer.contains("\"count\":5"));
        assert_eq!(held(engine), if is_stored { 5 } else { 0 }, "{when}");
    });
}

#[test]
fn a_counter_shows_the_sum_of_what_was_acknowledged() {
    let config = r#"{"name":"S","subjects":["s.>","heal"],"allow_msg_counter":true,"allow_direct":true}"#;
    let act = |engine: &TestEngine| {
        (0..8).map(|_| engine.publish("s.a", &[("Nats-Incr", "2")], "")).collect::<Vec<_>>()
    };
    fail_everywhere(config, act, |engine, answers, when| {
        let stored = answers.iter().filter(|answer| answer.contains("\"val\"")).count();
        assert_eq!(held(engine), stored as u64, "{when}");
        let last = engine.request("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.a"}"#);
        assert_eq!(last.contains("\"error\""), stored == 0, "{when}: {last}");
        let sum = answers.iter().rev().find_map(|answer| answer.split_once("\"val\":\"")).map(|(_, sum)| sum);
        assert_eq!(
            sum.map(|sum| sum.trim_end_matches("\"}")),
            (stored > 0).then(|| (2 * stored).to_string()).as_deref()
        );
    });
}

#[test]
fn what_a_fast_batch_was_told_to_be_stored_is_there() {
    let act = |engine: &TestEngine| {
        let mut told = Vec::new();
        for seq in 1..=6 {
            // The operations: start, append, and store the last message and end.
            let operation = match seq {
                1 => 0,
                6 => 2,
                _ => 1,
            };
            let reply = format!("r.b.1.fail.{seq}.{operation}.$FI");
            let stream = engine.engine.stream(engine.account, "S").unwrap();
            stream.publish(&Inbound {
                subject: b"s.a",
                reply: reply.as_bytes(),
                headers: b"",
                payload: b"v",
            });
            stream.commit(&*engine.host);
            engine.host.sync_all();
            told.extend(engine.host.take().into_iter().map(|sent| sent.payload));
        }
        told
    };
    fail_everywhere(ALL, act, |engine, answers, when| {
        let acked = answers.iter().filter(|answer| answer.contains("\"type\":\"ack\""));
        let acked = acked.filter_map(|answer| number(answer, "seq")).max().unwrap_or(0);
        let counted = answers.iter().find_map(|answer| number(answer, "count")).unwrap_or(0);
        assert!(held(engine) >= acked.max(counted), "{when}");
    });
}
