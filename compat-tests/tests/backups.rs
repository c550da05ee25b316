//! Backups go from JetKV to nats-server and back, and from JetKV into a cluster of three and back, with everything in
//! them: history, times, deletes, TTLs, consumers. The way is that of docs/scale.md, by the official CLI.
#![allow(clippy::expect_used, missing_docs)]

use std::net::TcpListener;
use std::time::Duration;

use jetkv_compat_tests::oracle::{Launch, Tool, Toolbox};
use jetkv_compat_tests::process::{Program, Server, ServerOptions, command, run_to_end};
use jetkv_compat_tests::request::Requester;
use jetkv_compat_tests::{Result, is_ci};
use jetkv_testing::{http, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// No command of the CLI takes so long.
const WAIT: Duration = Duration::from_secs(60);
const STREAMS: [&str; 3] = ["KV_history", "KV_ttl", "WORK"];
/// When something falls due that is to do so behind a move.
const SOON: Duration = Duration::from_secs(5);
const FEATURES: [&str; 7] = ["O", "M", "S", "COUNT", "SUM", "AT", "IDS"];

struct Tools {
    theirs: Program,
    ours: Program,
    cli: Launch,
}

/// The programs, or nothing where they cannot be had.
fn tools() -> Option<Tools> {
    let toolbox = Toolbox::default();
    let servers = toolbox.servers().expect("both servers can be had");
    let cli = toolbox.require(Tool::Cli).expect("the CLI can be installed");
    let (Some((theirs, ours)), Some(cli)) = (servers, cli) else {
        assert!(!is_ci(), "nats-server and the CLI are needed");
        return None;
    };
    Some(Tools { theirs, ours, cli })
}

impl Tools {
    fn nats(&self, server: &Server, args: &[&str]) -> Result<String> {
        let mut cli = command(&self.cli.program);
        cli.args(&self.cli.arguments).args(["--server", &server.url()]).args(args);
        let finished = run_to_end(cli, WAIT)?;
        match finished.code {
            Some(0) => Ok(finished.stdout),
            _ => Err(format!("nats {}: {}{}", args.join(" "), finished.stdout, finished.stderr).into()),
        }
    }
}

impl Tools {
    /// Has a stream kept so many times. The CLI edits buckets as such only.
    fn scale(&self, server: &Server, stream: &str, replicas: &str) -> Result<String> {
        match stream.strip_prefix("KV_") {
            Some(bucket) => self.nats(server, &["kv", "edit", bucket, "--replicas", replicas]),
            None => self.nats(server, &["stream", "edit", stream, "--replicas", replicas, "--force"]),
        }
    }
}

fn alone(program: &Program) -> Result<Server> {
    Server::start(program, &ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() })
}

#[test]
fn a_backup_of_either_server_restores_on_the_other() {
    let Some(tools) = tools() else { return };
    for (first, second) in [(&tools.ours, &tools.theirs), (&tools.theirs, &tools.ours)] {
        there_and_back(&tools, first, second).expect("backups come back");
    }
}

fn there_and_back(tools: &Tools, first: &Program, second: &Program) -> Result<()> {
    let (mut one, mut two) = (alone(first)?, alone(second)?);
    fill(&mut Requester::open(&one)?)?;
    let before = picture(&one, Consumers::Whole)?;
    let dir = tempfile::tempdir()?;
    let backup = dir.path().join("there").display().to_string();
    tools.nats(&one, &["account", "backup", &backup, "--consumers", "--force"])?;
    tools.nats(&two, &["account", "restore", &backup])?;
    compare(&before, &picture(&two, Consumers::Whole)?, &format!("from {} to {}", first.name, second.name))?;
    for stream in STREAMS {
        tools.nats(&one, &["stream", "rm", stream, "--force"])?;
        let backup = dir.path().join(stream).display().to_string();
        tools.nats(&two, &["stream", "backup", stream, &backup, "--consumers", "--no-progress"])?;
        tools.nats(&one, &["backup", "validate", &backup])?;
        tools.nats(&one, &["stream", "restore", &backup, "--no-progress"])?;
    }
    compare(&before, &picture(&one, Consumers::Whole)?, &format!("from {} back", second.name))?;
    one.stop(Signal::TERM)?;
    two.stop(Signal::TERM)?;
    Ok(())
}

