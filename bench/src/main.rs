//! Measures JetKV against nats-server: the same load on both, in turn, in one run, as one table with ratios.
//!
//! Seconds on a shared machine are noise; what counts is the ratio within a run and the server's CPU per operation.

mod bare;
mod cli;
mod client;
mod features;
mod growth;
mod link;
mod lists;
mod measure;
mod process;
mod script;
mod synchronous;
mod table;
mod transports;
mod workload;

use jetkv_compat_tests::oracle::Toolbox;
use jetkv_compat_tests::process::{Program, Server, ServerOptions, Signal};
use measure::Cost;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use workload::{Scale, Workload};

const USAGE: &str = "\
Usage: jetkv-bench [OPTIONS]
  --jetkv PATH         JetKV's binary (default: target/release/jetkv)
  --nats-server PATH   the real server (default: installed into target/oracle on first use)
  --storage KIND       file or memory (default: file)
  --rounds N           how often each workload runs on each server; medians are printed (default: 3)
  --sync-ops N         operations of each synchronous workload (default: 40000)
  --pipelined-ops N    operations of each pipelined workload (default: 400000)
  --keys N             distinct keys (default: 10000)
  --value-bytes N      bytes of a value (default: 128)
  --only TEXT          workloads, and rows of --features, whose name contains TEXT
  --restart            also stop and kill each server over a bucket of all keys, and time its start
  --lists              only lists of 1,000 keys, in buckets of 20,000 to 1,000,000
  --lists-large        only such lists in a bucket of 10,000,000
  --growth FOLDER      only what operations and memory cost with more and more keys, connections, consumers and streams;
                       draws each into FOLDER/growth-NAME.svg (--only TEXT: those whose name contains TEXT)
  --features           only mirrors, backups and batches, each of so many messages as pipelined operations
  --transports         only puts, gets and publishing over a bare socket, under TLS and over WebSocket
  --cli                only the official CLI's own benchmarks, through its own client
  --idle-tls N         only the memory that N connections take that nobody uses, bare ones and others under TLS
  --alone              JetKV only, without ratios
";

struct Plan {
    jetkv: PathBuf,
    nats_server: Option<PathBuf>,
    storage: String,
    rounds: usize,
    scale: Scale,
    only: String,
    alone: bool,
    restart: bool,
    /// Nothing else is measured than mirrors, backups and batches.
    features: bool,
    /// Nothing else is measured than the transports.
    transports: bool,
    /// Nothing else is measured than the official CLI's own benchmarks.
    cli: bool,
    /// Connections that nobody uses; with any, nothing else is measured.
    idle_tls: usize,
    /// The folder that growth is drawn into; with it, nothing else is measured.
    growth: Option<PathBuf>,
    /// Keys of the buckets that are listed from; with any, nothing else is measured.
    lists: Vec<u64>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(bare::FLAG), Some(duty)) = (arguments.next().as_deref(), arguments.next()) {
        return ended(bare::serve(&duty).map_err(Into::into));
    }
    let plan = match parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(text) => {
            eprintln!("{text}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    ended(run(&plan))
}

fn ended(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jetkv-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let root = jetkv_compat_tests::workspace_root();
    let mut plan = Plan {
        jetkv: root.join("target/release/jetkv"),
        nats_server: None,
        storage: "file".into(),
        rounds: 3,
        scale: Scale { sync_ops: 40_000, pipelined_ops: 400_000, keys: 10_000, value_bytes: 128 },
        only: String::new(),
        alone: false,
        restart: false,
        features: false,
        transports: false,
        cli: false,
        idle_tls: 0,
        growth: None,
        lists: Vec::new(),
    };
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--alone" => plan.alone = true,
            "--restart" => plan.restart = true,
            "--features" => plan.features = true,
            "--transports" => plan.transports = true,
            "--cli" => plan.cli = true,
            "--lists" => plan.lists = lists::KEYS.into(),
            "--lists-large" => plan.lists = vec![lists::KEYS_LARGE],
            _ => set(&mut plan, &flag, arguments.next())?,
        }
    }
    Ok(plan)
}

