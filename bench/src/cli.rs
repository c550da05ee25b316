//! What the official CLI's own benchmarks cost a server: rows that people know, by a client that they use.

use crate::measure::{self, Cost, Latencies};
use crate::transports::Served;
use crate::{Outcome, pid};
use jetkv_compat_tests::oracle::{Launch, Tool, Toolbox};
use jetkv_compat_tests::process::{Program, Running, Server};
use jetkv_testing::http;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a benchmark may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at how many subscriptions a server has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The CLI's own default, which is what the clients' object stores cut objects into.
const CHUNK_BYTES: u64 = 128 << 10;
/// Subscribers, publishers or servers, where there are many.
const MANY: u64 = 4;

/// How many operations a row has.
#[derive(Clone, Copy)]
enum Size {
    /// Those where a client waits for each answer.
    Synchronous,
    /// Those where it does not.
    Pipelined,
    /// Pieces of one object.
    Chunks,
}

/// Who has to be there before a row's command begins.
#[derive(Clone, Copy)]
enum Others {
    Nobody,
    /// So many subscribers, each of which ends with the last message.
    Subscribers(u64),
    /// So many servers of requests in one queue group.
    Servers(u64),
}

/// A row: what it is called, its command, and who else takes part. In a command `{n}` stands for the operations, `{bytes}`
/// for the size of a message, and `{object}` for the file of an object.
struct Row {
    name: &'static str,
    size: Size,
    others: Others,
    over: &'static str,
    command: &'static str,
}

impl Row {
    const fn new(name: &'static str, size: Size, command: &'static str) -> Self {
        Self { name, size, others: Others::Nobody, over: "nats", command }
    }

    const fn with(self, others: Others) -> Self {
        Self { others, ..self }
    }

    const fn over(self, over: &'static str) -> Self {
        Self { over, ..self }
    }
}

const PUB: &str = "bench pub --msgs {n} --size {bytes} core";
const PUB_BY_MANY: &str = "bench pub --clients 4 --msgs {n} --size {bytes} core";
const REQUEST: &str = "bench service request --msgs {n} --size {bytes} service";
const REQUEST_BY_MANY: &str = "bench service request --clients 4 --msgs {n} --size {bytes} service";
const KV_PUT: &str = "bench kv put --msgs {n} --size {bytes} --no-progress";
const KV_GET: &str = "bench kv get --msgs {n} --no-progress";

