//! The stream API: answers, refusals, advisories, and what survives a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::EngineConfig;
use jetkv_testing::TestEngine;

const ADVISORIES: &str = "$JS.EVENT.ADVISORY.STREAM.CREATED.S";

fn error(answer: &str) -> &str {
    answer.split_once("\"error\":").map_or("", |(_, error)| error)
}

#[test]
fn a_new_stream_shows_every_default() {
    let engine = TestEngine::new().unwrap();
    let answer = engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    let (config, rest) = answer.split_once(",\"created\":").unwrap();
    assert_eq!(
        config,
        "{\"type\":\"io.nats.jetstream.api.v1.stream_create_response\",\"config\":{\"name\":\"S\",\
         \"subjects\":[\"s.\\u003e\"],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\
         \"max_bytes\":-1,\"max_age\":0,\"max_msgs_per_subject\":-1,\"max_msg_size\":-1,\"discard\":\"old\",\
         \"storage\":\"memory\",\"num_replicas\":1,\"duplicate_window\":120000000000,\"compression\":\"none\",\
         \"allow_direct\":false,\"mirror_direct\":false,\"sealed\":false,\"deny_delete\":false,\
         \"deny_purge\":false,\"allow_rollup_hdrs\":false,\"consumer_limits\":{},\"allow_msg_ttl\":false,\
         \"metadata\":{\"_nats.level\":\"5\",\"_nats.req.level\":\"0\",\"_nats.ver\":\"2.15.2\"}}"
    );
    assert_eq!(
        rest,
        "\"2023-11-14T22:13:20Z\",\"state\":{\"messages\":0,\"bytes\":0,\"first_seq\":0,\
         \"first_ts\":\"0001-01-01T00:00:00Z\",\"last_seq\":0,\"last_ts\":\"0001-01-01T00:00:00Z\",\
         \"consumer_count\":0},\"ts\":\"2023-11-14T22:13:20Z\",\"did_create\":true}"
    );
    assert_eq!(engine.host.patterns(), ["s.>"]);
    assert!(
        engine.host.take().iter().any(|sent| sent.to == ADVISORIES && sent.payload.contains("\"create\""))
    );
}

#[test]
fn configurations_that_break_a_rule_are_refused_in_nats_servers_words() {
    let engine = TestEngine::new().unwrap();
    for (config, wanted) in [
        (
            r#"{"name":"S","max_age":1}"#,
            r#"{"code":500,"err_code":10052,"description":"max age needs to be >= 100ms"}"#,
        ),
        (
            r#"{"name":"S","nosuch":1}"#,
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"nosuch\""}"#,
        ),
        (
            r#"{"name":"S","max_msgs":"x"}"#,
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_msgs of type int64"}"#,
        ),
        (
            r#"{name:1}"#,
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: invalid character 'n' looking for beginning of object key string at offset 2"}"#,
        ),
        (r#"{"name":"S""#, r#"{"code":400,"err_code":10025,"description":"invalid JSON: unexpected EOF"}"#),
        (
            r#"{"name":"T"}"#,
            r#"{"code":400,"err_code":10056,"description":"stream name in subject does not match request"}"#,
        ),
        (
            r#"{"name":"S","num_replicas":3}"#,
            r#"{"code":500,"err_code":10074,"description":"replicas > 1 not supported in non-clustered mode"}"#,
        ),
        (
            r#"{"name":"S","sealed":true}"#,
            r#"{"code":500,"err_code":10052,"description":"stream configuration for create can not be sealed"}"#,
        ),
        (
            r#"{"name":"S","subjects":[">"]}"#,
            r#"{"code":500,"err_code":10052,"description":"capturing all subjects requires no-ack to be true"}"#,
        ),
        (
            r#"{"name":"S","subjects":["a.>","a.b"]}"#,
            r#"{"code":500,"err_code":10052,"description":"subject \"a.>\" overlaps with \"a.b\""}"#,
        ),
        (
            r#"{"name":"S","subjects":["a"],"mirror":{"name":"O"}}"#,
            r#"{"code":400,"err_code":10034,"description":"stream mirrors can not contain subjects"}"#,
        ),
    ] {
        let answer = engine.request("STREAM.CREATE.S", config).replace("\\u003e", ">");
        assert_eq!(error(&answer), format!("{wanted}}}"), "{config}");
    }
}

