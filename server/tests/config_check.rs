//! Checking a configuration file (`-t -c FILE`) ends as on nats-server v2.15.2: same exit code, same lines, same
//! fingerprint; only what nats-server finds wrong no sooner than at its start is found by the check. The expectations in `golden/config_check.json` were measured on that server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command as Process;

use jetkv::options::{Command, Message};
use serde::Deserialize;

/// One file's text and what nats-server says about it.
#[derive(Deserialize)]
struct Golden {
    text: String,
    exit_code: u8,
    /// Sorted, because nats-server's order is random; without the program's name.
    lines: Vec<String>,
}

/// The lines of a message, sorted and without empty ones, the program's name and the directory.
fn lines(stderr: &str, directory: &Path) -> Vec<String> {
    let directory = format!("{}/", directory.display());
    let text = stderr.strip_prefix("nats-server: ").unwrap_or(stderr).replace(&directory, "");
    let mut lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn check(file: &Path) -> Message {
    let arguments = ["-t".to_owned(), "-c".to_owned(), file.display().to_string()];
    match Command::from_arguments(&arguments) {
        Command::Print(message) => message,
        other => panic!("not a check: {other:?}"),
    }
}

/// The files that some of the texts include.
fn write_included(directory: &Path) {
    std::fs::create_dir(directory.join("sub")).unwrap();
    for (name, text) in [
        ("inc1.conf", "port: 4333\nfoo: 1\n"),
        ("inc2.conf", "port: [\n"),
        ("inc_self.conf", "port: 1\n"),
        ("sub/inc3.conf", "include ../inc1.conf\n"),
        ("x", "port: 1\n"),
    ] {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

/// Texts that nats-server calls valid and does not start with.
const CONTRADICTIONS: [(&str, &str); 4] = [
    ("max_pending: 5", "max_payload (1048576) cannot be higher than max_pending (5)"),
    ("no_auth_user: x", "no_auth_user: \"x\" present, but users/nkeys are not defined"),
    ("system: FOO", "error resolving system account: account missing"),
    (
        "default_js_domain: {A: x}",
        "in non operator mode, `default_js_domain` references non existing account \"A\"",
    ),
];

#[test]
fn says_what_nats_server_says() {
    let directory = tempfile::tempdir().unwrap();
    write_included(directory.path());
    let file = directory.path().join("t.conf");
    let goldens: Vec<Golden> = serde_json::from_str(include_str!("golden/config_check.json")).unwrap();
    assert!(goldens.len() > 1000);
    let mut differences = Vec::new();
    for golden in goldens {
        std::fs::write(&file, &golden.text).unwrap();
        let message = check(&file);
        let found = lines(&message.stderr, directory.path());
        if let Some((_, line)) = CONTRADICTIONS.iter().find(|(text, _)| *text == golden.text) {
            assert_eq!((message.exit_code, found.as_slice()), (1, [(*line).to_owned()].as_slice()));
            continue;
        }
        if (message.exit_code, &found) != (golden.exit_code, &golden.lines) {
            differences.push(format!("{:?}\n  wanted {:?}\n  found  {found:?}", golden.text, golden.lines));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn variables_come_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.conf");
    for (text, expected) in [
        ("server_name: $NAME", "is valid"),
        ("port: $NUMBER", "is valid"),
        ("server_tags: $LIST", "is valid"),
        ("port: $NAME", "t.conf:1:0: interface conversion: interface {} is string, not int64"),
        ("port: $EMPTY", "t.conf:1:0: interface conversion: interface {} is string, not int64"),
        (
            "port: $BROKEN",
            "variable reference for 'BROKEN' on line 1 could not be parsed: Parse error on line 1: \
             'Expected an array value terminator",
        ),
        (
            "port: $CIRCLE",
            "variable reference for 'CIRCLE' on line 1 could not be parsed: variable reference for 'CIRCLE' on \
             line 1 could not be parsed: variable reference cycle for 'CIRCLE'",
        ),
        ("port: $NOWHERE", "variable reference for 'NOWHERE' on line 1 can not be found"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = Process::new(env!("CARGO_BIN_EXE_jetkv"))
            .args(["-t", "-c"])
            .arg(&file)
            .envs([("NAME", "abc"), ("NUMBER", "4333"), ("LIST", "[a, b]")])
            .envs([("EMPTY", ""), ("BROKEN", "[1"), ("CIRCLE", "$CIRCLE")])
            .env_remove("NOWHERE")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{text}: {stderr}");
    }
}

#[test]
fn features_that_are_not_there_are_named_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.conf");
    for (text, expected) in [
        ("port: 1\ngateway { port: 6222 }", "t.conf:2:1: field \"gateway\" is not supported by JetKV yet"),
        ("tls { ocsp_peer: true }", "t.conf:1:6: field \"ocsp_peer\" is not supported by JetKV yet"),
        (
            "websocket { tls { ocsp_peer: true } }",
            "t.conf:1:18: field \"ocsp_peer\" is not supported by JetKV yet",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let message = check(&file);
        assert_eq!(lines(&message.stderr, directory.path()), [expected], "{text}");
        assert_eq!(message.exit_code, 1);
    }
}