#[test]
fn streams_with_features_go_on_alike_wherever_they_are_restored() {
    let Some(tools) = tools() else { return };
    let (theirs, ours) = (&tools.theirs, &tools.ours);
    let expected = features_go_on(&tools, theirs, theirs).expect("nats-server restores its own");
    for (first, second) in [(ours, ours), (ours, theirs), (theirs, ours)] {
        let found = features_go_on(&tools, first, second).expect("they are restored");
        compare(&expected, &found, &format!("from {} to {}", first.name, second.name)).expect("they go on");
    }
}

/// Streams with each feature, out of one server and into another, where they go on.
fn features_go_on(tools: &Tools, first: &Program, second: &Program) -> Result<Vec<String>> {
    let (mut one, mut two) = (alone(first)?, alone(second)?);
    fill_features(&mut Requester::open(&one)?)?;
    let dir = tempfile::tempdir()?;
    let backup = dir.path().join("features").display().to_string();
    tools.nats(&one, &["account", "backup", &backup, "--consumers", "--force"])?;
    one.stop(Signal::TERM)?;
    tools.nats(&two, &["account", "restore", &backup])?;
    let mut client = Requester::open(&two)?;
    let mut lines = Vec::new();
    for (subject, headers) in
        [("o.x", ""), ("count.a", "Nats-Incr: 1\r\n"), ("count.b", "Nats-Incr: -2\r\n"), ("ids.c", "")]
    {
        let payload: &[u8] = if subject == "o.x" { b"after" } else { b"" };
        let answer = client.ask(subject, headers, payload)?.ok_or("closed")?;
        lines.push(String::from_utf8(answer.payload)?);
    }
    // The last that is to come, wherever it comes to.
    for (stream, subject, payload) in [
        ("M", "o.x", "after"),
        ("S", "s.x", "after"),
        ("SUM", "sum", "{\"val\":\"11\"}"),
        ("AT", "at.soon.t", "due"),
    ] {
        until_so(stream, || {
            let last = client.direct_get(stream, &json!({"last_by_subj": subject}))?;
            Ok(last.payload == payload.as_bytes())
        });
    }
    for stream in FEATURES {
        let info = client.api(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({"subjects_filter": ">"}))?;
        let part = |at: &str| info.pointer(at).cloned().unwrap_or_default();
        lines.push(format!(
            "{stream} {} {} {}",
            part("/config"),
            part("/state/subjects"),
            part("/state/last_seq")
        ));
    }
    two.stop(Signal::TERM)?;
    Ok(lines)
}

/// Origins, a mirror, a stream that gathers, counters and their sum, schedules, and a batch with ids.
fn fill_features(client: &mut Requester) -> Result<()> {
    let source = |name: &str, src: &str, dest: &str| json!([{"name": name, "subject_transforms": [{"src": src, "dest": dest}]}]);
    for (name, field, value) in [
        ("O", "subjects", json!(["o.>"])),
        ("M", "mirror", json!({"name": "O"})),
        ("S", "sources", source("O", "o.*", "s.$1")),
        ("COUNT", "subjects", json!(["count.>"])),
        ("SUM", "sources", source("COUNT", "count.*", "sum")),
        ("AT", "subjects", json!(["at.>"])),
        ("IDS", "subjects", json!(["ids.>"])),
    ] {
        let mut config = json!({"name": name, "allow_direct": true});
        if let Some(fields) = config.as_object_mut() {
            fields.insert(field.to_owned(), value);
            let feature = match name {
                "COUNT" | "SUM" => "allow_msg_counter",
                "AT" => "allow_msg_schedules",
                _ => "allow_msg_ttl",
            };
            fields.insert(feature.to_owned(), Value::Bool(true));
            fields.insert("allow_atomic".to_owned(), Value::Bool(name == "IDS"));
        }
        client.create_stream(&config)?;
    }
    for at in 0..5 {
        client.publish(&format!("o.{}", at % 3), "Trace: a\r\n", format!("value {at}").as_bytes())?;
    }
    for (subject, by) in [("count.a", 5), ("count.b", 10), ("count.a", -3)] {
        client.publish(subject, &format!("Nats-Incr: {by}\r\n"), b"")?;
    }
    // Due while it moves, or just before, and long after.
    let soon = jiff::Timestamp::now().checked_add(SOON)?;
    for (name, pattern) in [("soon", format!("@at {soon}")), ("later", "@every 1000h".to_owned())] {
        let headers = format!("Nats-Schedule: {pattern}\r\nNats-Schedule-Target: at.{name}.t\r\n");
        client.publish(&format!("at.{name}"), &headers, b"due")?;
    }
    for (seq, end) in [(1, ""), (2, "Nats-Batch-Commit: 1\r\n")] {
        let id = if seq == 1 { "a" } else { "b" };
        let headers = format!("Nats-Msg-Id: {id}\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: {seq}\r\n{end}");
        client.ask(&format!("ids.{id}"), &headers, b"x")?;
    }
    for (stream, last_seq) in [("M", 5), ("S", 5), ("SUM", 3)] {
        until_so(stream, || {
            let info = client.api(&format!("$JS.API.STREAM.INFO.{stream}"), &Value::Null)?;
            Ok(info.pointer("/state/last_seq").and_then(Value::as_u64) == Some(last_seq))
        });
    }
    Ok(())
}

