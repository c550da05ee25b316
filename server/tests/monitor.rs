//! The monitoring pages over HTTP. Names of fields and their order were measured on nats-server v2.15.2.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::http;
use serde_json::Value;

const VARZ: [&str; 61] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "go",
    "host",
    "port",
    "auth_required",
    "max_connections",
    "ping_interval",
    "ping_max",
    "http_host",
    "http_port",
    "http_base_path",
    "https_port",
    "auth_timeout",
    "max_control_line",
    "max_payload",
    "max_pending",
    "cluster",
    "gateway",
    "leaf",
    "mqtt",
    "websocket",
    "jetstream",
    "tls_timeout",
    "write_deadline",
    "start",
    "now",
    "uptime",
    "mem",
    "cores",
    "gomaxprocs",
    "cpu",
    "connections",
    "total_connections",
    "routes",
    "remotes",
    "leafnodes",
    "in_msgs",
    "in_bytes",
    "in_client_msgs",
    "in_client_bytes",
    "out_msgs",
    "out_bytes",
    "out_client_msgs",
    "out_client_bytes",
    "slow_consumers",
    "stale_connections",
    "stalled_clients",
    "subscriptions",
    "http_req_stats",
    "config_load_time",
    "config_digest",
    "tags",
    "metadata",
    "feature_flags",
    "system_account",
    "slow_consumer_stats",
    "stale_connection_stats",
    "disk_io_wait_stats",
];

const CONNECTION: [&str; 23] = [
    "cid",
    "kind",
    "type",
    "ip",
    "port",
    "start",
    "last_activity",
    "rtt",
    "uptime",
    "idle",
    "pending_bytes",
    "in_msgs",
    "out_msgs",
    "in_bytes",
    "out_bytes",
    "subscriptions",
    "name",
    "lang",
    "version",
    "authorized_user",
    "account",
    "subscriptions_list",
    "name_tag",
];

const JSZ: [&str; 16] = [
    "memory",
    "storage",
    "reserved_memory",
    "reserved_storage",
    "accounts",
    "ha_assets",
    "api",
    "server_id",
    "now",
    "config",
    "limits",
    "streams",
    "consumers",
    "messages",
    "bytes",
    "total",
];

/// How many of the first keys of that page each account has too, behind its name and id.
const JSZ_ACCOUNT_SHARES: usize = 7;

const ACCOUNT_STAT: [&str; 9] = [
    "acc",
    "name",
    "conns",
    "leafnodes",
    "total_conns",
    "num_subscriptions",
    "sent",
    "received",
    "slow_consumers",
];

/// A server with an account, a user and a stream engine, the address of its pages, and a client.
fn start(store: &tempfile::TempDir) -> (Server, SocketAddr, BufReader<TcpStream>) {
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\nhttp_base_path: \"/m/\"\nserver_tags: [x]\n\
         server_metadata {{k: v}}\nno_auth_user: a\njetstream {{store_dir: \"{}\"}}\n\
         accounts {{A {{users: [{{user: a, password: b}}], jetstream: {{max_mem: 1M}}}}}}",
        store.path().display()
    );
    let server = Server::start(Options::from_config_text(&config).unwrap()).unwrap();
    let pages = server.serve_monitoring().unwrap().unwrap();
    let mut client = TcpStream::connect(server.client_address()).unwrap();
    client
        .write_all(b"CONNECT {\"name\":\"me\",\"lang\":\"x\",\"version\":\"1\"}\r\nSUB foo.> q 1\r\nPING\r\n")
        .unwrap();
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        assert!(client.read_line(&mut line).unwrap() > 0);
    }
    (server, pages, client)
}

/// Status, kind of content and content of a page.
fn get(pages: SocketAddr, path: &str) -> (u16, String, String) {
    let answer = http::get(pages, path).unwrap();
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    (answer.status, kind, answer.text())
}

fn get_json(pages: SocketAddr, path: &str) -> Value {
    let (status, kind, content) = get(pages, path);
    assert_eq!((status, kind.as_str()), (200, "application/json"), "{path}: {content}");
    serde_json::from_str(&content).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn pages_have_the_fields_of_nats_server_in_its_order() {
    let store = tempfile::tempdir().unwrap();
    let (server, pages, _client) = start(&store);
    assert_eq!(keys(&get_json(pages, "/m/varz")), VARZ);
    let connz = get_json(pages, "/m/connz?subs=1&auth=1");
    let connection = &connz["connections"][0];
    // The round trip is measured later.
    let shown: Vec<&str> = CONNECTION.into_iter().filter(|key| *key != "rtt").collect();
    let found: Vec<&str> = keys(connection).into_iter().filter(|key| *key != "rtt").collect();
    assert_eq!(found, shown);
    assert_eq!(connection["subscriptions_list"][0], "foo.>");
    assert_eq!((&connection["name"], &connection["account"]), (&"me".into(), &"A".into()));
    assert_eq!(keys(&get_json(pages, "/m/jsz")), JSZ);
    let jsz = get_json(pages, "/m/jsz?acc=A");
    assert_eq!(keys(&jsz["account_details"][0]), [&["name", "id"][..], &JSZ[..JSZ_ACCOUNT_SHARES]].concat());
    assert_eq!(jsz["account_details"][0]["reserved_memory"], 1_000_000);
    assert_eq!(keys(&get_json(pages, "/m/accstatz")["account_statz"][0]), ACCOUNT_STAT);
    assert_eq!(get_json(pages, "/m/accountz?acc=A")["account_detail"]["client_connections"], 1);
    assert_eq!(get_json(pages, "/m/subsz?acc=A&test=foo.a&subs=1")["total"], 1);
    server.shutdown();
}

#[test]
fn wrong_requests_are_answered_as_by_nats_server() {
    let store = tempfile::tempdir().unwrap();
    let (server, pages, _client) = start(&store);
    for (path, status, content) in [
        ("/m/foo", 404, "404 page not found\n"),
        ("/varz", 404, "404 page not found\n"),
        ("/m/connz?sort=x", 400, "invalid sorting option: x"),
        ("/m/connz?sort=stop", 400, "sort by stop only valid on closed connections"),
        ("/m/connz?state=x", 400, "Error decoding state for x"),
        (
            "/m/connz?subs=x",
            400,
            "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        ("/m/accountz?acc=X", 400, "Account X does not exist"),
        ("/m/healthz", 200, "{\"status\":\"ok\"}"),
        (
            "/m/healthz?account=A&stream=X",
            404,
            "{\"status\":\"unavailable\",\"error\":\"JetStream stream \\\"X\\\" not found on account \\\"A\\\"\"}",
        ),
        (
            "/m/healthz?details=1&account=X",
            404,
            "{\"status\":\"error\",\"errors\":[{\"type\":\"ACCOUNT\",\"account\":\"X\",\
             \"error\":\"JetStream account \\\"X\\\" not found\"}]}",
        ),
    ] {
        let (found_status, _, found) = get(pages, path);
        assert_eq!((found_status, found.as_str()), (status, content), "{path}");
    }
    server.shutdown();
}

#[test]
fn visits_of_pages_are_counted() {
    let store = tempfile::tempdir().unwrap();
    let (server, pages, _client) = start(&store);
    assert!(get(pages, "/m").2.contains("./varz"));
    get(pages, "/m/healthz");
    get(pages, "/m/varz");
    let varz = get_json(pages, "/m/varz");
    assert_eq!(varz["http_req_stats"].to_string(), "{\"/\":1,\"/healthz\":1,\"/varz\":2}");
    server.shutdown();
}
