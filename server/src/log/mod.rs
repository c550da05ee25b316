//! The log: lines in nats-server's format, written by a thread of its own.
//!
//! Lines are made with the macros of `tracing`, from targets below `jetkv`:
//!
//! | macro | label | shown |
//! |---|---|---|
//! | `trace!` | `[TRC]` | with `-V`; only for the protocol of connections |
//! | `debug!` | `[DBG]` | with `-D` |
//! | `info!` | `[INF]` | always |
//! | `warn!` | `[WRN]` | always |
//! | `error!` | `[ERR]` | always |
//! | [`fatal!`](crate::fatal) | `[FTL]` | always; the program ends after it |
//!
//! A macro whose level is off costs one load and one comparison. Whoever logs never waits for the disk or for
//! whoever should read standard error: lines wait in a queue of limited size, and those that find it full are
//! counted and reported instead.

mod file;
mod line;
mod queue;
mod subscriber;
mod syslog;
#[cfg(test)]
mod tests;
mod writer;
mod zone;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::options::LogOptions;

use queue::{Entry, Queue};
use subscriber::{Levels, LineSubscriber};
use writer::Sink;

/// Longest time that the end of the program waits for lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Exit code when the log itself fails.
const PANIC_CODE: i32 = 2;

/// Target of lines that announce the end of the program.
pub(crate) const FATAL_TARGET: &str = "jetkv::fatal";

/// Logs a `[FTL]` line: the program cannot go on. Ending it is the caller's part.
macro_rules! fatal {
    ($($argument:tt)+) => { ::tracing::error!(target: "jetkv::fatal", $($argument)+) };
}
pub(crate) use fatal;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The log file cannot be opened.
    #[error("error opening file: open {}: {}", path.display(), jetkv_go_compat::os_text(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The address of syslog makes no sense.
    #[error("{0}")]
    SyslogAddress(String),
    /// Syslog cannot be reached.
    #[error("error connecting to syslog: {}", jetkv_go_compat::quoted(.0))]
    Syslog(String),
    /// The writing thread cannot be started.
    #[error("error starting the log thread: {}", jetkv_go_compat::os_text(.0))]
    Thread(io::Error),
    /// Something else in this process already receives what is logged.
    #[error("a log is already set up in this process")]
    AlreadySet,
}

/// The running log. Clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    queue: Arc<Queue>,
    levels: Arc<Levels>,
}

impl Log {
    /// Opens the log's destination and makes it the one of this process.
    pub(crate) fn start(options: &LogOptions) -> Result<Self, LogError> {
        let sink = Sink::open(options)?;
        let log = Self { queue: Arc::new(Queue::default()), levels: Arc::new(Levels::new(options)) };
        let queue = Arc::clone(&log.queue);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| writer::run(&queue, sink))).is_err() {
                    // There is no log to say it in, and a server without one must not go on as if there were.
                    std::process::exit(PANIC_CODE);
                }
            })
            .map_err(LogError::Thread)?;
        let subscriber = LineSubscriber::new(Arc::clone(&log.queue), Arc::clone(&log.levels));
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
        Ok(log)
    }

    /// Changes levels and destination. Lines logged so far go to the old one.
    pub(crate) fn reconfigure(&self, options: &LogOptions) -> Result<(), LogError> {
        let sink = Sink::open(options)?;
        self.queue.push_control(Entry::Sink(sink));
        self.levels.set(options);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Opens the log file again, after it was moved away.
    pub(crate) fn reopen(&self, options: &LogOptions) {
        if options.file.is_none() {
            tracing::info!("File log re-open ignored, not a file logger");
            return;
        }
        match self.reconfigure(options) {
            Ok(()) => tracing::info!("File log re-opened"),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Waits until everything logged so far is written, but not for ever.
    pub(crate) fn flush(&self) {
        self.queue.wait_until_written(FLUSH_TIMEOUT);
    }
}
