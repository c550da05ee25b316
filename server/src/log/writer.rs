//! The thread that writes lines, and where it writes them.

use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::LogError;
use super::file::LogFile;
use super::line::{Label, Layout};
use super::queue::{Batch, Entry, Line, Queue};
use super::syslog::{Address, Syslog};
use super::zone;
use crate::options::LogOptions;
use jetkv_go_compat::os_text;

/// Where lines go, and in which layout.
#[derive(Debug)]
pub(super) struct Sink {
    layout: Layout,
    to: Destination,
}

/// Where lines go.
#[derive(Debug)]
enum Destination {
    StandardError,
    File(LogFile),
    Syslog(Syslog),
}

impl Destination {
    /// A file comes before another machine's syslog, and that before this one's.
    fn open(options: &LogOptions) -> Result<Self, LogError> {
        if let Some(path) = &options.file {
            let file = LogFile::open(path, options.file_size_limit_bytes, options.file_max_num);
            return file.map(Self::File).map_err(|error| LogError::Open { path: path.clone(), error });
        }
        let address = match &options.remote_syslog {
            Some(address) => Address::parse(address).map_err(LogError::SyslogAddress)?,
            None if options.syslog => Address::Local,
            None => return Ok(Self::StandardError),
        };
        let host = match &address {
            Address::Tcp(host) => format!("dial tcp {host}: connect"),
            Address::Udp(host) => format!("dial udp {host}"),
            Address::Unix(path) => format!("dial unix {}: connect", path.display()),
            Address::Local => String::new(),
        };
        Syslog::connect(address).map(Self::Syslog).map_err(|error| {
            let reason = os_text(&error);
            LogError::Syslog(if host.is_empty() { error.to_string() } else { format!("{host}: {reason}") })
        })
    }
}

impl Sink {
    pub(super) fn open(options: &LogOptions) -> Result<Self, LogError> {
        let zone = || if options.time_utc { TimeZone::UTC } else { zone::local() };
        let layout = Layout {
            time: options.time.then(zone),
            colors: options.file.is_none() && io::stderr().is_terminal(),
            pid: std::process::id(),
        };
        let mut sink = Self { layout, to: Destination::open(options)? };
        if let Destination::File(file) = &sink.to
            && file.is_over_limit()
        {
            sink.write(line(Label::Info, "Rotating logfile..."), &mut String::new());
        }
        Ok(sink)
    }

    /// A file is looked at after every line, because its size decides where the next one goes.
    fn write(&mut self, line: Line, text: &mut String) {
        match &mut self.to {
            Destination::Syslog(syslog) => syslog.write(&line),
            Destination::StandardError => self.layout.append(&line, text),
            Destination::File(file) => {
                self.layout.append(&line, text);
                file.write(text, &self.layout);
                text.clear();
            }
        }
    }

    /// Writes what [`Sink::write`] gathered for standard error. Nobody may be there to read it, which is no failure.
    fn finish(&self, text: &mut String) {
        if matches!(self.to, Destination::StandardError) && !text.is_empty() {
            let _ = io::stderr().write_all(text.as_bytes());
            text.clear();
        }
    }
}

pub(super) fn line(label: Label, text: impl Into<String>) -> Line {
    Line { at: Timestamp::now(), label, text: text.into() }
}

/// Writes what the queue holds, for as long as the process lives.
pub(super) fn run(queue: &Queue, mut sink: Sink) {
    let mut text = String::new();
    loop {
        let Batch { entries, dropped_lines } = queue.take();
        let count = entries.len();
        for entry in entries {
            match entry {
                Entry::Line(line) => sink.write(line, &mut text),
                Entry::Sink(next) => {
                    sink.finish(&mut text);
                    sink = next;
                }
            }
        }
        if dropped_lines > 0 {
            let report = format!("{dropped_lines} log lines were dropped because nobody took them in time");
            sink.write(line(Label::Warn, report), &mut text);
        }
        sink.finish(&mut text);
        queue.written(count);
    }
}
