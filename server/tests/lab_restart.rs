//! A program with the test lab on: what it says, and how it starts again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use jetkv_testing::{Wire, until};
use serde_json::Value;

/// A program with its lab on, and what it is to be killed by.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> (Program, SocketAddr) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_jetkv"));
    program.args(["-js", "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "-sd", "store", "-l", "log"]);
    program.args(["--ports_file_dir", "."]).current_dir(folder).env("JETKV_LAB", "1");
    let program = Program(program.spawn().unwrap());
    let address = until("the ports", || client_address(folder).ok_or("none yet"));
    (program, address)
}

/// The port of clients, as soon as the program has said it.
fn client_address(folder: &Path) -> Option<SocketAddr> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "ports"))?;
    let ports: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.strip_prefix("nats://")?.parse().ok()
}

/// Waits until the program has logged a text so often.
fn wait_for_log(folder: &Path, text: &str, times: usize) {
    until(text, || {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.matches(text).count() >= times { Ok(()) } else { Err(log) }
    });
}

/// Waits until the program has begun so often.
fn wait_until_ready(folder: &Path, times: usize) {
    wait_for_log(folder, "Server is ready", times);
}

fn ask(wire: &mut Wire, subject: &str, body: &str) -> Value {
    wire.send(&format!("SUB answer 9\r\nUNSUB 9 1\r\nPUB {subject} answer {}\r\n{body}\r\n", body.len()));
    assert!(wire.line().starts_with("MSG answer 9 "));
    serde_json::from_str(&wire.line()).unwrap()
}

fn begins_again(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (mut program, address) = start(folder.path());
    wait_until_ready(folder.path(), 1);
    let mut wire = Wire::client_with(address, "");
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s.*"]}"#);
    assert_eq!(ask(&mut wire, "s.a", "v")["seq"], 1);
    ask(&mut wire, "$JETKV.LAB.FAULT.ADD", r#"{"kind":"no_responders","where":{"subject":"never"}}"#);
    let restart = format!(r#"{{"kind":"restart","signal":"{signal}"}}"#);
    let answer = ask(&mut wire, "$JETKV.LAB.FAULT.ADD", &restart);
    assert_eq!(
        (answer["type"].as_str(), answer.get("error")),
        (Some("io.jetkv.lab.v1.fault_add_response"), None)
    );
    wire.expect_close();
    wait_until_ready(folder.path(), 2);
    let mut wire = Wire::client_with(address, "");
    assert_eq!(ask(&mut wire, "$JETKV.LAB.FAULT.LIST", "")["faults"], Value::Array(Vec::new()));
    assert_eq!(ask(&mut wire, "s.a", "v")["seq"], 2);
    assert!(program.0.try_wait().unwrap().is_none(), "the process is the same");
}

#[test]
fn a_program_says_that_its_lab_is_on_and_which_rules_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let (_program, address) = start(folder.path());
    wait_for_log(folder.path(), "The test lab is on", 1);
    let mut info = String::new();
    BufReader::new(TcpStream::connect(address).unwrap()).read_line(&mut info).unwrap();
    assert!(info.contains(r#""jetkv_lab":true"#), "{info}");
    let mut wire = Wire::client_with(address, "");
    ask(&mut wire, "$JETKV.LAB.FAULT.ADD", r#"{"kind":"ack_lost","where":{"subject":"s"}}"#);
    wait_for_log(folder.path(), "Test lab: fault 1 added", 1);
}

#[test]
fn what_was_loaded_is_all_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (_program, address) = start(folder.path());
    wait_until_ready(folder.path(), 1);
    let mut wire = Wire::client_with(address, "");
    for name in ["A", "B"] {
        let config = format!(r#"{{"name":"{name}","subjects":["{name}.*"],"max_msgs_per_subject":1}}"#);
        ask(&mut wire, &format!("$JS.API.STREAM.CREATE.{name}"), &config);
        let durable =
            format!(r#"{{"stream_name":"{name}","config":{{"durable_name":"C","ack_policy":"explicit"}}}}"#);
        ask(&mut wire, &format!("$JS.API.CONSUMER.CREATE.{name}.C"), &durable);
        for number in 0..200 {
            ask(&mut wire, &format!("{name}.{number}"), "saved");
        }
    }
    let seen = |wire: &mut Wire| {
        let state = |wire: &mut Wire, name: &str| {
            let info = ask(wire, &format!("$JS.API.STREAM.INFO.{name}"), r#"{"subjects_filter":">"}"#);
            let last = ask(wire, &format!("$JS.API.STREAM.MSG.GET.{name}"), r#"{"seq":200}"#);
            (info["created"].clone(), info["state"].clone(), last["message"].clone())
        };
        [state(wire, "A"), state(wire, "B")]
    };
    let before = seen(&mut wire);
    assert_eq!(ask(&mut wire, "$JETKV.LAB.STATE.SAVE", r#"{"name":"s"}"#)["messages"], 400);
    for number in 0..100 {
        ask(&mut wire, &format!("A.{number}"), "other");
    }
    ask(&mut wire, "$JS.API.STREAM.DELETE.B", "");
    ask(&mut wire, "$JS.API.STREAM.CREATE.C", r#"{"name":"C","subjects":["c"]}"#);
    let loaded = ask(&mut wire, "$JETKV.LAB.STATE.LOAD", r#"{"name":"s"}"#);
    assert_eq!((&loaded["streams"], loaded.get("error")), (&Value::from(2), None));
    ask(&mut wire, "$JETKV.LAB.FAULT.ADD", r#"{"kind":"restart","signal":"kill"}"#);
    wire.expect_close();
    wait_until_ready(folder.path(), 2);
    let mut wire = Wire::client_with(address, "");
    assert_eq!(ask(&mut wire, "$JS.API.STREAM.NAMES", "")["total"], 2);
    assert_eq!(seen(&mut wire), before);
}

#[test]
fn after_an_orderly_end_it_is_there_again() {
    begins_again("term");
}

#[test]
fn after_being_killed_it_is_there_again() {
    begins_again("kill");
}
