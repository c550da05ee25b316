//! `jetkv lab serve`: its endpoints and errors, over a plain connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;

use common::tester::{PORTS, Service, Wire, command, port_of, start, terminate};
use serde_json::{Value, json};

#[test]
fn discovery_finds_every_endpoint_and_its_schema() {
    let mut service = Service::start();
    let mut found = |subject: &str| -> Value {
        let (_, body) = service.wire.ask(subject, "");
        serde_json::from_str(&body).unwrap()
    };
    let ping = found("$SRV.PING");
    assert_eq!(
        (&ping["name"], &ping["version"], &ping["type"]),
        (&json!("test-management"), &json!("0.0.1"), &json!("io.nats.micro.v1.ping_response"))
    );
    let id = ping["id"].as_str().unwrap();
    let info = found(&format!("$SRV.INFO.test-management.{id}"));
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    let endpoints = info["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 23);
    assert_eq!(
        endpoints[0],
        json!({"name": "server", "subject": "tester.create.server", "queue_group": "q", "metadata": null})
    );
    let schemas = found("tester.schema");
    let schemas = schemas["endpoints"].as_array().unwrap();
    assert_eq!(schemas.len(), 23);
    for schema in schemas {
        let subject = format!("tester.{}", schema["name"].as_str().unwrap());
        assert!(endpoints.iter().any(|endpoint| endpoint["subject"] == *subject), "{subject}");
        assert_eq!(schema["request"]["additionalProperties"], false, "{subject}");
    }
    found("tester.list");
    let stats = found("$SRV.STATS.test-management");
    assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
    // What was answered is counted behind its answer.
    let counted = |stats: &Value| {
        let endpoints = stats["endpoints"].as_array().unwrap();
        endpoints.iter().find(|one| one["subject"] == "tester.list").unwrap()["num_requests"].clone()
    };
    let mut stats = stats;
    while counted(&stats) != 1 {
        stats = found("$SRV.STATS");
    }
}

#[test]
fn a_server_lives_from_its_creation_to_its_end() {
    let mut service = Service::start();
    let (id, port) = service.create(&json!({"jetstream": true, "description": "d", "name": "alpha"}));
    let mut client = Wire::open(port);
    let (_, account) = client.ask("$JS.API.INFO", "");
    assert!(account.contains("account_info_response") && !account.contains("\"error\""), "{account}");
    let (_, created) = client.ask("$JS.API.STREAM.CREATE.S", r#"{"name":"S"}"#);
    assert!(!created.contains("\"error\""), "{created}");

    let status = service.ask("status", &json!({"instance_id": id}));
    let server = json!({
        "name": "alpha", "cluster": "", "port": port, "running": true,
        "version": status["instances"][0]["servers"][0]["version"],
    });
    assert_eq!(status["instances"][0]["servers"], json!([server]));
    assert_eq!(status["instances"][0]["backend"], "inprocess");
    let list = service.ask("list", &json!({}));
    let summary = &list["instances"][0];
    assert_eq!(
        (&summary["id"], &summary["servers"], &summary["jetstream"], &summary["description"]),
        (&json!(id), &json!(1), &json!(true), &json!("d"))
    );

    assert_eq!(service.ask("stop.server", &json!({"name": "alpha"}))["shutdown"], true);
    assert!(client.ends());
    for (endpoint, code, text) in
        [("stop.server", "003", "Server not running"), ("reload.server", "002", "Server not running")]
    {
        let refused = (code.to_owned(), text.to_owned());
        assert_eq!(service.refused(endpoint, &json!({"name": "alpha", "instance_id": id})), refused);
    }
    assert_eq!(service.ask("status", &json!({}))["instances"][0]["servers"][0]["running"], false);
    assert_eq!(service.ask("start.server", &json!({"name": "alpha", "instance_id": id}))["started"], true);
    assert_eq!(service.refused("start.server", &json!({"name": "alpha"})).0, "003");
    let mut client = Wire::open(port);
    let (_, stream) = client.ask("$JS.API.STREAM.INFO.S", "");
    assert!(stream.contains("stream_info_response") && !stream.contains("\"error\""), "{stream}");

    let stopped = service.ask("stop.instance", &json!({"instance_id": id}));
    assert_eq!(stopped["servers"], json!([{"name": "alpha", "running": false}]));
    assert!(client.ends());
    let started = service.ask("start.instance", &json!({"instance_id": id}));
    assert_eq!(started["servers"], json!([{"name": "alpha", "running": true}]));
    let mut client = Wire::open(port);
    assert_eq!(service.ask("destroy", &json!({"instance_id": id}))["destroyed"], true);
    assert!(client.ends());
    for endpoint in ["destroy", "status", "stop.instance", "start.instance"] {
        let refused = ("404".to_owned(), "Instance not found".to_owned());
        assert_eq!(service.refused(endpoint, &json!({"instance_id": id})), refused, "{endpoint}");
    }
    assert_eq!(service.ask("list", &json!({}))["instances"], json!([]));
}

#[test]
fn a_configuration_is_made_of_pieces_and_changed() {
    let mut service = Service::start();
    let websocket = "websocket { port: {{ .Ports.websocket }}, no_tls: true }";
    let request = json!({"name": "w", "snippets": {"websocket": websocket, "top": "max_payload: 2000"}});
    let created = service.ask("create.server", &request);
    let port = u16::try_from(created["servers"][0]["port"].as_u64().unwrap()).unwrap();
    let websocket_port =
        u16::try_from(created["servers"][0]["ports"]["websocket"].as_u64().unwrap()).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", websocket_port)).is_ok());
    let info = |port: u16| {
        let mut wire = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let mut line = String::new();
        wire.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(line.trim().strip_prefix("INFO ").unwrap()).unwrap()
    };
    assert_eq!(info(port)["max_payload"], 2000);

    let update = |top: &str| json!({"name": "w", "snippets": {"websocket": websocket, "top": top}});
    assert_eq!(service.ask("update.server", &update("max_payload: 3000"))["updated"], true);
    assert_eq!(info(port)["max_payload"], 2000, "it was not read yet");
    assert_eq!(service.ask("reload.server", &json!({"name": "w"}))["reloaded"], true);
    assert_eq!(info(port)["max_payload"], 3000);
    service.ask("update.server", &update("nope: 1"));
    let (code, text) = service.refused("reload.server", &json!({"name": "w"}));
    assert!(code == "010" && text.starts_with("reload failed: ") && text.ends_with("unknown field \"nope\""));
    for (request, code) in [
        (json!({"name": "w"}), "008"),
        (json!({"name": "w", "snippets": {"websocket": "a", "mqtt": "b"}}), "008"),
        (json!({"name": "w", "snippets": {"websocket": "{{"}}), "009"),
        (json!({"name": "w", "snippets": {"websocket": "a"}, "template": "{{ .Nope }}"}), "009"),
        (json!({"name": "w", "snippets": {"other": "a"}}), "007"),
        (json!({"name": "w", "snippets": {"websocket": "{{ .TLS.CAFile }}"}}), "007"),
        (json!({"name": "w", "snippets": {"websocket": "a", "jetstream": "b"}}), "011"),
        (json!({"name": "w", "snippets": {"websocket": "a"}, "tls_timeout": 1}), "007"),
    ] {
        assert_eq!(service.refused("update.server", &request).0, code, "{request}");
    }
    let template =
        "server_name: {{ .ServerName }}\nport: {{ .ClientPort }}\nmax_payload: {{ .ServerIndex }}000";
    let (_, port) = service.create(&json!({"template": template}));
    assert_eq!(info(port)["max_payload"], 1000);
}

#[test]
fn what_cannot_be_created_is_refused_with_its_code() {
    let mut service = Service::start();
    let agent = "the \"jetkv\" agent does not declare the \"capture\" capability";
    for (request, code, text) in [
        (json!({"name": "../a"}), "001", "Invalid request: name: '../a' does not match pattern "),
        (json!({"other": 1}), "001", "Invalid request: additional properties 'other' not allowed"),
        (json!({"snippets": {"../a": "x"}}), "007", "unknown snippet key \"../a\" (allowed: accounts, "),
        (json!({"snippets": {"jetstream": "x"}}), "011", "jetstream snippet requires JetStream"),
        (json!({"snippets": {"top": "{{ .Nope }}"}}), "002", "Snippet failure: snippet \"top\" render: "),
        (json!({"snippets": {"top": "{{ if }}"}}), "002", "Snippet failure: snippet \"top\" parse: "),
        (json!({"template": "{{ .Foo"}), "002", "Template parse failure: template: configuration:1: "),
        (json!({"template": "foo: bar"}), "003", "Server creation failed: could not process config file: "),
        (json!({"template": "host: 192.0.2.1"}), "003", "Server creation failed: a server of this service "),
        (json!({"snippets": {"tls": "x"}, "tls": {}}), "007", "WithGeneratedTLS and WithTLSSnippet are "),
        (json!({"template": "x", "tls": {}}), "007", "WithTemplate must reference {{.TLSInclude}} when "),
        (json!({"snippets": {"top": "{{.TLS}}"}}), "007", "snippet \"top\" references .TLS.* but "),
        (json!({"tls": {}, "trace": true}), "013", "trace capture does not support TLS instances"),
        (json!({"trace": true}), "018", agent),
        (json!({"proxy": true}), "018", agent),
        (json!({"toxics": true, "template": "x"}), "007", "WithTemplate must reference .ClientAdvertise"),
        (
            json!({"toxics": true, "template": "server_name: x\n# {{ .ClientAdvertise }}"}),
            "007",
            "toxics requires each node to set server_name to its node name: ",
        ),
    ] {
        let (got, told) = service.refused("create.server", &request);
        assert!(got == code && told.starts_with(text), "{request}: {got} {told}");
    }
    for endpoint in ["create.cluster", "create.super-cluster"] {
        let (code, text) = service.refused(endpoint, &json!({"servers": 3}));
        assert!(code == "003" && text.contains("clusters are not supported"), "{text}");
        assert_eq!(service.refused(endpoint, &json!({"servers": 1})).0, "001");
    }
    let (id, _) = service.create(&json!({}));
    for endpoint in ["shape.set", "shape.list", "shape.clear", "shape.report"] {
        let refused = ("015".to_owned(), "Instance has no trace proxy".to_owned());
        assert_eq!(service.refused(endpoint, &json!({"instance_id": id})), refused);
    }
    let clear = json!({"instance_id": id});
    assert_eq!(service.refused("toxic.clear", &clear).0, "020");
    let clocks = service.ask("clock", &json!({"extra": ["a"]}));
    assert_eq!(clocks["participants"][0]["reference"], true);
    assert!(clocks["participants"][1]["error"].is_string());
    // Nothing is left of what was refused.
    assert_eq!(service.ask("list", &json!({}))["instances"].as_array().unwrap().len(), 1);
    let folders: Vec<PathBuf> = service.folders();
    let inside = std::fs::read_dir(&folders[0]).unwrap().map(|entry| entry.unwrap().file_name());
    let mut inside: Vec<String> = inside.map(|name| name.to_string_lossy().into_owned()).collect();
    inside.sort_unstable();
    let mut wanted = vec![id, "lock".to_owned()];
    wanted.sort_unstable();
    assert_eq!(inside, wanted);
}

#[test]
fn hostile_requests_are_refused_and_the_service_goes_on() {
    let mut service = Service::start();
    let deep = "[".repeat(100_000);
    let loops = "{{range $.Ports}}".repeat(40);
    let ends = "{{end}}".repeat(40);
    for body in [
        "nul",
        "{",
        "\u{0}",
        deep.as_str(),
        r#"{"name":"a"}{"name":"b"}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":{"name":{"name":[]}}}"#,
    ] {
        assert_eq!(service.ask_text("create.server", body).unwrap_err().0, "001");
    }
    let endless = json!({"snippets": {"websocket": "", "mqtt": "", "top": format!("{loops}x{ends}")}});
    assert_eq!(service.refused("create.server", &endless).0, "002");
    let large = json!({"snippets": {"top": "# ".to_owned() + &"x".repeat(900_000)}});
    let (id, port) = service.create(&large);
    Wire::open(port);
    let header = json!({"name": "a\r\nNats-Service-Error-Code: 404"});
    let (code, text) = service.refused("create.server", &header);
    assert!(code == "001" && !text.contains('\n'), "{text}");
    let long = json!({"z".repeat(200_000): 1});
    assert!(service.refused("status", &long).1.len() <= 1024);
    service.ask("destroy", &json!({"instance_id": id}));
}

#[test]
fn servers_that_are_given_no_names_are_told_apart() {
    let mut service = Service::start();
    let name = |created: &Value| created["servers"][0]["name"].as_str().unwrap().to_owned();
    let first = service.ask("create.server", &json!({}));
    let second = service.ask("create.server", &json!({}));
    assert_eq!(name(&first), "n1");
    assert!(name(&second).ends_with("-n1"), "{second}");
    service.ask("stop.server", &json!({"name": "n1"}));
    service.ask("destroy", &json!({"instance_id": first["id"]}));
    assert_eq!(name(&service.ask("create.server", &json!({}))), "n1");

    let (a, _) = service.create(&json!({"name": "same"}));
    let (b, _) = service.create(&json!({"name": "same"}));
    let (code, text) = service.refused("stop.server", &json!({"name": "same"}));
    assert!(code == "023" && text.contains(&a) && text.contains(&b), "{text}");
    service.ask("stop.server", &json!({"name": "same", "instance_id": a}));
    let not_found = ("001".to_owned(), "Server not found".to_owned());
    assert_eq!(service.refused("stop.server", &json!({"name": "n1", "instance_id": b})), not_found);
    assert_eq!(service.refused("stop.server", &json!({"name": "none"})), not_found);
    assert_eq!(service.refused("stop.server", &json!({"name": "same", "instance_id": "none"})).0, "404");
    assert_eq!(service.ask("reset", &json!({}))["shutdown"], true);
    assert_eq!(service.ask("status", &json!({}))["instances"], json!([]));
}

#[test]
fn more_servers_come_and_go_than_there_are_ports() {
    let mut service = Service::start();
    for number in 0..2 * PORTS {
        let (id, _) = service.create(&json!({"description": number.to_string()}));
        service.ask("destroy", &json!({"instance_id": id}));
    }
    assert_eq!(service.ask("list", &json!({}))["instances"], json!([]));
}

#[test]
fn what_is_created_while_all_goes_does_not_stay() {
    let mut service = Service::start();
    let mut other = Wire::open(service.port);
    for _ in 0..20 {
        other.request("tester.create.server", "{}");
        service.ask("reset", &json!({}));
    }
    // All of them are answered, in one way or the other.
    for _ in 0..20 {
        other.answer();
    }
    service.ask("reset", &json!({}));
    assert_eq!(service.ask("list", &json!({}))["instances"], json!([]));
    let folders = service.folders();
    assert_eq!(std::fs::read_dir(&folders[0]).unwrap().count(), 1, "the lock");
}

#[test]
fn nothing_is_left_when_the_service_ends() {
    let mut service = Service::start();
    let (_, port) = service.create(&json!({"jetstream": true}));
    let mut client = Wire::open(port);
    assert_eq!(service.folders().len(), 1);
    assert!(terminate(&mut service.process).success());
    assert!(client.ends());
    assert_eq!(service.folders(), Vec::<PathBuf>::new());

    // What is left of one that was killed goes when the next one starts.
    let mut killed = start(command(service.dir.path())).0;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(service.folders().len(), 1);
    let mut next = start(command(service.dir.path())).0;
    let folders = service.folders().len();
    assert!(terminate(&mut next).success());
    assert_eq!(folders, 1);
}

#[test]
fn a_service_with_a_token_is_for_those_who_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut with_token = command(dir.path());
    with_token.args(["--token", "s3cr3t"]);
    let (mut process, url) = start(with_token);
    let mut stranger = Wire::connect(port_of(&url), &json!({"verbose": false}));
    assert!(stranger.line().contains("Authorization Violation"));
    let mut known = Wire::connect(port_of(&url), &json!({"verbose": false, "auth_token": "s3cr3t"}));
    assert_eq!(known.line(), "PONG");
    assert!(known.ask("tester.list", "").1.contains("list_response"));

    // Another one may serve on a server that runs elsewhere.
    let mut elsewhere = command(dir.path());
    elsewhere.args(["--url", &url.replace("nats://", "nats://s3cr3t@")]);
    let (mut second, same) = start(elsewhere);
    assert!(same.ends_with(&format!(":{}", port_of(&url))));
    assert!(terminate(&mut process).success());
    assert!(terminate(&mut second).success());
    let refused = command(dir.path()).args(["--host", "0.0.0.0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}
