//! What leaves a stream, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::disk::RealDisk;
use jetkv_jetstream::{ApiRequest, EngineConfig, Inbound, ManualClock, Outbox, SyncPolicy};
use jetkv_testing::{DiskHook, HookedDisk, START_NS, TestEngine};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A real disk whose writes and syncs can be made to fail, and that counts syncs.
#[derive(Default)]
struct Switch {
    broken: AtomicBool,
    syncs: AtomicU64,
}

impl Switch {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::Error::other("no space left")) } else { Ok(()) }
    }
}

impl DiskHook for Switch {
    fn before_write(&self) -> io::Result<()> {
        self.check()
    }
    fn sync(&self, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        sync()
    }
}

fn on_switch(sync: SyncPolicy) -> (TestEngine, Arc<Switch>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let switch = Arc::new(Switch::default());
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), sync, ..EngineConfig::default() };
    let clock = Arc::new(ManualClock::new(START_NS));
    let engine =
        TestEngine::on_disk(config, clock, Arc::new(HookedDisk::new(RealDisk, switch.clone()))).unwrap();
    let answer = engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"allow_direct":true}"#);
    assert!(answer.contains("did_create"), "{answer}");
    (engine, switch, dir)
}

#[test]
fn what_could_not_be_written_is_not_acknowledged() {
    let (engine, switch, _dir) = on_switch(SyncPolicy::EveryNs(1_000_000_000));
    assert_eq!(engine.publish("s.a", &[], "1"), r#"{"stream":"S","seq":1}"#);
    switch.broken.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = engine.publish("s.a", &[], "2");
        assert!(answer.contains(r#""err_code":10077"#) && answer.contains(r#""seq":0"#), "{answer}");
    }
}

#[test]
fn with_sync_always_one_sync_serves_all_that_one_commit_brings() {
    let (engine, switch, _dir) = on_switch(SyncPolicy::Always);
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    let before = switch.syncs.load(Ordering::SeqCst);
    for _ in 0..100 {
        stream.publish(&Inbound { subject: b"s.a", reply: b"r", headers: b"", payload: b"x" });
    }
    assert!(engine.host.take().iter().all(|sent| sent.to != "r"), "nothing leaves before the commit");
    stream.commit(&*engine.host);
    assert!(engine.host.take().iter().all(|sent| sent.to != "r"), "nothing leaves before the sync");
    engine.host.sync_all();
    let acks = engine.host.take().into_iter().filter(|sent| sent.to == "r").count();
    assert_eq!(acks, 100);
    assert!(
        switch.syncs.load(Ordering::SeqCst) - before <= 2,
        "a sync of data, and at most one of a new file"
    );
}

#[test]
fn without_sync_always_the_clock_decides_when_to_sync() {
    let (engine, switch, _dir) = on_switch(SyncPolicy::EveryNs(1_000_000_000));
    engine.publish("s.a", &[], "1");
    let before = switch.syncs.load(Ordering::SeqCst);
    engine.advance_ns(999_999_999);
    assert_eq!(switch.syncs.load(Ordering::SeqCst), before);
    engine.advance_ns(1);
    assert!(switch.syncs.load(Ordering::SeqCst) > before);
}

#[test]
fn a_stream_that_is_deleted_while_its_sync_is_due_asks_for_no_other() {
    let (engine, _switch, _dir) = on_switch(SyncPolicy::EveryNs(1_000_000_000));
    engine.publish("s.a", &[], "1");
    engine.clock.advance_ns(1_000_000_000);
    engine.engine.tick();
    assert_eq!(engine.host.syncs_asked(), 1);
    let request = ApiRequest {
        account: engine.account,
        subject: b"$JS.API.STREAM.DELETE.S",
        reply: b"r",
        headers: b"",
        payload: b"",
        client: None,
    };
    let _ = engine.engine.api(&request, &mut Outbox::new());
    engine.host.sync_one();
    assert_eq!(engine.host.syncs_asked(), 0);
}

#[test]
fn whoever_listens_for_advisories_gets_no_answer_of_a_request_that_was_taken_back() {
    let (engine, switch, _dir) = on_switch(SyncPolicy::Always);
    const AUDIT: &str = "$JS.EVENT.ADVISORY.API";
    engine.host.listen(AUDIT, None);
    engine.host.take();
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    stream.publish(&Inbound { subject: b"s.a", reply: b"", headers: b"", payload: b"x" });
    let request = ApiRequest {
        account: engine.account,
        subject: b"$JS.API.STREAM.INFO.S",
        reply: b"r",
        headers: b"",
        payload: b"",
        client: None,
    };
    let mut out = Outbox::new();
    let _ = engine.engine.api_when_durable(&request, &mut out);
    assert!(out.is_empty(), "answer and advisory wait for the disk");
    switch.broken.store(true, Ordering::SeqCst);
    stream.commit(&*engine.host);
    engine.host.sync_all();
    let sent: Vec<_> = engine.host.take().into_iter().map(|sent| (sent.to, sent.payload)).collect();
    assert!(matches!(&sent[..], [(to, payload)] if to == "r" && payload.contains("10077")), "{sent:?}");
}

#[test]
fn acknowledgements_leave_in_the_order_of_their_sequences_whoever_commits() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    let stream = engine.engine.stream(engine.account, "S").unwrap();
    engine.host.take();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    stream.publish(&Inbound { subject: b"s.a", reply: b"r", headers: b"", payload: b"x" });
                    stream.commit(&*engine.host);
                }
            });
        }
    });
    let acks: Vec<String> = engine.host.take().into_iter().map(|sent| sent.payload).collect();
    let wanted: Vec<String> = (1..=2000).map(|seq| format!("{{\"stream\":\"S\",\"seq\":{seq}}}")).collect();
    assert_eq!(acks, wanted);
}

#[test]
fn a_confirmed_acknowledgement_outlives_the_process_and_one_that_is_not_kept_is_not_confirmed() {
    for policy in [SyncPolicy::EveryNs(1_000_000_000), SyncPolicy::Always] {
        let (engine, switch, dir) = on_switch(policy);
        engine.host.listen("_INBOX.api", None);
        let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
        assert!(!engine.request("CONSUMER.DURABLE.CREATE.S.C", consumer).contains("error"));
        let ack = |payload: &str| {
            engine.publish("s.a", &[], payload);
            let delivered = engine.request_all("CONSUMER.MSG.NEXT.S.C", "1");
            let reply = &delivered.first().expect("a delivery").reply;
            let stream = engine.control(reply, "done", "+ACK");
            (stream.expect("the stream of the consumer"), payload.to_owned())
        };
        let confirmations = || engine.host.take().into_iter().filter(|sent| sent.to == "done").count();
        let (stream, _) = ack("1");
        stream.commit(&*engine.host);
        engine.host.sync_all();
        assert_eq!(confirmations(), 1, "{policy:?}");
        let (stream, _) = ack("2");
        switch.broken.store(true, Ordering::SeqCst);
        stream.commit(&*engine.host);
        engine.host.sync_all();
        assert_eq!(confirmations(), 0, "{policy:?}");
        switch.broken.store(false, Ordering::SeqCst);
        // The process dies here.
        let config =
            EngineConfig { store_dir: Some(dir.path().to_owned()), sync: policy, ..EngineConfig::default() };
        let after =
            TestEngine::on_disk(config, Arc::new(ManualClock::new(START_NS)), Arc::new(RealDisk)).unwrap();
        let info = after.request("CONSUMER.INFO.S.C", "");
        assert!(info.contains(r#""ack_floor":{"consumer_seq":1,"stream_seq":1}"#), "{policy:?}: {info}");
    }
}
