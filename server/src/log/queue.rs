//! Lines on their way from those who log to the thread that writes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::line::Label;
use super::writer::Sink;

/// Bytes of text that may wait. Beyond them lines are dropped and counted.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the writing thread has to do.
#[derive(Debug)]
pub(super) enum Entry {
    /// Write a line.
    Line(Line),
    /// Write to somewhere else from now on.
    Sink(Sink),
}

/// A line that is not laid out yet.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) label: Label,
    pub(super) text: String,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something waits.
    filled: Condvar,
    /// Something was written.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    waiting_bytes: usize,
    dropped_lines: u64,
    /// Entries ever queued, and how many of them are done.
    queued: u64,
    done: u64,
}

/// What the writing thread takes at a time.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: VecDeque<Entry>,
    /// Lines that found the queue full since the last batch; they belong after this one.
    pub(super) dropped_lines: u64,
}

impl Queue {
    /// Queues a line, or drops it when too much waits.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.state.lock();
        if state.waiting_bytes + line.text.len() > WAITING_BYTES_MAX {
            state.dropped_lines += 1;
            return;
        }
        state.waiting_bytes += line.text.len();
        state.queued += 1;
        state.entries.push_back(Entry::Line(line));
        drop(state);
        self.filled.notify_one();
    }

    /// Queues something that must not be dropped.
    pub(super) fn push_control(&self, entry: Entry) {
        let mut state = self.state.lock();
        state.queued += 1;
        state.entries.push_back(entry);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits for entries and takes all of them.
    pub(super) fn take(&self) -> Batch {
        let mut state = self.state.lock();
        while state.entries.is_empty() && state.dropped_lines == 0 {
            self.filled.wait(&mut state);
        }
        state.waiting_bytes = 0;
        Batch {
            entries: std::mem::take(&mut state.entries),
            dropped_lines: std::mem::take(&mut state.dropped_lines),
        }
    }

    /// Tells that so many entries are done.
    pub(super) fn written(&self, entries: usize) {
        self.state.lock().done += entries as u64;
        self.drained.notify_all();
    }

    /// Waits until all entries queued so far are done, or for the timeout.
    pub(super) fn wait_until_written(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        let wanted = state.queued;
        while state.done < wanted {
            if self.drained.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}
