//! Numbers of connections, as clients and pages see them: nats-server v2.15.2 counts its own among them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;

use common::{Wire, message};
use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::http;
use serde_json::Value;

fn start(store: &tempfile::TempDir) -> (Server, SocketAddr) {
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\njetstream {{store_dir: \"{}\"}}\n",
        store.path().display()
    );
    let server = Server::start(Options::from_config_text(&config).unwrap()).unwrap();
    let pages = server.serve_monitoring().unwrap().unwrap();
    (server, pages)
}

/// The number that INFO gives a new connection.
fn next_client(server: &Server) -> u64 {
    let info = Wire::open(server).line();
    let info: Value = serde_json::from_str(info.trim_start_matches("INFO ").trim()).unwrap();
    info["client_id"].as_u64().unwrap()
}

fn publication(subject: &str, reply: &str, body: &str) -> String {
    format!("PUB {subject} {reply} {}\r\n{body}\r\n", body.len())
}

fn ask(wire: &mut Wire, subject: &str, body: &str) {
    wire.send(&publication(subject, "in.1", body));
    let (_, answer) = message(wire);
    assert!(!answer.contains("\"error\""), "{answer}");
}

/// Subject, sid, messages and connection of what the server itself listens on in the global account and for consumers.
fn own(pages: SocketAddr) -> Vec<(String, String, u64, u64)> {
    let page = http::get(pages, "/subsz?subs=1").unwrap();
    let page: Value = serde_json::from_slice(&page.body).unwrap();
    let listed = page["subscriptions_list"].as_array().unwrap();
    assert_eq!(page["num_subscriptions"], listed.len());
    let mut own: Vec<_> = listed
        .iter()
        .filter(|one| one["account"] == "$G" || one["subject"].as_str().unwrap().starts_with("$JSC"))
        .filter(|one| one["subject"] != "in.*" && !one["subject"].as_str().unwrap().starts_with("$SYS"))
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            (text("subject"), text("sid"), one["msgs"].as_u64().unwrap(), one["cid"].as_u64().unwrap())
        })
        .collect();
    own.sort();
    own
}

fn rows(rows: &[(&str, &str, u64, u64)]) -> Vec<(String, String, u64, u64)> {
    rows.iter()
        .map(|(subject, sid, msgs, cid)| ((*subject).to_owned(), (*sid).to_owned(), *msgs, *cid))
        .collect()
}

#[test]
fn streams_and_consumers_have_connections_and_subscriptions_that_count() {
    let store = tempfile::tempdir().unwrap();
    let (server, pages) = start(&store);
    assert_eq!(next_client(&server), 5);
    let mut wire = Wire::client(&server);
    wire.send("SUB in.* 1\r\n");
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["a.>","b"],"allow_direct":true}"#);
    assert_eq!(next_client(&server), 6 + 3 + 1);
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    ask(&mut wire, "$JS.API.CONSUMER.DURABLE.CREATE.S.C", consumer);
    assert_eq!(next_client(&server), 10 + 2 + 1);
    for subject in ["a.1", "a.2"] {
        ask(&mut wire, subject, "x");
    }
    ask(&mut wire, "$JS.API.DIRECT.GET.S.a.1", "");
    wire.send(&publication("$JS.ACK.S.C.1.1.1.1.1", "", ""));
    wire.send("PING\r\n");
    wire.expect("PONG\r\n");
    assert_eq!(
        own(pages),
        rows(&[
            ("$JS.ACK.S.C.*.*.*.*.*", "1", 1, 11),
            ("$JS.ACK._.szMpdrwD.S.C.*.*.*.*.>", "2", 0, 11),
            ("$JS.API.>", "5", 3, 3),
            ("$JS.API.CONSUMER.MSG.NEXT.S.C", "3", 0, 11),
            ("$JS.API.CONSUMER.RESET.S.C", "4", 0, 11),
            ("$JS.API.DIRECT.GET.S", "3", 0, 7),
            ("$JS.API.DIRECT.GET.S.>", "4", 1, 7),
            ("$JSC.CI.$G.S.C", "59", 0, 12),
            ("a.>", "1", 2, 7),
            ("b", "2", 0, 7),
        ])
    );
    server.shutdown();
    let (server, pages) = start(&store);
    assert_eq!(next_client(&server), 5 + 3 + 2);
    let after: Vec<_> =
        own(pages).into_iter().filter(|(subject, ..)| subject.starts_with("$JS.ACK")).collect();
    assert_eq!(after.iter().map(|(.., msgs, cid)| (*msgs, *cid)).collect::<Vec<_>>(), [(0, 8), (0, 8)]);
    server.shutdown();
}
