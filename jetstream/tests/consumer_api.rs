//! Consumer requests and their answers. What is expected was recorded from nats-server v2.15.2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use jetkv_jetstream::EngineConfig;
use jetkv_testing::TestEngine;

fn engine() -> TestEngine {
    let engine = TestEngine::new().unwrap();
    engine.request("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    for n in 0..5 {
        engine.publish(&format!("s.{}", n % 3), &[], &format!("m{n}"));
    }
    engine.host.take();
    engine
}

fn create(engine: &TestEngine, subject: &str, config: &str) -> String {
    engine.request(subject, &format!(r#"{{"stream_name":"S","config":{config}}}"#))
}

const STAMP: &str = r#""metadata":{"_nats.level":"5","_nats.req.level":"0","_nats.ver":"2.15.2"}"#;
const NOW: &str = "2023-11-14T22:13:20Z";

fn error(kind: &str, code: u16, err_code: u16, text: &str) -> String {
    format!(
        r#"{{"type":"io.nats.jetstream.api.v1.{kind}_response","error":{{"code":{code},"err_code":{err_code},"description":"{text}"}}}}"#
    )
}

#[test]
fn a_durable_consumer_is_created_shown_listed_and_deleted() {
    let engine = engine();
    let body = format!(
        r#""stream_name":"S","name":"D","created":"{NOW}","config":{{"durable_name":"D","name":"D","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"filter_subject":"s.1","replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0,{STAMP}}},"delivered":{{"consumer_seq":0,"stream_seq":0}},"ack_floor":{{"consumer_seq":0,"stream_seq":0}},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":2,"ts":"{NOW}"}}"#
    );
    let config = r#"{"durable_name":"D","ack_policy":"explicit","filter_subject":"s.1"}"#;
    let typed = |kind: &str| format!(r#"{{"type":"io.nats.jetstream.api.v1.consumer_{kind}_response","#);
    assert_eq!(create(&engine, "CONSUMER.DURABLE.CREATE.S.D", config), typed("create") + &body);
    assert_eq!(engine.request("CONSUMER.INFO.S.D", ""), typed("info") + &body);
    assert_eq!(
        engine.request("CONSUMER.NAMES.S", ""),
        typed("names") + r#""total":1,"offset":0,"limit":1024,"consumers":["D"]}"#
    );
    let listed = body.replace(STAMP, r#""metadata":{"_nats.req.level":"0"}"#);
    assert_eq!(
        engine.request("CONSUMER.LIST.S", ""),
        typed("list") + r#""total":1,"offset":0,"limit":256,"consumers":[{"# + &listed + "]}"
    );
    assert_eq!(engine.request("CONSUMER.DELETE.S.D", ""), typed("delete") + r#""success":true}"#);
    assert_eq!(
        engine.request("CONSUMER.DELETE.S.D", ""),
        error("consumer_delete", 404, 10014, "consumer not found")
    );
}

#[test]
fn an_ephemeral_consumer_of_the_oldest_form_gets_a_name_outside_its_configuration() {
    let engine = engine();
    let answer = create(&engine, "CONSUMER.CREATE.S", r#"{"deliver_subject":"d.1"}"#);
    assert!(answer.contains(r#""config":{"deliver_policy":"all","ack_policy":"none","max_deliver":-1,"replay_policy":"instant","deliver_subject":"d.1","inactive_threshold":5000000000,"num_replicas":0,"#));
    let name = answer.split(r#""name":""#).nth(1).unwrap().split('"').next().unwrap();
    assert!(name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
}

#[test]
fn subject_and_body_must_say_the_same() {
    let engine = engine();
    for (subject, body, code, text) in [
        (
            "CONSUMER.CREATE.S.F.s.3",
            r#"{"stream_name":"S","config":{"filter_subject":"s.2"}}"#,
            10131,
            "Consumer create request did not match filtered subject from create subject",
        ),
        (
            "CONSUMER.CREATE.S.F",
            r#"{"stream_name":"S","config":{"durable_name":"X"}}"#,
            10017,
            "consumer name in subject does not match durable name in request",
        ),
        (
            "CONSUMER.CREATE.S",
            r#"{"stream_name":"S","config":{"durable_name":"X"}}"#,
            10020,
            "consumer expected to be ephemeral but a durable name was set in request",
        ),
        (
            "CONSUMER.CREATE.S",
            r#"{"stream_name":"T","config":{}}"#,
            10056,
            "stream name in subject does not match request",
        ),
        ("CONSUMER.CREATE.S", "", 10056, "stream name in subject does not match request"),
        (
            "CONSUMER.CREATE.S",
            "{bad",
            10025,
            "invalid JSON: invalid character 'b' looking for beginning of object key string at offset 2",
        ),
        (
            "CONSUMER.CREATE.S",
            r#"{"stream_name":"S","config":{"backoff":["x"]}}"#,
            10025,
            "invalid JSON: json: cannot unmarshal string into Go struct field ConsumerConfig.config.backoff of type time.Duration",
        ),
    ] {
        assert_eq!(
            engine.request(subject, body),
            error("consumer_create", 400, code, text),
            "{subject} {body}"
        );
    }
    assert_eq!(
        engine.request("CONSUMER.INFO.S.D", "x"),
        error("consumer_info", 400, 10038, "expected an empty request payload")
    );
    assert_eq!(
        engine.request("CONSUMER.INFO.Q.D", ""),
        error("consumer_info", 404, 10059, "stream not found")
    );
    assert_eq!(engine.request("CONSUMER.RESET.S.ZZ", ""), "");
    assert_eq!(engine.request("CONSUMER.DURABLE.CREATE.S", "{}"), "");
}

#[test]
fn a_pause_is_shown_in_utc_with_what_remains() {
    let engine = engine();
    create(&engine, "CONSUMER.DURABLE.CREATE.S.D", r#"{"durable_name":"D","ack_policy":"explicit"}"#);
    assert_eq!(
        engine.request("CONSUMER.PAUSE.S.D", r#"{"pause_until":"2023-11-15T00:13:21+02:00"}"#),
        r#"{"type":"io.nats.jetstream.api.v1.consumer_pause_response","paused":true,"pause_until":"2023-11-14T22:13:21Z","pause_remaining":1000000000}"#
    );
    let info = engine.request("CONSUMER.INFO.S.D", "");
    assert!(
        info.contains(r#""_nats.req.level":"1""#)
            && info.contains(r#""pause_until":"2023-11-14T22:13:21Z"}"#)
    );
    assert!(info.contains(r#""num_pending":5,"paused":true,"pause_remaining":1000000000,"ts""#), "{info}");
    assert_eq!(
        engine.request("CONSUMER.PAUSE.S.D", ""),
        r#"{"type":"io.nats.jetstream.api.v1.consumer_pause_response","paused":false,"pause_until":"0001-01-01T00:00:00Z"}"#
    );
    assert_eq!(
        engine.request("CONSUMER.PAUSE.S.ZZ", ""),
        r#"{"type":"io.nats.jetstream.api.v1.consumer_pause_response","error":{"code":404,"err_code":10014,"description":"consumer not found"},"paused":false,"pause_until":"0001-01-01T00:00:00Z"}"#
    );
}

#[test]
fn the_answer_to_a_create_precedes_the_first_message() {
    let engine = engine();
    engine.host.listen("d", None);
    create(&engine, "CONSUMER.CREATE.S.C", r#"{"name":"C","deliver_subject":"d","filter_subject":"s.1"}"#);
    engine.host.pump_all();
    let subjects: Vec<_> =
        engine.host.take().into_iter().map(|sent| (sent.to, sent.subject, sent.payload)).collect();
    let delivered = |payload: &str| ("d".to_owned(), "s.1".to_owned(), payload.to_owned());
    assert_eq!(subjects, [delivered("m1"), delivered("m4")]);
    engine.publish("s.1", &[], "live");
    assert_eq!(engine.host.take()[0].payload, "live");
}

#[test]
fn a_pull_request_for_a_consumer_that_does_not_exist_has_no_responder() {
    let engine = engine();
    let answers = engine.request_all("CONSUMER.MSG.NEXT.S.ZZ", "1");
    assert!(answers[0].headers.starts_with("NATS/1.0 503"));
}

#[test]
fn a_priority_group_is_shown_and_unpinned() {
    let engine = engine();
    let config =
        r#"{"name":"P","ack_policy":"explicit","priority_policy":"pinned_client","priority_groups":["A"]}"#;
    let answer = create(&engine, "CONSUMER.CREATE.S.P", config);
    assert!(
        answer.ends_with(r#""priority_groups":[{"group":"A","pinned_ts":"0001-01-01T00:00:00Z"}]}"#),
        "{answer}"
    );
    assert!(answer.contains(
        r#""priority_groups":["A"],"priority_policy":"pinned_client","priority_timeout":120000000000}"#
    ));
    assert_eq!(
        engine.request("CONSUMER.UNPIN.S.P", r#"{"group":"A"}"#),
        r#"{"type":"io.nats.jetstream.api.v1.consumer_unpin_response"}"#
    );
    assert_eq!(
        engine.request("CONSUMER.UNPIN.S.P", r#"{"group":"B"}"#),
        error("consumer_unpin", 400, 10160, "Provided priority group does not exist for this consumer")
    );
}

#[test]
fn a_reset_says_where_it_went() {
    let engine = engine();
    create(
        &engine,
        "CONSUMER.CREATE.S.D",
        r#"{"durable_name":"D","ack_policy":"explicit","filter_subject":"s.1"}"#,
    );
    let answer = engine.request("CONSUMER.RESET.S.D", r#"{"seq":2}"#);
    assert!(answer.starts_with(
        r#"{"type":"io.nats.jetstream.api.v1.consumer_reset_response","stream_name":"S","name":"D""#
    ));
    assert!(answer.contains(
        r#""delivered":{"consumer_seq":0,"stream_seq":1},"ack_floor":{"consumer_seq":0,"stream_seq":1}"#
    ));
    assert!(answer.ends_with(r#""reset_seq":2}"#));
}

#[test]
fn only_a_subscription_to_the_deliver_subject_itself_makes_a_push_consumer_active() {
    let engine = engine();
    engine.host.listen("d.*", None);
    engine.host.listen("d.1", Some("q"));
    let bound = |answer: String| answer.contains(r#""push_bound":true"#);
    let config = r#"{"durable_name":"P","deliver_subject":"d.1"}"#;
    assert!(!bound(create(&engine, "CONSUMER.CREATE.S.P", config)), "a wildcard and a group are not it");
    let config = r#"{"durable_name":"Q","deliver_subject":"d.1","deliver_group":"q"}"#;
    assert!(bound(create(&engine, "CONSUMER.CREATE.S.Q", config)));
    engine.host.listen("d.1", None);
    engine.interest_changed("d.1", true);
    assert!(bound(engine.request("CONSUMER.INFO.S.P", "")));
}

#[test]
fn a_rollup_moves_consumers_as_a_purge_does_even_where_nothing_was_left_to_purge() {
    let place = |storage: &str, retention: &str, rollup: &str, subject: &str| {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig { store_dir: Some(dir.path().to_owned()), ..EngineConfig::default() };
        let engine = TestEngine::with(config).unwrap();
        let stream = format!(
            r#"{{"name":"S","subjects":["s.>"],"storage":"{storage}","retention":"{retention}","allow_rollup_hdrs":true}}"#
        );
        engine.request("STREAM.CREATE.S", &stream);
        create(
            &engine,
            "CONSUMER.CREATE.S.C",
            r#"{"durable_name":"C","ack_policy":"explicit","filter_subject":"s.a"}"#,
        );
        for payload in ["1", "2"] {
            engine.publish("s.b", &[], payload);
        }
        engine.publish(subject, &[("Nats-Rollup", rollup)], "3");
        let info = engine.request("CONSUMER.INFO.S.C", "");
        (2..=3).find(|seq| {
            info.contains(&format!(
                r#""delivered":{{"consumer_seq":0,"stream_seq":{seq}}},"ack_floor":{{"consumer_seq":0,"stream_seq":{seq}}}"#
            ))
        })
    };
    for storage in ["memory", "file"] {
        // As nats-server v2.15.2 (observed).
        assert_eq!(place(storage, "interest", "all", "s.b"), Some(3), "{storage}");
        assert_eq!(place(storage, "interest", "all", "s.a"), Some(2), "{storage}");
        assert_eq!(place(storage, "interest", "sub", "s.a"), Some(2), "{storage}");
        assert_eq!(place(storage, "interest", "sub", "s.b"), None, "{storage}");
        assert_eq!(place(storage, "limits", "sub", "s.a"), Some(2), "{storage}");
    }
}