/// Takes an option that has a value.
fn set(plan: &mut Plan, flag: &str, value: Option<String>) -> Result<(), String> {
    let value = value.ok_or_else(|| format!("{flag} needs a value"))?;
    let number =
        || value.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{flag}: not a number"));
    match flag {
        "--jetkv" => plan.jetkv = value.into(),
        "--nats-server" => plan.nats_server = Some(value.into()),
        "--storage" if value == "file" || value == "memory" => plan.storage = value,
        "--storage" => return Err("--storage: file or memory".into()),
        "--rounds" => plan.rounds = usize::try_from(number()?).map_err(|_| "--rounds: too many")?,
        "--sync-ops" => plan.scale.sync_ops = number()?,
        "--pipelined-ops" => plan.scale.pipelined_ops = number()?,
        "--keys" => plan.scale.keys = number()?,
        "--value-bytes" => {
            plan.scale.value_bytes = usize::try_from(number()?).map_err(|_| "--value-bytes: too many")?;
        }
        "--idle-tls" => plan.idle_tls = usize::try_from(number()?).map_err(|_| "--idle-tls: too many")?,
        "--growth" => plan.growth = Some(value.into()),
        "--only" => plan.only = value,
        _ => return Err(format!("unknown option {flag}")),
    }
    Ok(())
}

/// The bare loop's place behind JetKV and before nats-server.
const BARE: usize = 1;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn run(plan: &Plan) -> Outcome<()> {
    let mut programs = vec![Program { name: "JetKV".into(), path: plan.jetkv.clone() }];
    if !plan.alone {
        let path = match &plan.nats_server {
            Some(path) => path.clone(),
            None => Toolbox::default().reference()?.path,
        };
        programs.push(Program { name: "nats-server".into(), path });
    }
    if !plan.lists.is_empty() {
        return run_lists(plan, &programs);
    }
    if let Some(folder) = &plan.growth {
        return run_growth(plan, &programs, folder);
    }
    if plan.features {
        return run_rows(plan, &programs, &features::rows(&plan.only), |program| features(program, plan));
    }
    if plan.transports {
        return run_rows(plan, &programs, &transports::rows(), |program| {
            transports::costs(program, &plan.storage, plan.scale)
        });
    }
    if plan.cli {
        return run_rows(plan, &programs, &cli::rows(&plan.only), |program| cli::costs(program, plan));
    }
    if plan.idle_tls > 0 {
        let taken = programs.iter().map(|program| transports::idle(program, plan.idle_tls));
        table::idle_connections(&programs, plan.idle_tls, &taken.collect::<Outcome<Vec<_>>>()?);
        return Ok(());
    }
    let idle =
        programs.iter().map(|program| measure_idle(program, plan.rounds)).collect::<Outcome<Vec<_>>>()?;
    table::idle(&programs, &idle);
    if plan.restart {
        let restarts =
            programs.iter().map(|program| measure_restart(program, plan)).collect::<Outcome<Vec<_>>>()?;
        table::restarts(&programs, &restarts, plan.scale);
    }
    table::header(plan.alone, &plan.storage, plan.scale, plan.rounds);
    let chosen: Vec<Workload> =
        workload::ALL.into_iter().filter(|workload| workload.name().contains(&plan.only)).collect();
    // rounds[round][program][workload]: the servers take turns, so that a slow spell of the machine hits both.
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        let costs = programs.iter().map(|program| play(program, plan, &chosen));
        let mut costs = costs.collect::<Outcome<Vec<_>>>()?;
        costs.insert(BARE, play_bare(plan, &chosen)?);
        eprintln!("round {} of {} done", round + 1, plan.rounds);
        rounds.push(costs);
    }
    for (at, workload) in chosen.iter().enumerate() {
        let of = |program: usize| -> Vec<Cost> {
            rounds.iter().filter_map(|costs| costs.get(program)?.get(at).copied().flatten()).collect()
        };
        table::row(&workload.name(), &of(0), &of(BARE + 1), &of(BARE));
    }
    Ok(())
}

