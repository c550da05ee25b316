use super::bench::Bench;
use crate::config::{ConsumerAction, Retention};
use crate::consumer::PurgeNotice;
use crate::settings::EngineSettings;

fn err_code(result: Result<crate::consumer::ConsumerInfo, crate::error::ApiError>) -> u16 {
    result.err().map_or(0, |error| error.err_code)
}

#[test]
fn defaults_are_filled_in_and_printed_in_order() {
    let mut bench = Bench::new();
    let info = bench.create(r#"{"name":"E","ack_policy":"explicit"}"#).unwrap();
    assert_eq!(
        String::from_utf8(jetkv_go_compat::json::to_vec(&info.config)).unwrap(),
        r#"{"name":"E","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"inactive_threshold":5000000000,"num_replicas":0,"metadata":{"_nats.req.level":"0"}}"#
    );
}

#[test]
fn creating_again_is_fine_unless_it_must_not_exist() {
    let mut bench = Bench::new();
    let config = r#"{"durable_name":"D","ack_policy":"explicit"}"#;
    bench.create_as(config, ConsumerAction::Create).unwrap();
    assert_eq!(err_code(bench.create_as(config, ConsumerAction::Create)), 0);
    assert_eq!(err_code(bench.create(config)), 0);
    let other = r#"{"durable_name":"D","ack_policy":"explicit","description":"x"}"#;
    assert_eq!(err_code(bench.create_as(other, ConsumerAction::Create)), 10148);
    assert_eq!(bench.create_as(other, ConsumerAction::Update).unwrap().config.description, "x");
    assert_eq!(err_code(bench.create_as(r#"{"durable_name":"N"}"#, ConsumerAction::Update)), 10149);
    let fixed = bench.create(r#"{"durable_name":"D","ack_policy":"none"}"#).unwrap_err();
    assert_eq!((fixed.err_code, &*fixed.description), (10012, "ack policy can not be updated"));
}

#[test]
fn wrong_configurations_are_refused_with_nats_servers_codes() {
    for (config, code) in [
        (r#"{"name":"a.b"}"#, 10052),
        (r#"{"name":"a","durable_name":"b"}"#, 10132),
        (r#"{"filter_subject":"s.a","filter_subjects":["s.b"]}"#, 10136),
        (r#"{"filter_subjects":[""]}"#, 10139),
        (r#"{"filter_subjects":["s.*","s.a"]}"#, 10138),
        (r#"{"deliver_subject":"d.*"}"#, 10079),
        (r#"{"deliver_subject":"s.a"}"#, 10081),
        (r#"{"deliver_subject":"d","max_waiting":3}"#, 10080),
        (r#"{"deliver_subject":"d","max_ack_pending":3}"#, 10082),
        (r#"{"deliver_subject":"d","idle_heartbeat":1000}"#, 10083),
        (r#"{"deliver_subject":"d","flow_control":true}"#, 10108),
        (r#"{"deliver_subject":"d","priority_policy":"overflow","priority_groups":["a"]}"#, 10178),
        (r#"{"idle_heartbeat":1000000000}"#, 10088),
        (r#"{"flow_control":true}"#, 10089),
        (r#"{"rate_limit_bps":5}"#, 10086),
        (r#"{"max_expires":5}"#, 10115),
        (r#"{"ack_policy":"explicit","backoff":[1,2,3],"max_deliver":2}"#, 10116),
        (r#"{"ack_policy":"explicit","backoff":[-1]}"#, 10184),
        (r#"{"ack_policy":"explicit","ack_wait":-1}"#, 10183),
        (r#"{"deliver_policy":"last_per_subject"}"#, 10094),
        (r#"{"deliver_policy":"by_start_sequence"}"#, 10094),
        (r#"{"opt_start_seq":4}"#, 10094),
        (r#"{"num_replicas":3}"#, 10126),
        (r#"{"sample_freq":"x"}"#, 10095),
        (r#"{"priority_groups":["a"]}"#, 10196),
        (r#"{"priority_timeout":5}"#, 10197),
        (r#"{"priority_policy":"overflow"}"#, 10159),
        (r#"{"priority_policy":"overflow","priority_groups":["a b"]}"#, 10162),
        (r#"{"direct":true}"#, 10090),
        (r#"{"ack_policy":"flow_control"}"#, 10218),
    ] {
        assert_eq!(err_code(Bench::new().create(config)), code, "{config}");
    }
}

#[test]
fn a_workqueue_has_one_taker_for_each_message() {
    let mut bench = Bench::with_retention(Retention::WorkQueue);
    assert_eq!(err_code(bench.create(r#"{"name":"A"}"#)), 10084);
    assert_eq!(err_code(bench.create(r#"{"name":"A","deliver_subject":"d"}"#)), 10098);
    assert_eq!(
        err_code(bench.create(r#"{"name":"A","ack_policy":"explicit","deliver_policy":"new"}"#)),
        10101
    );
    bench.create(r#"{"name":"A","ack_policy":"explicit","filter_subject":"s.a"}"#).unwrap();
    assert_eq!(err_code(bench.create(r#"{"name":"B","ack_policy":"explicit"}"#)), 10099);
    assert_eq!(
        err_code(bench.create(r#"{"name":"B","ack_policy":"explicit","filter_subject":"s.*"}"#)),
        10100
    );
    bench.create(r#"{"name":"B","ack_policy":"explicit","filter_subject":"s.b"}"#).unwrap();
    assert_eq!(
        err_code(bench.create(r#"{"name":"B","ack_policy":"explicit","filter_subject":"s.a"}"#)),
        10100
    );
}

#[test]
fn consumers_beyond_the_limit_are_refused() {
    let mut bench = Bench::new();
    bench.config.max_consumers = 1;
    bench.create(r#"{"name":"A"}"#).unwrap();
    assert_eq!(err_code(bench.create(r#"{"name":"B"}"#)), 10026);
    bench.create(r#"{"name":"A"}"#).unwrap();
}

#[test]
fn changed_filters_take_effect_and_the_count_follows() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench
        .create(
            r#"{"durable_name":"C","deliver_subject":"e","filter_subject":"s.a","ack_policy":"explicit"}"#,
        )
        .unwrap();
    for (subject, payload) in [("s.a", "1"), ("s.b", "2"), ("s.b", "3")] {
        bench.publish(subject, payload);
    }
    let info = bench
        .create(
            r#"{"durable_name":"C","deliver_subject":"d","filter_subject":"s.b","ack_policy":"explicit"}"#,
        )
        .unwrap();
    assert_eq!(info.num_pending, 2);
    assert_eq!(bench.payloads(), ["2", "3"]);
    bench.publish("s.a", "4");
    bench.publish("s.b", "5");
    assert_eq!(bench.payloads(), ["5"]);
}

#[test]
fn a_reset_goes_back_and_forgets_deliveries() {
    let mut bench = Bench::new();
    bench.listen("d");
    bench.create(r#"{"durable_name":"C","deliver_subject":"d","ack_policy":"explicit"}"#).unwrap();
    for payload in ["1", "2", "3"] {
        bench.publish("s.a", payload);
    }
    bench.left();
    let reset = bench.with(|consumers, ctx| consumers.reset(ctx, "C", 2, None)).unwrap().unwrap();
    let (seq, info) = reset.made().unwrap();
    assert_eq!((seq, info.num_pending, info.num_ack_pending, info.delivered.stream_seq), (2, 2, 0, 1));
    bench.pump();
    assert_eq!(bench.payloads(), ["2", "3"]);
}

#[test]
fn a_purge_leaves_nothing_pending_that_is_gone() {
    use crate::store::Store;
    let mut bench = Bench::new();
    bench.listen("d");
    bench
        .create(r#"{"durable_name":"C","deliver_subject":"d","ack_policy":"explicit","max_ack_pending":2}"#)
        .unwrap();
    for payload in ["1", "2", "3", "4"] {
        bench.publish("s.a", payload);
    }
    bench.store.compact(5).unwrap();
    bench.with(|consumers, ctx| consumers.on_purged(ctx, &PurgeNotice::default()));
    let info = bench.info("C");
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0));
    assert_eq!((info.ack_floor.stream_seq, info.delivered.stream_seq), (4, 4));
    bench.left();
    bench.publish("s.a", "5");
    assert_eq!(bench.payloads(), ["5"]);
}

#[test]
fn ten_thousand_watchers_of_other_keys_are_not_visited_by_a_publish() {
    let mut bench = Bench::new();
    let unlimited = EngineSettings { max_consumers_per_stream: 0, ..EngineSettings::default() };
    bench.consumers.settings().server.store(unlimited);
    for key in 0..10_000 {
        bench.create(&format!(r#"{{"deliver_subject":"d.{key}","filter_subject":"s.k{key}"}}"#)).unwrap();
    }
    let mut visited = Vec::new();
    bench.consumers.trie.find(b"s.other", &mut visited);
    assert!(visited.is_empty());
    bench.listen("d.77");
    bench.publish("s.k77", "x");
    let left = bench.left();
    assert_eq!((left.len(), left[0].to.as_str()), (1, "d.77"));
}

#[test]
fn no_more_timers_are_armed_than_things_can_expire() {
    let mut bench = Bench::new();
    bench.listen("d");
    let config =
        r#"{"durable_name":"C","deliver_subject":"d","ack_policy":"explicit","idle_heartbeat":1000000000}"#;
    bench.create(config).unwrap();
    for _ in 0..500 {
        bench.publish("s.a", "x");
    }
    assert_eq!(bench.consumers.shared.timers.len(), 2, "the heartbeat and the first acknowledgement");
    bench.with(|consumers, ctx| consumers.delete(ctx, "C")).unwrap();
    assert_eq!(bench.consumers.shared.timers.len(), 0);
}

/// Recorded from nats-server v2.15.2: delivered and ack floor after purges, as (consumer, stream) sequences.
#[test]
fn positions_after_purges_are_those_of_nats_server() {
    use crate::filter::Filter;
    use crate::store::Store;
    let mut bench = Bench::new();
    for n in 0..10 {
        bench.publish(&format!("s.{}", n % 3), "m");
    }
    for (name, filters) in
        [("A", ""), ("B", r#","filter_subject":"s.1""#), ("C", r#","filter_subjects":["s.1","s.2"]"#)]
    {
        bench.create(&format!(r#"{{"durable_name":"{name}","ack_policy":"explicit"{filters}}}"#)).unwrap();
        bench.next(name, "r", "2");
    }
    let positions = |bench: &mut Bench, name: &str| {
        let info = bench.info(name);
        let pair = |at: &crate::consumer::SequenceInfo| (at.consumer_seq, at.stream_seq);
        (pair(&info.delivered), pair(&info.ack_floor), info.num_ack_pending, info.num_pending)
    };
    bench.remove(2);
    bench.remove(4);
    assert_eq!(positions(&mut bench, "A"), ((2, 2), (0, 0), 1, 7));
    assert_eq!(positions(&mut bench, "B"), ((2, 5), (1, 4), 1, 1));
    assert_eq!(positions(&mut bench, "C"), ((2, 3), (1, 2), 1, 4));
    while let Some(seq) = bench.store.next(&Filter::new(["s.1"]), 1).unwrap().map(|msg| msg.seq) {
        bench.store.remove(seq, None, false).unwrap();
    }
    bench.with(|consumers, ctx| {
        consumers.on_purged(ctx, &PurgeNotice { subject: Some(b"s.1"), ..PurgeNotice::default() })
    });
    assert_eq!(positions(&mut bench, "A"), ((2, 2), (0, 0), 1, 5));
    assert_eq!(positions(&mut bench, "B"), ((2, 10), (2, 10), 0, 0));
    assert_eq!(positions(&mut bench, "C"), ((2, 3), (1, 2), 1, 2));
    bench.store.compact(7).unwrap();
    bench.with(|consumers, ctx| consumers.on_purged(ctx, &PurgeNotice::default()));
    assert_eq!(positions(&mut bench, "A"), ((2, 6), (2, 6), 0, 3));
    assert_eq!(positions(&mut bench, "C"), ((2, 6), (2, 6), 0, 1));
}

#[test]
fn the_only_message_that_a_purge_by_subject_takes_counts_as_acknowledged() {
    use crate::store::Store;
    let mut bench = Bench::new();
    bench.create(r#"{"durable_name":"A","ack_policy":"all","max_ack_pending":2}"#).unwrap();
    bench.create(r#"{"durable_name":"E","ack_policy":"explicit"}"#).unwrap();
    bench.create(r#"{"durable_name":"O","ack_policy":"all","filter_subject":"s.a"}"#).unwrap();
    for subject in ["s.a", "s.b", "s.a"] {
        bench.publish(subject, "m");
    }
    for name in ["A", "E", "O"] {
        bench.next(name, "r", "2");
    }
    // The floor of those who acknowledged the first message has passed the beginning of the stream.
    bench.control("$JS.ACK.S.A.1.1.1.0.0", "", "+ACK");
    bench.control("$JS.ACK.S.E.1.1.1.0.0", "", "+ACK");
    bench.store.remove(2, None, false).unwrap();
    let notice = PurgeNotice { subject: Some(b"s.b"), only: Some((2, b"s.b")), ..PurgeNotice::default() };
    bench.with(|consumers, ctx| consumers.on_purged(ctx, &notice));
    let state = |bench: &mut Bench, name: &str| {
        let info = bench.info(name);
        (info.ack_floor.consumer_seq, info.ack_floor.stream_seq, info.num_ack_pending)
    };
    assert_eq!(state(&mut bench, "A"), (2, 2, 0));
    assert_eq!(state(&mut bench, "E"), (2, 2, 0));
    assert_eq!(state(&mut bench, "O"), (0, 0, 2), "it does not want what was purged");
}

#[test]
fn nothing_is_on_its_way_from_a_new_consumer_that_nobody_waits_for() {
    for (config, is_listened_to, wants) in [
        (r#"{"name":"PULL","ack_policy":"explicit"}"#, true, false),
        (r#"{"name":"PUSH","deliver_subject":"d"}"#, false, false),
        (r#"{"name":"PUSH","deliver_subject":"d"}"#, true, true),
        (r#"{"name":"PUSH","deliver_subject":"d","pause_until":"2300-01-01T00:00:00Z"}"#, true, false),
    ] {
        let mut bench = Bench::new();
        bench.publish("s.a", "x");
        bench.interest("d", is_listened_to);
        let mut decoded = crate::config::ConsumerConfig::default();
        jetkv_go_compat::json::decode_strict(config.as_bytes(), &mut decoded).unwrap();
        let wants_pump = bench.with(|consumers, ctx| {
            consumers.create(ctx, decoded, ConsumerAction::Create, false, None).unwrap();
            consumers.wants_pump()
        });
        assert_eq!(wants_pump, wants, "{config}");
    }
}
