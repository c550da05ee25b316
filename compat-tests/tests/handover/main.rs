//! A data directory goes from nats-server to JetKV, back, and to JetKV again, and nothing is lost or changed.
#![allow(clippy::expect_used, missing_docs)]

mod features;

use jetkv_compat_tests::oracle::Toolbox;
use jetkv_compat_tests::process::{Program, Server, ServerOptions};
use jetkv_compat_tests::request::{Requester, header};
use jetkv_compat_tests::{Result, is_ci};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What clients can see of a directory: stream states and configurations, every message, every consumer.
type Picture = BTreeMap<String, Vec<String>>;

const STREAMS: [&str; 6] = ["KV_history", "KV_squeezed", "KV_ttl", "WORK", "RENAMED", "AGAIN"];

/// nats-server and JetKV, or nothing where they cannot be had.
fn servers() -> Option<(Program, Program)> {
    let servers = Toolbox::default().servers().expect("nats-server can be installed, and JetKV is built");
    assert!(servers.is_some() || !is_ci(), "nats-server is needed");
    servers
}

#[test]
fn a_directory_goes_to_jetkv_and_back_and_again_with_everything_in_it() {
    let Some((theirs, ours)) = servers() else { return };
    for keys in ["", "key: secret", "key: secret, cipher: aes"] {
        hand_over(&theirs, &ours, keys).expect("the directory changes hands");
        hand_over(&ours, &theirs, keys).expect("the directory changes hands");
    }
}

#[test]
fn a_directory_changes_hands_and_its_key_with_everything_in_it() {
    let Some((theirs, ours)) = servers() else { return };
    // What nats-server converts loses its consumers when the key changes, so that JetKV is the one to do that.
    let changes = [
        (&theirs, ""),
        (&ours, "key: first"),
        (&theirs, "key: first"),
        (&ours, "key: first, cipher: aes"),
        (&theirs, "key: first, cipher: aes"),
        (&ours, "key: second, prev_key: first, cipher: chacha"),
        (&theirs, "key: second"),
        (&ours, "encryption_key: third, prev_encryption_key: second"),
        (&theirs, "key: third"),
    ];
    change_keys(&changes).expect("the directory changes hands");
}

/// Starts each program in turn on the same directory, with its keys.
fn change_keys(changes: &[(&Program, &str)]) -> Result<()> {
    let Some(((program, keys), rest)) = changes.split_first() else { return Ok(()) };
    let mut server = Server::start(program, &options(keys))?;
    fill(&mut Requester::open(&server)?)?;
    let mut before = picture(&mut Requester::open(&server)?)?;
    for (round, (program, keys)) in rest.iter().enumerate() {
        server.stop(Signal::TERM)?;
        server.configure(&config(keys))?;
        server.hand_over(program)?;
        let after = picture(&mut Requester::open(&server)?)?;
        compare(&before, &after, &format!("{keys}, now on {}", program.name))?;
        change(&mut Requester::open(&server)?, round)?;
        before = picture(&mut Requester::open(&server)?)?;
    }
    server.stop(Signal::TERM)?;
    Ok(())
}

fn config(keys: &str) -> String {
    format!("jetstream {{ enabled: true, {keys} }}")
}

fn options(keys: &str) -> ServerOptions {
    ServerOptions { config: Some(config(keys)), ..ServerOptions::default() }
}

fn hand_over(first: &Program, second: &Program, keys: &str) -> Result<()> {
    let mut server = Server::start(first, &options(keys))?;
    fill(&mut Requester::open(&server)?)?;
    let mut before = picture(&mut Requester::open(&server)?)?;
    for (round, program) in [second, first, second].into_iter().enumerate() {
        server.stop(Signal::TERM)?;
        server.hand_over(program)?;
        let after = picture(&mut Requester::open(&server)?)?;
        compare(&before, &after, &format!("round {round}, now on {}", program.name))?;
        change(&mut Requester::open(&server)?, round)?;
        before = picture(&mut Requester::open(&server)?)?;
    }
    server.stop(Signal::TERM)?;
    Ok(())
}

fn compare(before: &Picture, after: &Picture, place: &str) -> Result<()> {
    for (what, lines) in before {
        let found = after.get(what).map(Vec::as_slice).unwrap_or_default();
        for (at, line) in lines.iter().enumerate() {
            if found.get(at) != Some(line) {
                return Err(format!("{place}: {what}: was {line}, is {:?}", found.get(at)).into());
            }
        }
        if found.len() != lines.len() {
            return Err(format!("{place}: {what}: {} lines became {}", lines.len(), found.len()).into());
        }
    }
    Ok(())
}

