//! The result as Markdown, ready for the README.

use crate::measure::Cost;
use crate::workload::Scale;
use crate::{Idle, Restart};
use jetkv_compat_tests::process::Program;
use std::time::Duration;

const MIB: f64 = 1024.0 * 1024.0;

/// Start-up and idle memory.
pub(crate) fn idle(programs: &[Program], idle: &[Idle]) {
    println!("| server | start to 'Server is ready', median | RSS idle |\n|---|---|---|");
    for (program, idle) in programs.iter().zip(idle) {
        let ms = idle.start_up.as_secs_f64() * 1e3;
        println!("| {} | {ms:.1} ms | {:.1} MiB |", program.name, idle.rss_bytes as f64 / MIB);
    }
    if let [ours, theirs] = idle {
        let start = ours.start_up.as_secs_f64() / theirs.start_up.as_secs_f64();
        println!("| ratio | {start:.2} | {:.2} |", ours.rss_bytes as f64 / theirs.rss_bytes as f64);
    }
}

/// What connections take that nobody uses.
pub(crate) fn idle_connections(programs: &[Program], count: usize, taken: &[[u64; 2]]) {
    println!("| {count} idle connections | KiB each, plain | KiB each, TLS |\n|---|---|---|");
    for (program, [plain, tls]) in programs.iter().zip(taken) {
        println!("| {} | {:.1} | {:.1} |", program.name, *plain as f64 / 1024.0, *tls as f64 / 1024.0);
    }
    if let [[ours_plain, ours_tls], [plain, tls]] = taken {
        let ratio = |ours: u64, theirs: u64| ours as f64 / theirs as f64;
        println!("| ratio | {:.2} | {:.2} |", ratio(*ours_plain, *plain), ratio(*ours_tls, *tls));
    }
}

/// What a bucket with all keys costs in memory and at the next start.
pub(crate) fn restarts(programs: &[Program], restarts: &[Restart], scale: Scale) {
    println!(
        "\n| {} keys of {} bytes, file storage | RSS, loaded | start after a stop | start after a kill | RSS after it |\n\
         |---|---|---|---|---|",
        scale.keys, scale.value_bytes
    );
    let mib = |bytes: u64| bytes as f64 / MIB;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for (program, of) in programs.iter().zip(restarts) {
        println!(
            "| {} | {:.1} MiB | {:.0} ms | {:.0} ms | {:.1} MiB |",
            program.name,
            mib(of.loaded_rss_bytes),
            ms(of.stopped),
            ms(of.killed),
            mib(of.restarted_rss_bytes)
        );
    }
    if let [ours, theirs] = restarts {
        println!(
            "| ratio | {:.2} | {:.2} | {:.2} | {:.2} |",
            mib(ours.loaded_rss_bytes) / mib(theirs.loaded_rss_bytes),
            ms(ours.stopped) / ms(theirs.stopped),
            ms(ours.killed) / ms(theirs.killed),
            mib(ours.restarted_rss_bytes) / mib(theirs.restarted_rss_bytes)
        );
    }
}

/// What was run, and the head of the table of workloads.
pub(crate) fn header(alone: bool, storage: &str, scale: Scale, rounds: usize) {
    println!(
        "\nStorage {storage}, {} keys, values of {} bytes, {} synchronous and {} pipelined operations, \
         median of {rounds} rounds. Each cell: JetKV{}.\n",
        scale.keys,
        scale.value_bytes,
        scale.sync_ops,
        scale.pipelined_ops,
        if alone { "" } else { " / nats-server" },
    );
    head();
}

/// The head of a table of lists.
pub(crate) fn lists_header(alone: bool, storage: &str, keys: u64, rounds: usize) {
    let both = if alone { "" } else { " / nats-server" };
    println!(
        "\nStorage {storage}, {keys} keys; medians of {rounds} rounds. Each cell: JetKV{both}.\n\n\
         | what is asked for | p50 ms | server CPU ms | CPU ratio | bare loop CPU ms | times the bare loop | \
         bare loop / nats-server | RSS MiB |\n|---|---|---|---|---|---|---|---|"
    );
}

/// A row of a table of lists.
pub(crate) fn list(name: &str, ours: &[Cost], theirs: &[Cost], bare: &[Cost]) {
    let cell = |figure: &dyn Fn(&Cost) -> f64| {
        let one = |costs: &[Cost]| format!("{:.1}", median(costs.iter().map(figure).collect()));
        if theirs.is_empty() { one(ours) } else { format!("{} / {}", one(ours), one(theirs)) }
    };
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} |",
        cell(&|cost| cost.p50.unwrap_or_default().as_secs_f64() * 1e3),
        cell(&|cost| cost.cpu_us_per_op / 1e3),
        ratio(ours, theirs, 3),
        figure(bare.iter().map(|cost| cost.cpu_us_per_op / 1e3).collect(), 2),
        ratio(ours, bare, 1),
        ratio(bare, theirs, 3),
        cell(&|cost| cost.rss_bytes as f64 / MIB),
    );
}

fn head() {
    println!(
        "| workload | ops/s | p50 µs | p99 µs | server CPU µs/op | CPU ratio | bare loop CPU µs/op | times the bare loop | RSS MiB |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
}

/// One workload: medians over the rounds of each server and of the bare loop, and the medians of the rounds' own CPU
/// ratios. Of what was not measured there are no costs.
pub(crate) fn row(name: &str, ours: &[Cost], theirs: &[Cost], bare: &[Cost]) {
    let cell = |figure: &dyn Fn(&Cost) -> f64, digits: usize| {
        let one = |costs: &[Cost]| format!("{:.digits$}", median(costs.iter().map(figure).collect()));
        if theirs.is_empty() { one(ours) } else { format!("{} / {}", one(ours), one(theirs)) }
    };
    let timed = ours.iter().any(|cost| cost.p50.is_some());
    let latency = |of: &dyn Fn(&Cost) -> Option<Duration>| {
        if timed {
            cell(&|cost| of(cost).unwrap_or_default().as_secs_f64() * 1e6, 0)
        } else {
            "–".to_owned()
        }
    };
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
        cell(&|cost| cost.ops_per_second, 0),
        latency(&|cost| cost.p50),
        latency(&|cost| cost.p99),
        cell(&|cost| cost.cpu_us_per_op, 2),
        ratio(ours, theirs, 2),
        figure(bare.iter().map(|cost| cost.cpu_us_per_op).collect(), 2),
        ratio(ours, bare, 2),
        cell(&|cost| cost.rss_bytes as f64 / MIB, 1),
    );
}

/// The median of the rounds' own ratios of processor time.
fn ratio(costs: &[Cost], others: &[Cost], digits: usize) -> String {
    let ratios = costs.iter().zip(others).map(|(cost, other)| cost.cpu_us_per_op / other.cpu_us_per_op);
    figure(ratios.collect(), digits)
}

/// The median of what was measured, if it was.
fn figure(figures: Vec<f64>, digits: usize) -> String {
    if figures.is_empty() { "–".to_owned() } else { format!("{:.digits$}", median(figures)) }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
