//! The numbers for Prometheus: the dashboards that come with prometheus-nats-exporter find every series that they ask for.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::{http, until};

/// What the dashboard of the server asks for.
const SERVER: [&str; 9] = [
    "connections",
    "cpu",
    "in_bytes",
    "in_msgs",
    "mem",
    "out_bytes",
    "out_msgs",
    "slow_consumers",
    "subscriptions",
];
/// What that of JetStream asks of the server.
const JETSTREAM_OF_SERVER: [&str; 5] = [
    "connections",
    "jetstream_config_max_memory",
    "jetstream_config_max_storage",
    "jetstream_stats_memory",
    "jetstream_stats_storage",
];
/// What it asks of JetStream, with the label that it chooses or adds up by.
const JETSTREAM: [(&str, &str); 8] = [
    ("server_total_streams", "server_id"),
    ("server_total_consumers", "server_id"),
    ("stream_last_seq", "stream_name"),
    ("stream_total_bytes", "stream_name"),
    ("stream_total_messages", "stream_name"),
    ("consumer_num_pending", "consumer_name"),
    ("consumer_num_ack_pending", "consumer_name"),
    ("consumer_delivered_consumer_seq", "consumer_name"),
];

/// A server with a stream of two messages and a consumer that was given one of them.
fn start(store: &tempfile::TempDir) -> (Server, BufReader<TcpStream>) {
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\nserver_name: n\n\
         jetstream {{store_dir: \"{}\", max_mem: 1M, max_file: 2M, domain: d}}",
        store.path().display()
    );
    let server = Server::start(Options::from_config_text(&config).unwrap()).unwrap();
    let mut client = BufReader::new(TcpStream::connect(server.client_address()).unwrap());
    ask(&mut client, "CONNECT {\"name\":\"me \\\"too\\\"\"}\r\nSUB r 1\r\nPING\r\n", "PONG");
    let stream = "{\"name\":\"S\",\"subjects\":[\"s.*\"]}";
    let consumer = "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"C\",\"ack_policy\":\"explicit\"}}";
    for (subject, body) in [
        ("$JS.API.STREAM.CREATE.S", stream),
        ("s.1", "one"),
        ("s.2", "two"),
        ("$JS.API.CONSUMER.DURABLE.CREATE.S.C", consumer),
        ("$JS.API.CONSUMER.MSG.NEXT.S.C", "1"),
    ] {
        ask(&mut client, &format!("PUB {subject} r {}\r\n{body}\r\n", body.len()), "MSG");
    }
    (server, client)
}

/// Sends, and reads until a line that begins so.
fn ask(client: &mut BufReader<TcpStream>, text: &str, until: &str) {
    client.get_mut().write_all(text.as_bytes()).unwrap();
    let mut line = String::new();
    while !line.starts_with(until) {
        line.clear();
        assert!(client.read_line(&mut line).unwrap() > 0, "closed before {until}");
    }
}

/// The samples of a page: what stands before the value, and the value.
fn samples(server: &Server, query: &str) -> BTreeMap<String, f64> {
    let (status, text) = server.page("/metrics", query);
    assert_eq!(status, 200, "{text}");
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(rest) = comment.strip_prefix("TYPE ") {
                rest.split(' ').next().unwrap().clone_into(&mut family);
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let of = name.strip_prefix(&family).unwrap_or("x");
        assert!(["", "_bucket", "_sum", "_count"].contains(&of), "a series stands with its type: {line}");
        let old = samples.insert(series.to_owned(), value.parse().unwrap());
        assert!(old.is_none(), "twice: {series}");
    }
    samples
}

/// The value of the only series of a name.
fn only(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let begin = format!("{name}{{");
    let found: Vec<_> = samples.iter().filter(|(series, _)| series.starts_with(&begin)).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    let (series, value) = found[0];
    assert!(series.contains(&format!("{label}=\"")), "{series} has no label {label}");
    assert!(value.is_finite(), "{series} {value}");
    *value
}

#[test]
fn dashboards_find_their_series() {
    let store = tempfile::tempdir().unwrap();
    let (server, _client) = start(&store);
    for (query, of_server, of_jetstream) in [("", "gnatsd", "jetstream"), ("prefix=nats", "nats", "nats")] {
        let samples = samples(&server, query);
        for name in SERVER.into_iter().chain(JETSTREAM_OF_SERVER) {
            only(&samples, &format!("{of_server}_varz_{name}"), "server_id");
        }
        for (name, label) in JETSTREAM {
            only(&samples, &format!("{of_jetstream}_{name}"), label);
        }
        let number = |name: &str| only(&samples, &format!("{of_jetstream}_{name}"), "server_id");
        assert_eq!(number("stream_total_messages"), 2.0);
        assert_eq!(number("consumer_num_pending"), 1.0);
        assert_eq!(number("consumer_num_ack_pending"), 1.0);
        assert_eq!(number("consumer_delivered_consumer_seq"), 1.0);
        assert_eq!(number("server_total_streams"), 1.0);
        let varz = |name: &str| only(&samples, &format!("{of_server}_varz_{name}"), "server_id");
        assert_eq!((varz("connections"), varz("jetstream_config_max_memory")), (1.0, 1_000_000.0));
        assert_eq!(only(&samples, &format!("{of_server}_healthz_status"), "server_id"), 0.0);
    }
    server.shutdown();
}

#[test]
fn connections_are_shown_together_or_one_by_one() {
    let store = tempfile::tempdir().unwrap();
    let (server, _client) = start(&store);
    let together = samples(&server, "");
    assert_eq!(only(&together, "gnatsd_connz_in_msgs", "server_id"), 5.0);
    assert!(!together.keys().any(|series| series.contains("cid=")));
    let single = samples(&server, "connections=1");
    assert_eq!(only(&single, "gnatsd_connz_in_msgs", "cid"), 5.0);
    let (named, _) = single.iter().find(|(series, _)| series.starts_with("gnatsd_connz_rtt{")).unwrap();
    assert!(named.contains("name=\"me \\\"too\\\"\""), "{named}");
    assert_eq!(only(&single, "gnatsd_connz_num_connections", "server_id"), 1.0);
    let accounts: Vec<&String> =
        single.keys().filter(|series| series.starts_with("gnatsd_accstatz_current_connections{")).collect();
    assert!(accounts.iter().any(|series| series.contains("account=\"$G\"")), "{accounts:?}");
    server.shutdown();
}

#[test]
fn wrong_parameters_are_refused() {
    let store = tempfile::tempdir().unwrap();
    let (server, _client) = start(&store);
    for query in ["prefix=1a", "prefix=a-b", "prefix=a%22", "connections=x"] {
        let (status, text) = server.page("/metrics", query);
        assert_eq!((status, text.starts_with("Error decoding")), (400, true), "{query}: {text}");
    }
    server.shutdown();
}

#[test]
fn the_page_says_what_it_is() {
    let store = tempfile::tempdir().unwrap();
    let (server, _client) = start(&store);
    let pages = server.serve_monitoring().unwrap().unwrap();
    let answer = http::get(pages, "/metrics").unwrap();
    let kind = answer.header("content-type").unwrap_or_default();
    assert_eq!((answer.status, kind), (200, "text/plain; version=0.0.4; charset=utf-8"));
    server.shutdown();
}

/// The buckets of a histogram, in the order of their bounds, its sum and its number.
fn histogram(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> (Vec<(f64, f64)>, f64, f64) {
    let of = |suffix: &str| {
        let begin = format!("{name}_{suffix}{{");
        let all =
            samples.iter().filter(move |(series, _)| series.starts_with(&begin) && series.contains(label));
        all.map(|(series, value)| (series.clone(), *value)).collect::<Vec<_>>()
    };
    let mut buckets: Vec<(f64, f64)> = of("bucket")
        .iter()
        .map(|(series, value)| {
            let bound = series.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
            (bound.parse().unwrap(), *value)
        })
        .collect();
    buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (sums, counts) = (of("sum"), of("count"));
    assert_eq!((sums.len(), counts.len()), (1, 1), "{name} {label}");
    (buckets, sums[0].1, counts[0].1)
}

/// The number of a histogram, whose parts have to fit each other.
fn measured(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let (buckets, sum, count) = histogram(samples, name, label);
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name} {label}");
    assert!(buckets.len() > 10 && buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
    assert_eq!(sum > 0.0, count > 0.0, "{name} {label}: {count} took {sum} s");
    count
}

#[test]
fn requests_of_the_api_are_measured_by_what_they_are() {
    let store = tempfile::tempdir().unwrap();
    let (server, mut client) = start(&store);
    let name = "jetkv_api_request_duration_seconds";
    let counted = |samples: &BTreeMap<String, f64>, request: &str| {
        let label = format!("request=\"{request}\"");
        let any = samples.keys().any(|series| series.starts_with(name) && series.contains(&label));
        if any { measured(samples, name, &label) } else { 0.0 }
    };
    // A request is counted when its answer has left.
    let wait = |expected: &[(&str, f64)]| {
        until("requests are counted", || {
            let now = samples(&server, "");
            let counts: Vec<_> =
                expected.iter().map(|(request, _)| (*request, counted(&now, request))).collect();
            if counts == expected { Ok(now) } else { Err(counts) }
        })
    };
    wait(&[("STREAM.CREATE", 1.0), ("CONSUMER.DURABLE.CREATE", 1.0), ("STREAM.INFO", 0.0)]);
    for subject in ["STREAM.INFO.S", "STREAM.INFO.S", "STREAM.INFO.NONE", "CONSUMER.INFO.S.C"] {
        ask(&mut client, &format!("PUB $JS.API.{subject} r 0\r\n\r\n"), "MSG");
    }
    let after = wait(&[("STREAM.INFO", 3.0), ("CONSUMER.INFO", 1.0), ("STREAM.CREATE", 1.0)]);
    assert!(!after.keys().any(|series| series.contains("NONE")), "no label comes from a client");
    server.shutdown();
}

#[test]
fn syncs_to_the_disk_are_measured() {
    let store = tempfile::tempdir().unwrap();
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\n\
         jetstream {{store_dir: \"{}\", sync_interval: always}}",
        store.path().display()
    );
    let server = Server::start(Options::from_config_text(&config).unwrap()).unwrap();
    let name = "jetkv_sync_duration_seconds";
    assert_eq!(measured(&samples(&server, ""), name, "server_id"), 0.0, "nothing was stored yet");
    let mut client = BufReader::new(TcpStream::connect(server.client_address()).unwrap());
    ask(&mut client, "CONNECT {}\r\nSUB r 1\r\nPING\r\n", "PONG");
    let body = "{\"name\":\"S\",\"subjects\":[\"s\"]}";
    ask(&mut client, &format!("PUB $JS.API.STREAM.CREATE.S r {}\r\n{body}\r\n", body.len()), "MSG");
    let before = measured(&samples(&server, ""), name, "server_id");
    for _ in 0..3 {
        ask(&mut client, "PUB s r 1\r\nx\r\n", "MSG");
    }
    // One after the other, each waited for its own.
    let after = measured(&samples(&server, ""), name, "server_id");
    assert!(after >= before + 3.0, "{before} {after}");
    server.shutdown();
}