fn fill(client: &mut Requester) -> Result<()> {
    let bucket = |name: &str, extra: Value| {
        let mut config = json!({
            "name": format!("KV_{name}"), "subjects": [format!("$KV.{name}.>")], "storage": "file",
            "max_msgs_per_subject": 5, "discard": "new", "allow_rollup_hdrs": true, "allow_direct": true,
            "num_replicas": 1, "metadata": {"owner": "handover"},
        });
        if let (Some(config), Some(extra)) = (config.as_object_mut(), extra.as_object()) {
            config.extend(extra.clone());
        }
        config
    };
    client.create_stream(&bucket("history", json!({})))?;
    client.create_stream(&bucket("squeezed", json!({"compression": "s2", "max_msgs_per_subject": 1})))?;
    client.create_stream(&bucket(
        "ttl",
        json!({"allow_msg_ttl": true, "subject_delete_marker_ttl": 60_000_000_000_u64}),
    ))?;
    client.create_stream(
        &json!({"name": "WORK", "subjects": ["work.>"], "retention": "workqueue", "storage": "file"}),
    )?;
    let renamed = json!({
        "name": "RENAMED", "subjects": ["old.>"], "storage": "file",
        "subject_transform": {"src": "old.*", "dest": "new.{{wildcard(1)}}.{{partition(3,1)}}"},
        "republish": {"src": "new.>", "dest": "again.>", "headers_only": true},
    });
    client.create_stream(&renamed)?;
    client.create_stream(&json!({"name": "AGAIN", "subjects": ["again.>"], "storage": "file"}))?;
    for at in 0..300_u64 {
        let text = format!("the same words again and again {at}");
        client.publish(&format!("$KV.history.k{}", at % 17), "", text.as_bytes())?;
        client.publish(
            &format!("$KV.squeezed.k{}", at % 40),
            "Trace: a  b\r\n",
            text.repeat(20).as_bytes(),
        )?;
    }
    for (key, ttl) in [("a", "1h"), ("b", "3600"), ("c", "never")] {
        client.publish(&format!("$KV.ttl.{key}"), &format!("Nats-TTL: {ttl}\r\n"), b"lives")?;
    }
    for at in 0..60 {
        client.publish(&format!("work.{at}"), "", b"job")?;
    }
    let consumer = json!({"stream_name": "WORK", "config": {
        "durable_name": "worker", "ack_policy": "explicit", "ack_wait": 600_000_000_000_u64, "max_ack_pending": 50,
    }});
    client.api("$JS.API.CONSUMER.DURABLE.CREATE.WORK.worker", &consumer)?;
    change(client, 9)
}

/// Overwrites, removes and works off a little, differently in each round.
fn change(client: &mut Requester, round: usize) -> Result<()> {
    client.publish(&format!("old.{round}"), "Trace: a\r\n", b"published again")?;
    client.publish(&format!("$KV.history.k{round}"), "KV-Operation: DEL\r\n", b"")?;
    let purge = "KV-Operation: PURGE\r\nNats-Rollup: sub\r\n";
    client.publish(&format!("$KV.history.k{}", round + 4), purge, b"")?;
    client.publish(&format!("$KV.squeezed.k{round}"), "", format!("round {round}").as_bytes())?;
    let last = client.api("$JS.API.STREAM.INFO.KV_history", &Value::Null)?;
    let last_seq = last.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
    client.api("$JS.API.STREAM.MSG.DELETE.KV_history", &json!({"seq": last_seq - 2}))?;
    for _ in 0..3 {
        let job = client.ask("$JS.API.CONSUMER.MSG.NEXT.WORK.worker", "", b"1")?.ok_or("closed")?;
        let ack = job.reply.ok_or("a job without a reply subject")?;
        // Every second job stays pending.
        if ack.split('.').nth(5).and_then(|seq| seq.parse::<u64>().ok()).is_some_and(|seq| seq % 2 == 0) {
            client.ask(&ack, "", b"+ACK")?;
        }
    }
    Ok(())
}

fn picture(client: &mut Requester) -> Result<Picture> {
    let mut picture = picture_of(client, &STREAMS)?;
    let info = client.api("$JS.API.CONSUMER.INFO.WORK.worker", &Value::Null)?;
    let parts = ["config", "created", "num_ack_pending", "num_redelivered", "num_pending"];
    let mut consumer: Vec<String> =
        parts.iter().map(|part| info.get(*part).map(Value::to_string).unwrap_or_default()).collect();
    for part in ["delivered", "ack_floor"] {
        for of in ["consumer_seq", "stream_seq"] {
            consumer.push(format!("{part} {of} {:?}", info.pointer(&format!("/{part}/{of}"))));
        }
    }
    picture.insert("WORK worker".into(), consumer);
    Ok(picture)
}

/// Configurations, states and messages of these streams.
fn picture_of(client: &mut Requester, streams: &[&str]) -> Result<Picture> {
    let mut picture = Picture::new();
    for stream in streams {
        let info = client.api(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({"deleted_details": true}))?;
        let part = |name: &str| info.get(name).map(Value::to_string).unwrap_or_default();
        picture.insert(format!("{stream} info"), vec![part("config"), part("created"), part("state")]);
        let mut messages = Vec::new();
        let last_seq = info.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or_default();
        for seq in 1..=last_seq {
            messages.push(message(client, stream, seq)?);
        }
        picture.insert(format!("{stream} messages"), messages);
    }
    Ok(picture)
}

/// Subject, time, headers and payload of one message, or that it is not there.
fn message(client: &mut Requester, stream: &str, seq: u64) -> Result<String> {
    let body = json!({"seq": seq}).to_string();
    let answer =
        client.ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), "", body.as_bytes())?.ok_or("closed")?;
    if let Some(headers) = &answer.headers {
        return Err(format!("{stream} {seq}: status {:?}", header(headers, "Status")).into());
    }
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    let message = answer.get("message").map(Value::to_string);
    Ok(message.unwrap_or_else(|| answer.pointer("/error/err_code").map(Value::to_string).unwrap_or_default()))
}