/// Rows for each size of bucket; the servers take turns within a round, and the bare loop does what JetKV did.
fn run_lists(plan: &Plan, programs: &[Program]) -> Outcome<()> {
    for keys in &plan.lists {
        let scale = Scale { keys: *keys, ..plan.scale };
        let (mut rounds, mut bare) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..plan.rounds {
            for (at, (program, rounds)) in programs.iter().zip(&mut rounds).enumerate() {
                let listed = list(program, plan, scale)?;
                if at == 0 {
                    let costs = lists::bare_costs(&listed, scale);
                    bare.push(costs.map_err(|error| format!("the bare loop: {error}"))?);
                }
                rounds.push(listed.costs);
            }
        }
        table::lists_header(plan.alone, &plan.storage, *keys, plan.rounds);
        let [ours, theirs] = &rounds;
        for row in lists::ROWS.into_iter().filter(|row| row.name().contains(&plan.only)) {
            let of = |rounds: &[Vec<(lists::Row, Cost)>]| -> Vec<Cost> {
                rounds.iter().flatten().filter(|(of, _)| *of == row).map(|(_, cost)| *cost).collect()
            };
            table::list(row.name(), &of(ours), &of(theirs), &of(&bare));
        }
    }
    Ok(())
}

/// What lists cost a server, which is gone then.
fn list(program: &Program, plan: &Plan, scale: Scale) -> Outcome<lists::Listed> {
    let server = start(program)?;
    let address = address(&server)?;
    lists::prepare(address, &plan.storage, scale)?;
    let listed = lists::costs((address, pid(&server)?), &plan.storage, scale, &plan.only);
    Ok(listed.map_err(|error| format!("{}: {error}", program.name))?)
}

/// A table and a drawing for each axis; the servers take turns by axis.
fn run_growth(plan: &Plan, programs: &[Program], folder: &Path) -> Outcome<()> {
    for axis in growth::AXES.into_iter().filter(|axis| axis.name().contains(&plan.only)) {
        let points = programs.iter().enumerate();
        let points = points.map(|(number, program)| growth::points(program, axis, &plan.storage, number > 0));
        let mut points = points.collect::<Outcome<Vec<_>>>()?.into_iter();
        let (ours, theirs) = (points.next().unwrap_or_default(), points.next().unwrap_or_default());
        growth::table(axis, &ours, &theirs);
        std::fs::write(
            folder.join(format!("growth-{}.svg", axis.name())),
            growth::svg(axis, &ours, &theirs),
        )?;
    }
    Ok(())
}

/// A row for each name, of what `costs` says of each server; the servers take turns within a round.
fn run_rows(
    plan: &Plan,
    programs: &[Program],
    names: &[String],
    costs: impl Fn(&Program) -> Outcome<Vec<Cost>>,
) -> Outcome<()> {
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        for (program, rounds) in programs.iter().zip(&mut rounds) {
            rounds.push(costs(program)?);
        }
        eprintln!("round {} of {} done", round + 1, plan.rounds);
    }
    table::header(plan.alone, &plan.storage, plan.scale, plan.rounds);
    for (at, name) in names.iter().enumerate() {
        let [ours, theirs] = rounds.each_ref().map(|rounds| -> Vec<Cost> {
            rounds.iter().filter_map(|costs| costs.get(at).copied()).collect()
        });
        table::row(name, &ours, &theirs, &[]);
    }
    Ok(())
}

/// What mirrors, backups and batches cost a server.
fn features(program: &Program, plan: &Plan) -> Outcome<Vec<Cost>> {
    let server = start(program)?;
    let place = (address(&server)?, pid(&server)?);
    let costs = features::costs(place, &plan.storage, plan.scale, &plan.only);
    Ok(costs.map_err(|error| format!("features on {}: {error}", program.name))?)
}

