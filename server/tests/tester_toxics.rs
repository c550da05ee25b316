//! `jetkv lab serve`: what is wrong on the way between a client and a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;

use common::tester::{Service, Wire};
use serde_json::{Value, json};

/// A server with toxics, its instance, and the port of its proxy.
fn with_toxics(service: &mut Service) -> (String, u16) {
    let (id, port) = service.create(&json!({"name": "t", "toxics": true}));
    Wire::open(port);
    (id, port)
}

#[test]
fn toxics_are_listed_where_they_act() {
    let mut service = Service::start();
    let (id, port) = with_toxics(&mut service);
    let status = service.ask("status", &json!({"instance_id": id}));
    let link = &status["instances"][0]["links"][0];
    assert_eq!(
        (&link["name"], &link["kind"], &link["to"], &link["proxy"]),
        (&json!("client:t"), &json!("client"), &json!("t"), &json!(format!("localhost:{port}")))
    );
    let toxic = |name: &str, rest: Value| {
        let mut toxic = json!({"name": name, "type": "latency", "attributes": {"latency": 1}});
        toxic.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"instance_id": id, "toxic": toxic})
    };
    let selector = json!({"selector": {"kind": "client", "to": "t", "direction": "to"}});
    let added = service.ask("toxic.add", &toxic("slow", selector))["toxic"].clone();
    assert_eq!(
        (&added["name"], &added["toxicity"], &added["links"], &added["attributes"]),
        (&json!("slow"), &json!(1.0), &json!(["client:t"]), &json!({"latency": 1}))
    );
    for (request, text) in [
        (toxic("slow", json!({})), "invalid toxic \"slow\": name is in use"),
        (toxic("a/b", json!({})), "invalid toxic \"a/b\": name must be 1 to 64 letters, digits, "),
        (toxic("a", json!({"toxicity": 2})), "invalid toxic \"a\": toxicity must be from 0 to 1"),
        (toxic("a", json!({"selector": {"node": "x"}})), "invalid toxic \"a\": selector.node: there is no "),
        (
            toxic("a", json!({"selector": {"kind": "route"}})),
            "invalid toxic \"a\": selector: matches no link",
        ),
        (
            toxic("a", json!({"selector": {"direction": "to"}})),
            "invalid toxic \"a\": selector.direction: to ",
        ),
    ] {
        let (code, told) = service.refused("toxic.add", &request);
        assert!(code == "021" && told.starts_with(text), "{request}: {told}");
    }
    assert_eq!(service.refused("toxic.add", &json!({"instance_id": id, "toxic": {"type": "no"}})).0, "001");
    let report = service.ask("toxic.report", &json!({"instance_id": id}));
    assert_eq!(report["toxics"], json!([added]));
    let on_link = &report["links"][0]["toxics"][0];
    assert_eq!((&on_link["name"], &on_link["direction"]), (&json!("slow"), &json!("to")));
    let status = service.ask("status", &json!({"instance_id": id}));
    assert_eq!(status["instances"][0]["toxics"], json!([added]));
    service.ask("toxic.add", &toxic("more", json!({})));
    let removed = service.ask("toxic.remove", &json!({"instance_id": id, "name": "slow"}));
    assert_eq!(removed["removed"], "slow");
    assert_eq!(service.refused("toxic.remove", &json!({"instance_id": id, "name": "slow"})).0, "021");
    assert_eq!(service.ask("toxic.clear", &json!({"instance_id": id}))["cleared"], json!(["more"]));
    assert_eq!(service.ask("list", &json!({}))["instances"][0]["toxics"], true);
}

#[test]
fn a_stopped_server_is_found_again_behind_its_proxy() {
    let mut service = Service::start();
    let (id, port) = with_toxics(&mut service);
    let mut client = Wire::open(port);
    service.ask("stop.instance", &json!({"instance_id": id}));
    assert!(client.ends());
    service.ask("start.instance", &json!({"instance_id": id}));
    Wire::open(port);
    service.ask("destroy", &json!({"instance_id": id}));
}

/// What the tests below do with the toxics of an instance.
trait Toxics {
    fn add(&mut self, id: &str, kind: &str, attributes: &Value);
    fn clear(&mut self, id: &str);
}

impl Toxics for Service {
    fn add(&mut self, id: &str, kind: &str, attributes: &Value) {
        let toxic = json!({"name": kind, "type": kind, "attributes": attributes});
        self.ask("toxic.add", &json!({"instance_id": id, "toxic": toxic}));
    }

    fn clear(&mut self, id: &str) {
        self.ask("toxic.clear", &json!({"instance_id": id}));
    }
}

#[test]
fn toxics_delay_and_cut_and_end_connections() {
    let mut service = Service::start();
    let (id, port) = with_toxics(&mut service);

    // Each takes at least the time that it is to take.
    for (kind, attributes, least_ms) in [
        ("latency", json!({"latency": 30}), 60),
        ("bandwidth", json!({"rate": 1}), 4),
        ("slicer", json!({"average_size": 1, "delay": 1000}), 8),
    ] {
        let mut client = Wire::open(port);
        service.add(&id, kind, &attributes);
        let begun = std::time::Instant::now();
        client.send("PING\r\n");
        assert_eq!(client.line(), "PONG", "{kind}");
        assert!(begun.elapsed().as_millis() >= least_ms, "{kind}: {:?}", begun.elapsed());
        service.clear(&id);
        client.send("PING\r\n");
        assert_eq!(client.line(), "PONG", "{kind} is gone");
    }

    // What is dropped is not told, and who lost something ends when the cut does. So much does not fit into what lies between
    // here and there: when it is sent, some was dropped.
    let mut cut = Wire::open(port);
    service.add(&id, "cut", &json!({}));
    cut.send(&"PING\r\n".repeat(64 << 20 >> 2));
    service.clear(&id);
    assert!(cut.ends());

    let mut timed_out = Wire::open(port);
    service.add(&id, "timeout", &json!({"timeout": 10}));
    assert!(timed_out.ends());
    service.clear(&id);

    let mut reset = Wire::open(port);
    service.add(&id, "reset_peer", &json!({}));
    reset.send("PING\r\n");
    assert!(reset.socket.read_line(&mut String::new()).is_err(), "a reset, no end");
    service.clear(&id);

    service.add(&id, "limit_data", &json!({"bytes": 5}));
    let mut limited = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut got = String::new();
    limited.read_to_string(&mut got).unwrap();
    assert_eq!(got, "INFO ");
    service.clear(&id);

    service.add(&id, "lossy", &json!({"loss": 0.5, "rto": 1, "max_rto": 1}));
    service.add(&id, "slow_close", &json!({"delay": 1}));
    let mut lossy = Wire::open(port);
    let body = "x".repeat(100_000);
    lossy.send(&format!("SUB s 2\r\nPUB s {}\r\n{body}\r\n", body.len()));
    assert_eq!(lossy.line(), format!("MSG s 2 {}", body.len()));
    assert_eq!(lossy.line(), body, "nothing is lost for good");
}
