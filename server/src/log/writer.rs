//! The thread that writes lines, and where it writes them.

use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::LogError;
use super::file::LogFile;
use super::line::{Label, Layout};
use super::queue::{Batch, Entry, Line, Queue};
use crate::options::LogOptions;

/// Where lines go, and in which layout.
#[derive(Debug)]
pub(super) struct Sink {
    layout: Layout,
    /// `None`: standard error.
    file: Option<LogFile>,
}

impl Sink {
    pub(super) fn open(options: &LogOptions) -> Result<Self, LogError> {
        let zone = if options.time_utc { TimeZone::UTC } else { TimeZone::system() };
        let layout = Layout {
            time: options.time.then_some(zone),
            colors: options.file.is_none() && io::stderr().is_terminal(),
            pid: std::process::id(),
        };
        let file = match &options.file {
            Some(path) => Some(
                LogFile::open(path, options.file_size_limit_bytes, options.file_max_num)
                    .map_err(|error| LogError::Open { path: path.clone(), error })?,
            ),
            None => None,
        };
        let mut sink = Self { layout, file };
        if sink.file.as_ref().is_some_and(LogFile::is_over_limit) {
            sink.write(&line(Label::Info, "Rotating logfile..."), &mut String::new());
        }
        Ok(sink)
    }

    /// A file is looked at after every line, because its size decides where the next one goes.
    fn write(&mut self, line: &Line, text: &mut String) {
        self.layout.append(line, text);
        let Some(file) = &mut self.file else { return };
        file.write(text, &self.layout);
        text.clear();
    }

    /// Writes what [`Sink::write`] gathered for standard error. Nobody may be there to read it, which is no failure.
    fn finish(&self, text: &mut String) {
        if self.file.is_none() && !text.is_empty() {
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
                Entry::Line(line) => sink.write(&line, &mut text),
                Entry::Sink(next) => {
                    sink.finish(&mut text);
                    sink = next;
                }
            }
        }
        if dropped_lines > 0 {
            let report = format!("{dropped_lines} log lines were dropped because nobody took them in time");
            sink.write(&line(Label::Warn, report), &mut text);
        }
        sink.finish(&mut text);
        queue.written(count);
    }
}
