//! From events of `tracing` to lines.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use super::FATAL_TARGET;
use super::line::Label;
use super::queue::{Line, Queue};
use crate::options::LogOptions;

/// Crates whose events are lines; the libraries below them log for their own debugging.
const OWN_TARGETS: &str = "jetkv";

/// Which of the optional lines are shown.
#[derive(Debug)]
pub(super) struct Levels {
    debug: AtomicBool,
    trace: AtomicBool,
}

impl Levels {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self { debug: AtomicBool::new(options.debug), trace: AtomicBool::new(options.trace) }
    }

    pub(super) fn set(&self, options: &LogOptions) {
        self.debug.store(options.debug, Ordering::Relaxed);
        self.trace.store(options.trace, Ordering::Relaxed);
    }

    /// Debug lines and trace lines are chosen apart: neither brings the other.
    fn shows(&self, level: Level) -> bool {
        match level {
            Level::TRACE => self.trace.load(Ordering::Relaxed),
            Level::DEBUG => self.debug.load(Ordering::Relaxed),
            _ => true,
        }
    }
}

/// Turns events into lines of the queue. Spans mean nothing here.
pub(super) struct LineSubscriber {
    queue: Arc<Queue>,
    levels: Arc<Levels>,
}

impl LineSubscriber {
    pub(super) fn new(queue: Arc<Queue>, levels: Arc<Levels>) -> Self {
        Self { queue, levels }
    }
}

impl Subscriber for LineSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with(OWN_TARGETS)
            && self.levels.shows(*metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [(Level::TRACE, LevelFilter::TRACE), (Level::DEBUG, LevelFilter::DEBUG)];
        let shown = levels.into_iter().find(|(level, _)| self.levels.shows(*level));
        Some(shown.map_or(LevelFilter::INFO, |(_, filter)| filter))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let label = match *metadata.level() {
            Level::TRACE => Label::Trace,
            Level::DEBUG => Label::Debug,
            Level::INFO => Label::Info,
            Level::WARN => Label::Warn,
            Level::ERROR if metadata.target() == FATAL_TARGET => Label::Fatal,
            Level::ERROR => Label::Error,
        };
        let mut text = Text::default();
        event.record(&mut text);
        self.queue.push(Line { at: Timestamp::now(), label, text: text.0 });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, then its other fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.insert_str(0, value);
        } else {
            let _ = write!(self.0, " {}={value}", field.name());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            if self.0.is_empty() {
                let _ = write!(self.0, "{value:?}");
            } else {
                self.0.insert_str(0, &format!("{value:?}"));
            }
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
