//! What the lab recorded of a session is a scenario that plays on both servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jetkv_compat_tests::oracle::Toolbox;
use jetkv_compat_tests::process::{Server, ServerOptions};
use jetkv_compat_tests::request::Requester;
use jetkv_compat_tests::transcript::compare::{Comparison, Report};
use jetkv_compat_tests::transcript::play::Tools;
use jetkv_compat_tests::transcript::scenario;
use serde_json::Value;

#[test]
fn a_recorded_session_plays_on_both_servers() {
    let toolbox = Toolbox::default();
    // Reported as skipped by the toolbox; with CI=true it is an error.
    let Some((reference, candidate)) = toolbox.servers().unwrap() else { return };
    let (flags, config) = (vec!["-js".to_owned()], Some("lab: true\n".to_owned()));
    let server =
        Server::start(&candidate, &ServerOptions { flags, config, ..ServerOptions::default() }).unwrap();
    let mut client = Requester::open_as(&server, r#","name":"app""#).unwrap();
    let mut ask = |subject: &str, payload: &str| {
        let answer = client.ask(subject, "", payload.as_bytes()).unwrap().expect("the server answers");
        answer.payload
    };
    let bucket = r#"{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"allow_direct":true,"storage":"memory"}"#;
    ask("$JS.API.STREAM.CREATE.KV_b", bucket);
    ask("$KV.b.colour", "red");
    ask("$KV.b.colour", "${no variable}\\\t\r\n");
    ask("$JS.API.DIRECT.GET.KV_b.$KV.b.colour", "");
    ask("$JS.API.STREAM.INFO.KV_c", "");
    let recorded: Value =
        serde_json::from_slice(&ask("$JETKV.LAB.JOURNAL.RECORD", r#"{"client":"app"}"#)).unwrap();
    let text = recorded["scenario"].as_str().expect("a scenario");
    assert_eq!(text.matches(" request ").count(), 5, "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recorded.txt");
    std::fs::write(&file, text).unwrap();
    let cases = scenario::read_all(&file).unwrap();
    let mut comparison = Comparison::new(&reference, &candidate, &Tools { cli: None });
    let report = Report::run(&cases, &mut comparison);
    assert!(report.is_good(), "{text}\n{}{}", report.summary(), report.faults());
}
