//! The layout of a line: `[PID] 2026/11/22 21:49:34.123456 [INF] text`.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::queue::Line;

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Info,
    Debug,
    Warn,
    Error,
    Fatal,
    Trace,
}

/// How lines are laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Time zone of the time at the line's beginning. `None`: no time.
    pub(super) time: Option<TimeZone>,
    pub(super) colors: bool,
    pub(super) pid: u32,
}

impl Label {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "INF",
            Self::Debug => "DBG",
            Self::Warn => "WRN",
            Self::Error => "ERR",
            Self::Fatal => "FTL",
            Self::Trace => "TRC",
        }
    }

    /// Terminal attributes of the name.
    fn color(self) -> &'static str {
        match self {
            Self::Info => "32",
            Self::Debug => "36",
            Self::Warn => "0;93",
            Self::Error | Self::Fatal => "31",
            Self::Trace => "33",
        }
    }
}

impl Layout {
    /// Appends a line with its end.
    pub(super) fn append(&self, line: &Line, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = write!(out, "[{}] ", self.pid);
        if let Some(zone) = &self.time {
            append_time(line.at, zone, out);
        }
        let (name, text) = (line.label.name(), &line.text);
        let _ = if self.colors {
            write!(out, "[\x1b[{}m{name}\x1b[0m] {text}", line.label.color())
        } else {
            write!(out, "[{name}] {text}")
        };
        if !text.ends_with('\n') {
            out.push('\n');
        }
    }
}

fn append_time(at: Timestamp, zone: &TimeZone, out: &mut String) {
    let time = zone.to_datetime(at);
    let _ = write!(
        out,
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.subsec_nanosecond() / 1000,
    );
}