#[test]
fn buckets_move_into_a_cluster_and_back() {
    let Some(tools) = tools() else { return };
    into_a_cluster_and_back(&tools).expect("the buckets move");
}

fn into_a_cluster_and_back(tools: &Tools) -> Result<()> {
    let mut lone = alone(&tools.ours)?;
    fill(&mut Requester::open(&lone)?)?;
    let before = picture(&lone, Consumers::Acknowledged)?;
    let dir = tempfile::tempdir()?;
    let there = dir.path().join("there").display().to_string();
    tools.nats(&lone, &["account", "backup", &there, "--consumers", "--force"])?;
    lone.stop(Signal::TERM)?;

    let mut cluster = cluster(&tools.theirs)?;
    let member = cluster.first().ok_or("no members")?;
    until_so("a leader", || has_leader(member));
    tools.nats(member, &["account", "restore", &there])?;
    for stream in STREAMS {
        tools.scale(member, stream, "3")?;
    }
    for stream in STREAMS {
        until_so("three replicas", || is_copied(member, stream));
    }
    compare(&before, &picture(member, Consumers::Acknowledged)?, "in the cluster")?;

    for stream in STREAMS {
        tools.scale(member, stream, "1")?;
        until_so("one replica", || Ok(replicas(member, stream)?.is_empty()));
    }
    let back = dir.path().join("back");
    let mut lone = alone(&tools.ours)?;
    for stream in STREAMS {
        let backup = back.join(stream).display().to_string();
        tools.nats(member, &["stream", "backup", stream, &backup, "--consumers", "--no-progress"])?;
        tools.nats(&lone, &["stream", "restore", &backup, "--no-progress"])?;
    }
    compare(&before, &picture(&lone, Consumers::Acknowledged)?, "out of the cluster")?;
    lone.stop(Signal::TERM)?;
    for member in &mut cluster {
        member.stop(Signal::KILL)?;
    }
    Ok(())
}

/// Three servers that know each other.
fn cluster(program: &Program) -> Result<Vec<Server>> {
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|addr| addr.port()))
        .collect::<std::io::Result<_>>()?;
    drop(listeners);
    let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let member = |(number, port): (usize, &u16)| {
        let config = format!(
            "server_name: n{number}\ncluster {{ name: three, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
            routes.join(", ")
        );
        Server::start(
            program,
            &ServerOptions { flags: vec!["-js".into()], config: Some(config), ..ServerOptions::default() },
        )
    };
    ports.iter().enumerate().map(member).collect()
}

/// Waits until it is so. An error may be that of a server which has yet to find its cluster.
fn until_so(what: &str, mut is_so: impl FnMut() -> Result<bool>) {
    until(what, || match is_so() {
        Ok(true) => Ok(()),
        state => Err(state),
    });
}

/// Whether the cluster of a server has a leader. Before, it answers no request.
fn has_leader(server: &Server) -> Result<bool> {
    let port = server.port("monitoring").ok_or("no monitoring port")?;
    let page = http::get(("127.0.0.1", port), "/jsz")?;
    let page: Value = serde_json::from_slice(&page.body)?;
    Ok(page.pointer("/meta_cluster/leader").and_then(Value::as_str).is_some_and(|leader| !leader.is_empty()))
}

