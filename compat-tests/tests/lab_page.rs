//! The examples on the page of the test lab do what the page prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jetkv_compat_tests::oracle::{Tool, Toolbox, has_commands, jetkv};
use jetkv_compat_tests::process::{Program, Server, ServerOptions, command, run_to_end};
use jetkv_compat_tests::workspace_root;
use serde_json::Value;

/// Only a fault takes so long.
const LIMIT: Duration = Duration::from_secs(180);
/// Where the page has the server's pages, and the server.
const PAGES: &str = "127.0.0.1:8222";
const CLIENTS: &str = "127.0.0.1:4222";

/// A command, and what it prints.
#[derive(Debug)]
struct Example {
    command: String,
    printed: Vec<String>,
}

/// A block of examples.
#[derive(Debug, Default)]
struct Block {
    has_token: bool,
    examples: Vec<Example>,
}

fn page() -> String {
    std::fs::read_to_string(workspace_root().join("docs/lab.md")).unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            is_inside = kind.starts_with("console");
            if is_inside {
                blocks.push(Block { has_token: kind.contains("token"), examples: Vec::new() });
            }
            continue;
        }
        let Some(block) = blocks.last_mut().filter(|_| is_inside) else { continue };
        match line.strip_prefix("$ ") {
            Some(command) => {
                block.examples.push(Example { command: command.to_owned(), printed: Vec::new() });
            }
            None => block.examples.last_mut().unwrap().printed.push(line.to_owned()),
        }
    }
    blocks
}

/// A line without what is other each time: times, lengths of time, ids, sizes of what is stored.
fn shape(line: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    blank("", &mut value);
    value.to_string()
}

fn blank(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| blank(name, value)),
        Value::Array(items) => items.iter_mut().for_each(|item| blank(name, item)),
        Value::String(text) => match name {
            "now" | "at" | "offset" | "in" | "password" | "url" | "reply" => *text = format!("<{name}>"),
            "scenario" => text.retain(|char| !char.is_ascii_digit()),
            _ => {}
        },
        Value::Number(_) if matches!(name, "bytes" | "fired" | "number" | "client_id") => {
            *value = Value::Null
        }
        _ => {}
    }
}

fn start(program: &Program, has_token: bool) -> Server {
    let mut environment = vec![("JETKV_LAB".to_owned(), "1".to_owned())];
    if has_token {
        environment.push(("JETKV_LAB_TOKEN".to_owned(), "s3cr3t".to_owned()));
    }
    let flags = vec!["-js".to_owned()];
    Server::start(program, &ServerOptions { flags, environment, ..ServerOptions::default() }).unwrap()
}

/// Runs a command of the page; what it printed.
fn run(example: &Example, server: &Server, bin: &Path, home: &Path) -> Vec<String> {
    let (clients, pages) = (server.port("nats").unwrap(), server.port("monitoring").unwrap());
    let (clients, pages) = (format!("127.0.0.1:{clients}"), format!("127.0.0.1:{pages}"));
    let path = std::env::join_paths(
        [bin.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = command("sh");
    shell.arg("-c").arg(example.command.replace(PAGES, &pages).replace(CLIENTS, &clients));
    shell.env("PATH", path.unwrap()).env("HOME", home).current_dir(home);
    shell.env("NATS_URL", server.url()).env_remove("JETKV_LAB_TOKEN");
    let finished = run_to_end(shell, LIMIT).unwrap();
    let printed = format!("{}{}", finished.stdout, finished.stderr);
    printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn examples_do_what_the_page_prints() {
    let toolbox = Toolbox::default();
    // None is a skip, reported by the toolbox.
    let Some(cli) = toolbox.require(Tool::Cli).unwrap() else { return };
    if !has_commands("docs/lab.md", &["sh", "curl"]).unwrap() {
        return;
    }
    let program = jetkv().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (bin, home) = (folder.path().join("bin"), folder.path().join("home"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir(&home).unwrap();
    for (name, path) in [("jetkv", &program.path), ("nats", &cli.program)] {
        std::os::unix::fs::symlink(std::path::absolute(path).unwrap(), bin.join(name)).unwrap();
    }
    let mut differences = String::new();
    for block in blocks(&page()) {
        let server = start(&program, block.has_token);
        for example in &block.examples {
            let found = run(example, &server, &bin, &home);
            let shapes = |lines: &[String]| lines.iter().map(|line| shape(line)).collect::<Vec<_>>();
            if shapes(&found) != shapes(&example.printed) {
                let Example { command, printed } = example;
                differences.push_str(&format!("$ {command}\n{printed:#?}\n  is\n{found:#?}\n"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// What stands between backticks at the beginning of rows of tables.
fn rows(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| row.split(" |").next().unwrap_or_default().split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn each_verb_and_each_kind_of_fault_has_an_example() {
    let page = page();
    let commands: Vec<String> =
        blocks(&page).into_iter().flat_map(|block| block.examples).map(|example| example.command).collect();
    let rows = rows(&page);
    let verbs: Vec<&String> = rows.iter().filter(|name| name.contains('.')).collect();
    let kinds: Vec<&String> = rows.iter().filter(|name| !name.contains(['.', ' '])).collect();
    assert_eq!((verbs.len(), kinds.len()), (21, 11), "{verbs:?} {kinds:?}");
    for verb in verbs {
        let called = format!("jetkv lab {} ", verb.to_lowercase().replace('.', " "));
        assert!(
            commands.iter().any(|command| format!("{command} ").contains(&called)),
            "no example of {verb}"
        );
    }
    for kind in kinds {
        let said = format!("kind={kind} ");
        assert!(commands.iter().any(|command| command.contains(&said)), "no example of {kind}");
    }
}