/// Start-up time and resident memory of a server that nobody uses.
pub(crate) struct Idle {
    start_up: Duration,
    rss_bytes: u64,
}

fn measure_idle(program: &Program, rounds: usize) -> Outcome<Idle> {
    let mut times = (0..rounds.max(5))
        .map(|_| process::start_up(&program.path, tempfile::tempdir()?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    times.sort_unstable();
    let server = start(program)?;
    // The first connection makes both servers allocate what every use of them needs.
    client::Client::connect(&address(&server)?.into())?.ping_pong()?;
    let rss_bytes = process::rss_bytes(pid(&server)?)?;
    Ok(Idle { start_up: times.get(times.len() / 2).copied().unwrap_or_default(), rss_bytes })
}

/// What a bucket of many keys costs a server.
pub(crate) struct Restart {
    /// Resident memory once the bucket is written.
    loaded_rss_bytes: u64,
    /// Start-up over the store of a server that was stopped.
    stopped: Duration,
    /// Start-up over the store of a server that was killed.
    killed: Duration,
    /// Resident memory after the second of them.
    restarted_rss_bytes: u64,
}

fn measure_restart(program: &Program, plan: &Plan) -> Outcome<Restart> {
    let mut server = start(program)?;
    workload::prepare(address(&server)?, "file", plan.scale)?;
    let loaded_rss_bytes = process::rss_bytes(pid(&server)?)?;
    server.stop(Signal::TERM)?;
    let store = server.dir().join("store");
    // The server that this starts is killed once it is ready.
    let stopped = process::start_up(&program.path, &store)?;
    server.launch()?;
    // Without a write the server would find everything as an orderly stop left it.
    workload::put_one(address(&server)?, plan.scale)?;
    server.stop(Signal::KILL)?;
    let killed = process::start_up(&program.path, &store)?;
    server.launch()?;
    let restarted_rss_bytes = process::rss_bytes(pid(&server)?)?;
    Ok(Restart { loaded_rss_bytes, stopped, killed, restarted_rss_bytes })
}

fn play(program: &Program, plan: &Plan, workloads: &[Workload]) -> Outcome<Vec<Option<Cost>>> {
    let server = start(program)?;
    let address = address(&server)?;
    workload::prepare(address, &plan.storage, plan.scale)?;
    let pid = pid(&server)?;
    let mut costs = Vec::new();
    for workload in workloads {
        let cost = measure::measure(pid, || workload.run(&address.into(), plan.scale))
            .map_err(|error| format!("{} on {}: {error}", workload.name(), program.name))?;
        costs.push(Some(cost));
    }
    Ok(costs)
}

/// What the bare loop takes for the workloads that it can serve.
fn play_bare(plan: &Plan, workloads: &[Workload]) -> Outcome<Vec<Option<Cost>>> {
    let bare = bare::BareLoop::of_values(plan.scale.value_bytes)?;
    let cost = |workload: &Workload| -> Outcome<Option<Cost>> {
        if !matches!(workload, Workload::Synchronous(..)) {
            return Ok(None);
        }
        let cost = measure::measure(bare.pid(), || workload.run(&bare.address.into(), plan.scale))
            .map_err(|error| format!("{} on the bare loop: {error}", workload.name()))?;
        Ok(Some(cost))
    };
    workloads.iter().map(cost).collect()
}

fn start(program: &Program) -> Outcome<Server> {
    Server::start(program, &ServerOptions { flags: vec!["-js".into()], ..ServerOptions::default() })
}

fn address(server: &Server) -> Outcome<SocketAddr> {
    let port = server.port("nats").ok_or("the server tells no client port")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn pid(server: &Server) -> Outcome<u32> {
    server.pid().ok_or_else(|| "the server is not running".into())
}
