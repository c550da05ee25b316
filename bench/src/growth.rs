//! What an operation and the server's memory cost while there is more and more of one thing.

mod load;
mod plot;

pub(crate) use plot::svg;

use crate::measure::{self, Cost, Latencies};
use crate::{Outcome, address, pid, process, start};
use jetkv_compat_tests::process::Program;
use load::Load;
use std::io;

/// Operations of each kind at each point.
const OPS: u64 = 20_000;

/// What there is more and more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Keys,
    Connections,
    Consumers,
    Streams,
}

pub(crate) const AXES: [Axis; 4] = [Axis::Keys, Axis::Connections, Axis::Consumers, Axis::Streams];

impl Axis {
    /// Name in the tables, of the drawing and for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Connections => "connections",
            Self::Consumers => "consumers",
            Self::Streams => "streams",
        }
    }

    fn sizes(self) -> &'static [u64] {
        match self {
            Self::Keys => &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            Self::Connections => &[1, 10, 100, 1_000, 9_000],
            Self::Consumers | Self::Streams => &[1, 10, 100, 1_000, 10_000],
        }
    }

    /// The most that nats-server is asked for: ten million keys, or ten thousand streams, take it many minutes.
    fn reference_max(self) -> u64 {
        match self {
            Self::Keys => 1_000_000,
            Self::Streams => 1_000,
            Self::Connections | Self::Consumers => u64::MAX,
        }
    }
}

/// What a server cost with so many of something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) size: u64,
    pub(crate) put_us: f64,
    pub(crate) get_us: f64,
    pub(crate) rss_bytes: u64,
}

/// Measures one axis on one server.
pub(crate) fn points(
    program: &Program,
    axis: Axis,
    storage: &str,
    is_reference: bool,
) -> Outcome<Vec<Point>> {
    let most = if is_reference { axis.reference_max() } else { u64::MAX };
    let sizes = axis.sizes().iter().copied().filter(|size| *size <= most);
    let point = |size| {
        let point = point(program, axis, storage, size);
        eprintln!("{} with {size} {}: {point:?}", program.name, axis.name());
        point.map_err(|error| format!("{} with {size} {}: {error}", program.name, axis.name()).into())
    };
    sizes.map(point).collect()
}

fn point(program: &Program, axis: Axis, storage: &str, size: u64) -> Outcome<Point> {
    let server = start(program)?;
    let (address, pid) = (address(&server)?, pid(&server)?);
    let mut load = Load::prepare(address, axis, storage, size)?;
    // What both servers make with the first operations is no part of what one costs.
    load.run(OPS, false)?;
    load.run(OPS, true)?;
    let mut of = |is_put| -> io::Result<Cost> {
        measure::measure(pid, || load.run(OPS, is_put).map(|()| (OPS, Latencies::default())))
    };
    let (put, get) = (of(true)?, of(false)?);
    let rss_bytes = process::rss_bytes(pid)?;
    Ok(Point { size, put_us: put.cpu_us_per_op, get_us: get.cpu_us_per_op, rss_bytes })
}

/// A table of one axis.
pub(crate) fn table(axis: Axis, ours: &[Point], theirs: &[Point]) {
    println!(
        "\n| {} | put, CPU µs | ratio | get, CPU µs | ratio | RSS MiB | ratio |\n|---|---|---|---|---|---|---|",
        axis.name()
    );
    for of in ours {
        let other = theirs.iter().find(|other| other.size == of.size);
        let cells = |figure: &dyn Fn(&Point) -> f64| match other {
            None => format!("{:.2} | –", figure(of)),
            Some(other) => {
                format!("{:.2} / {:.2} | {:.2}", figure(of), figure(other), figure(of) / figure(other))
            }
        };
        println!(
            "| {} | {} | {} | {} |",
            of.size,
            cells(&|point| point.put_us),
            cells(&|point| point.get_us),
            cells(&|point| point.rss_bytes as f64 / f64::from(1 << 20))
        );
    }
}
