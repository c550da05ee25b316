//! What the operating system says of a server process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks of `/proc/<pid>/stat`: 100 a second on every Linux that this runs on (USER_HZ is part of the ABI).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time, user and system, that a process has used since it began, in seconds, with all its threads.
///
/// The kernel keeps that by the nanosecond for each thread where it is built to, else by the tick for all.
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    match threads_cpu_ns(pid) {
        Some(ns) => Ok(ns as f64 / 1e9),
        None => ticked_cpu_seconds(pid),
    }
}

/// The servers' threads live as long as they do, so that none is missed.
fn threads_cpu_ns(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads
        .map(|thread| {
            let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

fn ticked_cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name stands in parentheses and may hold anything; what follows the last one is regular.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// Resident memory of a process in bytes.
pub(crate) fn rss_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("no VmRSS"))?;
    Ok(kib * 1024)
}

/// Time from spawning a server on a store to its line 'Server is ready'. The server is killed then.
pub(crate) fn start_up(program: &Path, store: &Path) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let ready = child.stderr.take().is_some_and(|stderr| {
        BufReader::new(stderr).lines().map_while(Result::ok).any(|line| line.contains("Server is ready"))
    });
    let took = begun.elapsed();
    child.kill()?;
    child.wait()?;
    if ready { Ok(took) } else { Err(io::Error::other(format!("{} never became ready", program.display()))) }
}
