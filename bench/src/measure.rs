//! One workload on one server, and what it cost.

use crate::process;
use std::io;
use std::time::{Duration, Instant};

/// Round-trip times of single operations.
#[derive(Default)]
pub(crate) struct Latencies {
    samples_ns: Vec<u64>,
}

impl Latencies {
    /// Room for `count` samples, so that recording allocates nothing.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { samples_ns: Vec::with_capacity(count) }
    }

    /// Records one operation that began at `begun`.
    pub(crate) fn record(&mut self, begun: Instant) {
        self.samples_ns.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the samples of another thread.
    pub(crate) fn merge(&mut self, other: Self) {
        self.samples_ns.extend(other.samples_ns);
    }

    /// The sample below which `fraction` of all samples lie, or none without samples.
    pub(crate) fn quantile(&mut self, fraction: f64) -> Option<Duration> {
        if self.samples_ns.is_empty() {
            return None;
        }
        self.samples_ns.sort_unstable();
        let at = ((self.samples_ns.len() - 1) as f64 * fraction).round() as usize;
        self.samples_ns.get(at).map(|ns| Duration::from_nanos(*ns))
    }
}

/// What a workload cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Operations per second of wall time.
    pub(crate) ops_per_second: f64,
    /// Server CPU per operation, in microseconds.
    pub(crate) cpu_us_per_op: f64,
    /// Median round trip, where single operations were timed.
    pub p50: Option<Duration>,
    /// 99th percentile, likewise.
    pub p99: Option<Duration>,
    /// Resident memory of the server after the workload.
    pub(crate) rss_bytes: u64,
}

/// Runs `work`, which returns how many operations it did and their latencies, and reads the server's CPU around it.
pub(crate) fn measure(pid: u32, work: impl FnOnce() -> io::Result<(u64, Latencies)>) -> io::Result<Cost> {
    let cpu_before = process::cpu_seconds(pid)?;
    let begun = Instant::now();
    let (ops, mut latencies) = work()?;
    let wall = begun.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(pid)? - cpu_before;
    let ops = ops as f64;
    Ok(Cost {
        ops_per_second: ops / wall,
        cpu_us_per_op: cpu * 1e6 / ops,
        p50: latencies.quantile(0.50),
        p99: latencies.quantile(0.99),
        rss_bytes: process::rss_bytes(pid)?,
    })
}