/// The rows in their order: what reads follows what has written.
const ROWS: [Row; 25] = [
    Row::new("kv put, 1 client", Size::Synchronous, KV_PUT),
    Row::new(
        "kv put, 8 clients",
        Size::Synchronous,
        "bench kv put --clients 8 --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new("kv get, 1 client", Size::Synchronous, KV_GET),
    Row::new("kv get, 8 clients", Size::Synchronous, "bench kv get --clients 8 --msgs {n} --no-progress"),
    Row::new(
        "js pub sync",
        Size::Synchronous,
        "bench js pub sync --create --stream sync --msgs {n} --size {bytes} --no-progress sync",
    ),
    Row::new(
        "js pub async",
        Size::Pipelined,
        "bench js pub async --create --stream async --msgs {n} --size {bytes} --no-progress async",
    ),
    Row::new(
        "js pub atomic, batches of 500",
        Size::Pipelined,
        "bench js pub atomic --create --stream atomic --msgs {n} --size {bytes} --no-progress atomic",
    ),
    Row::new(
        "js pub fast",
        Size::Pipelined,
        "bench js pub fast --create --stream fast --msgs {n} --size {bytes} --no-progress fast",
    ),
    Row::new(
        "js get sync",
        Size::Synchronous,
        "bench js get sync --stream async --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new(
        "js get batch",
        Size::Pipelined,
        "bench js get batch --stream async --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new(
        "js fetch, acknowledged",
        Size::Pipelined,
        "bench js fetch --stream async --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new(
        "js consume, acknowledged",
        Size::Pipelined,
        "bench js consume --stream fast --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new(
        "js ordered",
        Size::Pipelined,
        "bench js ordered --stream async --msgs {n} --size {bytes} --no-progress",
    ),
    Row::new(
        "object put, a chunk",
        Size::Chunks,
        "object put objects {object} --name object --force --no-progress",
    ),
    Row::new(
        "object get, a chunk",
        Size::Chunks,
        "object get objects object --output {object}.read --force --no-progress",
    ),
    Row::new("request, 1 server", Size::Synchronous, REQUEST).with(Others::Servers(1)),
    Row::new("request, 4 clients to a queue group of 4", Size::Synchronous, REQUEST_BY_MANY)
        .with(Others::Servers(MANY)),
    Row::new("publish, 1 to 1", Size::Pipelined, PUB).with(Others::Subscribers(1)),
    Row::new("publish, 1 to 4", Size::Pipelined, PUB).with(Others::Subscribers(MANY)),
    Row::new("publish, 4 to 1", Size::Pipelined, PUB_BY_MANY).with(Others::Subscribers(1)),
    Row::new("publish, 4 to 4", Size::Pipelined, PUB_BY_MANY).with(Others::Subscribers(MANY)),
    Row::new("kv put, 1 client, TLS", Size::Synchronous, KV_PUT).over("tls"),
    Row::new("kv get, 1 client, TLS", Size::Synchronous, KV_GET).over("tls"),
    Row::new("kv put, 1 client, WebSocket", Size::Synchronous, KV_PUT).over("ws"),
    Row::new("kv get, 1 client, WebSocket", Size::Synchronous, KV_GET).over("ws"),
];

/// The names of the rows whose names contain `only`.
pub(crate) fn rows(only: &str) -> Vec<String> {
    ROWS.iter().map(|row| row.name.to_owned()).filter(|name| name.contains(only)).collect()
}

/// What each such row costs a server.
pub(crate) fn costs(program: &Program, plan: &crate::Plan) -> Outcome<Vec<Cost>> {
    let launch = Toolbox::default().require(Tool::Cli)?.ok_or("the nats CLI cannot be installed")?;
    let bench = Bench { launch, served: Served::start(program)?, plan };
    bench.run(&Row::new("", Size::Chunks, "object add objects --storage file"))?;
    let object = vec![b'v'; usize::try_from(bench.ops(Size::Chunks) * CHUNK_BYTES)?];
    std::fs::write(bench.object(), object)?;
    // What has to be there before a row reads it is written even where it is not asked for.
    let rows = ROWS.iter().map(|row| {
        let cost = bench.cost(row).map_err(|error| format!("{} on {}: {error}", row.name, program.name))?;
        Ok(row.name.contains(&plan.only).then_some(cost))
    });
    Ok(rows.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
}

struct Bench<'a> {
    launch: Launch,
    served: Served,
    plan: &'a crate::Plan,
}

impl Bench<'_> {
    fn server(&self) -> &Server {
        &self.served.server
    }

    fn object(&self) -> String {
        self.server().dir().join("object").display().to_string()
    }

    fn ops(&self, size: Size) -> u64 {
        match size {
            Size::Synchronous => self.plan.scale.sync_ops,
            Size::Pipelined => self.plan.scale.pipelined_ops,
            Size::Chunks => self.plan.scale.pipelined_ops / 500,
        }
    }

    /// The CLI with a command.
    fn command(&self, size: Size, over: &str, words: &str) -> Outcome<Command> {
        let listener = if over == "ws" { "websocket" } else { "nats" };
        let port = self.server().port(listener).ok_or_else(|| format!("no port for {listener}"))?;
        let mut command = jetkv_compat_tests::process::command(&self.launch.program);
        command.args(&self.launch.arguments);
        command.args(["--no-context", "--server", &format!("{over}://localhost:{port}")]);
        if over == "tls" {
            command.arg("--tlsca").arg(self.server().dir().join("cert.pem"));
        }
        for word in words.split(' ') {
            let word = word.replace("{n}", &self.ops(size).to_string());
            let word = word.replace("{bytes}", &self.plan.scale.value_bytes.to_string());
            command.arg(word.replace("{object}", &self.object()));
        }
        Ok(command)
    }

    /// Runs a row's command to its end.
    fn run(&self, row: &Row) -> Outcome<()> {
        finished(Running::start(self.command(row.size, row.over, row.command)?)?)
    }

    fn cost(&self, row: &Row) -> Outcome<Cost> {
        let (words, subject, count) = match row.others {
            Others::Nobody => ("", "", 0),
            Others::Subscribers(count) => ("bench sub --msgs {n} --size {bytes} core", "core", count),
            Others::Servers(count) => {
                ("bench service serve --size {bytes} --no-progress service", "service", count)
            }
        };
        let others = (0..count).map(|_| Running::start(self.command(row.size, row.over, words)?));
        let others = others.collect::<Outcome<Vec<_>>>()?;
        self.wait_for(subject, count)?;
        let deliveries = if let Others::Subscribers(count) = row.others { count } else { 1 };
        let ops = self.ops(row.size) * deliveries;
        let cost = measure::measure(pid(self.server())?, || {
            self.run(row).map_err(io::Error::other)?;
            if let Others::Subscribers(_) = row.others {
                others.into_iter().try_for_each(finished).map_err(io::Error::other)?;
            }
            Ok((ops, Latencies::default()))
        })?;
        self.wait_for(subject, 0)?;
        Ok(cost)
    }

    /// Waits until a subject has so many subscriptions.
    fn wait_for(&self, subject: &str, subscriptions: u64) -> Outcome<()> {
        let deadline = Instant::now() + LIMIT;
        while !subject.is_empty() {
            let now = self.subscriptions(subject)?;
            if now == subscriptions {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("{subject} has {now} subscriptions").into());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn subscriptions(&self, subject: &str) -> Outcome<u64> {
        let port = self.server().port("monitoring").ok_or("no port for monitoring")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let page = http::get(address, &format!("/subsz?subs=1&test={subject}"))?.text();
        let page: serde_json::Value = serde_json::from_str(&page)?;
        Ok(page.get("subscriptions_list").and_then(serde_json::Value::as_array).map_or(0, Vec::len) as u64)
    }
}

fn finished(command: Running) -> Outcome<()> {
    let finished = command.finish(LIMIT)?;
    if finished.code == Some(0) {
        return Ok(());
    }
    Err(format!("{:?}: {}{}", finished.code, finished.stdout, finished.stderr).into())
}