fn replicas(server: &Server, stream: &str) -> Result<Vec<Value>> {
    let info = Requester::open(server)?.api(&format!("$JS.API.STREAM.INFO.{stream}"), &Value::Null)?;
    Ok(info.pointer("/cluster/replicas").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn is_copied(server: &Server, stream: &str) -> Result<bool> {
    let replicas = replicas(server, stream)?;
    let is_current = |replica: &Value| replica.get("current") == Some(&Value::Bool(true));
    Ok(replicas.len() == 2 && replicas.iter().all(is_current))
}

fn fill(client: &mut Requester) -> Result<()> {
    for (name, more) in [
        ("KV_history", json!({"max_msgs_per_subject": 5, "deny_delete": true})),
        (
            "KV_ttl",
            json!({"max_msgs_per_subject": 1, "deny_delete": true, "allow_msg_ttl": true, "subject_delete_marker_ttl": 60_000_000_000_u64}),
        ),
        ("WORK", json!({"retention": "workqueue"})),
    ] {
        let subjects =
            name.strip_prefix("KV_").map_or("work.>".to_owned(), |bucket| format!("$KV.{bucket}.>"));
        let mut config = json!({
            "name": name, "subjects": [subjects], "storage": "file", "num_replicas": 1,
            "discard": "new", "allow_rollup_hdrs": true, "allow_direct": true, "metadata": {"owner": "backups"},
        });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        client.create_stream(&config)?;
    }
    for at in 0..300 {
        client.publish(
            &format!("$KV.history.k{}", at % 17),
            "Trace: a  b\r\n",
            format!("value {at}").as_bytes(),
        )?;
    }
    client.publish("$KV.history.k1", "KV-Operation: DEL\r\n", b"")?;
    client.publish("$KV.history.k2", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", b"")?;
    for (key, ttl) in [("a", "1h"), ("b", "3600"), ("c", "never")] {
        client.publish(&format!("$KV.ttl.{key}"), &format!("Nats-TTL: {ttl}\r\n"), b"lives")?;
    }
    for at in 0..20 {
        client.publish(&format!("work.{at}"), "", b"job")?;
    }
    client.api("$JS.API.STREAM.MSG.DELETE.WORK", &json!({"seq": 15}))?;
    for (stream, name) in [("WORK", "worker"), ("KV_history", "reader")] {
        let config = json!({"durable_name": name, "ack_policy": "explicit", "ack_wait": 600_000_000_000_u64});
        let create = format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}");
        client.api(&create, &json!({"stream_name": stream, "config": config}))?;
        for at in 0..5 {
            let next = client.ask(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), "", b"1")?;
            let ack = next.and_then(|next| next.reply).ok_or("a job without a reply subject")?;
            // The first two are done; of the others one is, so that some wait.
            if at < 2 || at == 3 {
                client.ask(&ack, "", b"+ACK")?;
            }
        }
    }
    Ok(())
}

/// What of consumers is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consumers {
    Whole,
    /// A cluster backs up and copies what was acknowledged; what waits may be delivered again.
    Acknowledged,
}

/// Everything that clients can see of the streams, but when they and their consumers were created.
fn picture(server: &Server, consumers: Consumers) -> Result<Vec<String>> {
    let mut client = Requester::open(server)?;
    let mut lines = Vec::new();
    for stream in STREAMS {
        let info = client.api(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({"deleted_details": true}))?;
        let mut config = info.get("config").cloned().unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            config.remove("num_replicas");
        }
        let state = info.get("state").cloned().unwrap_or_default();
        lines.push(format!("{stream} {config}"));
        lines.push(format!("{stream} {state}"));
        for seq in 1..=state.get("last_seq").and_then(Value::as_u64).unwrap_or_default() {
            let body = json!({"seq": seq}).to_string();
            let answer = client.ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), "", body.as_bytes())?;
            let answer: Value = serde_json::from_slice(&answer.ok_or("closed")?.payload)?;
            let found = answer.get("message").or_else(|| answer.pointer("/error/err_code"));
            lines.push(format!("{stream} {seq} {}", found.cloned().unwrap_or_default()));
        }
    }
    for (stream, name) in [("WORK", "worker"), ("KV_history", "reader")] {
        let info = client.api(&format!("$JS.API.CONSUMER.INFO.{stream}.{name}"), &Value::Null)?;
        let mut parts = vec!["/ack_floor/consumer_seq", "/ack_floor/stream_seq", "/config/ack_wait", "/name"];
        if consumers == Consumers::Whole {
            parts.extend([
                "/delivered/consumer_seq",
                "/delivered/stream_seq",
                "/num_ack_pending",
                "/num_pending",
            ]);
        }
        for part in parts {
            lines.push(format!("{stream} {name} {part} {:?}", info.pointer(part)));
        }
    }
    Ok(lines)
}

fn compare(before: &[String], after: &[String], place: &str) -> Result<()> {
    for (at, line) in before.iter().enumerate() {
        if after.get(at) != Some(line) {
            return Err(format!("{place}: was {line}, is {:?}", after.get(at)).into());
        }
    }
    if before.len() == after.len() { Ok(()) } else { Err(format!("{place}: there is more").into()) }
}