#[test]
fn two_streams_cannot_capture_the_same_subject() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    let answer = engine.request("STREAM.CREATE.T", r#"{"name":"T","subjects":["s.a"],"storage":"memory"}"#);
    assert!(error(&answer).contains("\"err_code\":10065"), "{answer}");
    let again = engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    assert!(again.contains("did_create"), "the same configuration is no error: {again}");
    let other = engine.request("STREAM.CREATE.S", r#"{"name":"S","storage":"memory"}"#);
    assert!(error(&other).contains("\"err_code\":10058"), "{other}");
}

#[test]
fn a_subject_is_free_as_soon_as_its_stream_does_not_capture_it_and_so_are_the_bytes_it_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    let config = || EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let engine = TestEngine::with(config()).unwrap();
    let ask = |engine: &TestEngine, verb: &str, name: &str, subject: &str, max_bytes: i64| {
        let config = format!(r#"{{"name":"{name}","subjects":["{subject}"],"max_bytes":{max_bytes}}}"#);
        engine.request(&format!("STREAM.{verb}.{name}"), &config)
    };
    let overlaps = |answer: &str| answer.contains("\"err_code\":10065");
    let reserved = |engine: &TestEngine| {
        let info: serde_json::Value = serde_json::from_str(&engine.request("INFO", "")).unwrap();
        info["reserved_storage"].as_i64().unwrap_or(0)
    };
    assert!(ask(&engine, "CREATE", "A", "a.>", 1000).contains("did_create"));
    assert!(ask(&engine, "CREATE", "C", "c.*", 200).contains("did_create"));
    assert!(overlaps(&ask(&engine, "CREATE", "B", "a.*", 30)));
    assert!(overlaps(&ask(&engine, "UPDATE", "A", "c.x", 1000)));
    assert!(overlaps(&ask(&engine, "CREATE", "B", "a.b", 30)), "what was refused holds nothing");
    assert!(ask(&engine, "UPDATE", "A", "a2.>", 500).contains("a2."));
    assert_eq!(reserved(&engine), 700);
    assert!(ask(&engine, "CREATE", "B", "a.>", 30).contains("did_create"));
    assert!(overlaps(&ask(&engine, "UPDATE", "A", "a.b", 500)));
    engine.engine.shutdown();
    let engine = TestEngine::on(config(), engine.clock.clone()).unwrap();
    assert_eq!(reserved(&engine), 730);
    assert!(overlaps(&ask(&engine, "CREATE", "D", "a2.b", 4)));
    engine.request("STREAM.DELETE.A", "");
    assert_eq!(reserved(&engine), 230);
    assert!(ask(&engine, "CREATE", "D", "a2.b", 4).contains("did_create"));
    assert!(overlaps(&ask(&engine, "CREATE", "E", "c.>", 4)));
}

#[test]
fn an_update_takes_effect_on_what_is_stored_and_on_what_is_captured() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    for value in ["1", "2", "3"] {
        engine.publish("s.a", &[], value);
    }
    let config = r#"{"name":"S","subjects":["t.>"],"storage":"memory","max_msgs":1}"#;
    let answer = engine.request("STREAM.UPDATE.S", config);
    assert!(answer.contains(r#""messages":1,"#) && answer.contains("stream_update_response"), "{answer}");
    assert_eq!(engine.host.patterns(), ["t.>"]);
    let answer = engine.request("STREAM.UPDATE.S", r#"{"name":"S","storage":"file"}"#);
    assert!(error(&answer).contains("stream configuration update can not change storage type"), "{answer}");
}

#[test]
fn purges_take_a_filter_a_sequence_or_a_number_to_keep() {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    for subject in ["s.a", "s.b", "s.a", "s.b", "s.a", "s.c"] {
        engine.publish(subject, &[], "x");
    }
    let purged = |body: &str| {
        let answer = engine.request("STREAM.PURGE.S", body);
        answer.split("\"purged\":").nth(1).unwrap().trim_end_matches('}').to_owned()
    };
    assert_eq!(purged(r#"{"filter":"s.a","keep":1}"#), "2");
    assert_eq!(purged(r#"{"filter":"s.*","seq":3}"#), "1");
    assert_eq!(purged(r#"{"seq":5}"#), "1");
    assert_eq!(purged(r#"{"keep":1}"#), "1");
    assert_eq!(purged(""), "1");
    let info = engine.request("STREAM.INFO.S", "");
    assert!(info.contains(r#""messages":0,"bytes":0,"first_seq":7,"#), "{info}");
}

#[test]
fn deny_and_seal_hold_against_deletes_and_purges() {
    let engine = TestEngine::new().unwrap();
    let config = r#"{"name":"S","subjects":["s.>"],"storage":"memory","deny_delete":true,"deny_purge":true}"#;
    engine.request("STREAM.CREATE.S", config);
    engine.publish("s.a", &[], "x");
    let answer = engine.request("STREAM.MSG.DELETE.S", r#"{"seq":1}"#);
    assert!(error(&answer).contains("message delete not permitted"), "{answer}");
    assert!(error(&engine.request("STREAM.PURGE.S", "")).contains("stream purge not permitted"));
    let sealed = r#"{"name":"S","subjects":["s.>"],"storage":"memory","deny_delete":true,"deny_purge":true,"sealed":true}"#;
    assert!(engine.request("STREAM.UPDATE.S", sealed).contains(r#""sealed":true"#));
    assert!(engine.publish("s.a", &[], "x").contains("\"err_code\":10109"));
    assert!(error(&engine.request("STREAM.PURGE.S", "")).contains("\"err_code\":10109"));
}

#[test]
fn a_restart_brings_back_messages_ids_ttls_and_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let first = TestEngine::with(config.clone()).unwrap();
    let stream = r#"{"name":"S","subjects":["s.>"],"allow_msg_ttl":true,"allow_direct":true}"#;
    let created = first.request("STREAM.CREATE.S", stream);
    assert!(created.contains("did_create"), "{created}");
    first.publish("s.a", &[("Nats-Msg-Id", "id")], "1");
    first.publish("s.b", &[("Nats-TTL", "10")], "2");
    let before = first.request("STREAM.INFO.S", "");
    first.engine.shutdown();

    let second = TestEngine::on(config, first.clock.clone()).unwrap();
    assert_eq!(second.host.patterns(), ["s.>"]);
    assert_eq!(second.request("STREAM.INFO.S", ""), before);
    let again = second.publish("s.a", &[("Nats-Msg-Id", "id")], "1");
    assert_eq!(again, r#"{"stream":"S","seq":1,"duplicate": true}"#);
    second.advance_ns(10_000_000_000);
    let got = second.request_all("DIRECT.GET.S.s.b", "");
    assert!(got[0].headers.contains("404"), "{got:?}");
}

#[test]
fn a_deleted_stream_stays_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let first = TestEngine::with(config.clone()).unwrap();
    first.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#);
    first.publish("s.a", &[], "1");
    assert!(first.request("STREAM.DELETE.S", "").contains("\"success\":true"));
    assert_eq!(first.publish("s.a", &[], "1"), "");
    first.engine.shutdown();
    let second = TestEngine::with(config).unwrap();
    assert!(error(&second.request("STREAM.INFO.S", "")).contains("\"err_code\":10059"));
}

#[test]
fn a_restart_brings_back_consumers_with_what_they_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
    let first = TestEngine::with(config.clone()).unwrap();
    first.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"]}"#);
    first.host.listen("deliver", None);
    let body = r#"{"stream_name":"S","config":{"durable_name":"d","ack_policy":"explicit","deliver_subject":"deliver"}}"#;
    let answer = first.request("CONSUMER.CREATE.S.d", body);
    assert!(answer.contains("\"name\":\"d\""), "{answer}");
    first.publish("s.a", &[], "1");
    first.host.pump_all();
    let delivered =
        |engine: &TestEngine| engine.host.take().iter().filter(|sent| sent.to == "deliver").count();
    assert_eq!(delivered(&first), 1);
    first.engine.shutdown();

    let second = TestEngine::on(config, first.clock.clone()).unwrap();
    second.publish("s.a", &[], "2");
    second.host.pump_all();
    assert_eq!(delivered(&second), 0, "nobody listens");
    second.host.listen("deliver", None);
    second.interest_changed("deliver", true);
    second.host.pump_all();
    assert_eq!(delivered(&second), 1, "what came while nobody listened");
    second.advance_ns(31_000_000_000);
    second.host.pump_all();
    assert_eq!(delivered(&second), 2, "both that were not acknowledged come again");
}

#[test]
fn what_a_directory_holds_beyond_its_limits_goes_when_it_is_opened() {
    let fill = |limits: &str| {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
        let engine = TestEngine::with(config.clone()).unwrap();
        engine.request("STREAM.CREATE.S", &format!(r#"{{"name":"S","subjects":["s.>"]{limits}}}"#));
        for subject in ["s.a", "s.a", "s.b", "s.a", "s.c"] {
            engine.publish(subject, &[], "1");
        }
        engine.engine.shutdown();
        (dir, config)
    };
    for (limits, left) in [
        (r#","max_msgs_per_subject":1"#, r#""messages":3,"#),
        (r#","max_msgs":2"#, r#""messages":2,"#),
        (r#","max_msgs":2,"discard":"new""#, r#""messages":5,"#),
    ] {
        let (plain, config) = fill("");
        let (limited, _) = fill(limits);
        for file in ["meta.inf", "meta.sum"] {
            let path = format!("jetstream/$G/streams/S/{file}");
            std::fs::copy(limited.path().join(&path), plain.path().join(&path)).unwrap();
        }
        let info = TestEngine::with(config).unwrap().request("STREAM.INFO.S", "");
        assert!(info.contains(left) && info.contains(r#""last_seq":5,"#), "{limits}: {info}");
    }
}
