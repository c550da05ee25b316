use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line::{Label, Layout};
use super::queue::{Entry, Line, Queue};
use super::writer::{self, Sink};
use crate::options::LogOptions;

fn line(text: &str) -> Line {
    Line {
        at: Timestamp::from_nanosecond(1_795_384_174_123_456_789).unwrap(),
        label: Label::Info,
        text: text.into(),
    }
}

#[test]
fn lines_look_like_those_of_nats_server() {
    let utc = Layout { time: Some(TimeZone::UTC), colors: false, pid: 7 };
    let cases = [
        (utc.clone(), Label::Info, "[7] 2026/11/22 21:49:34.123456 [INF] text\n"),
        (utc.clone(), Label::Fatal, "[7] 2026/11/22 21:49:34.123456 [FTL] text\n"),
        (Layout { time: None, ..utc.clone() }, Label::Trace, "[7] [TRC] text\n"),
        (Layout { colors: true, time: None, ..utc }, Label::Warn, "[7] [\x1b[0;93mWRN\x1b[0m] text\n"),
    ];
    for (layout, label, expected) in cases {
        let mut out = String::new();
        layout.append(&Line { label, ..line("text") }, &mut out);
        assert_eq!(out, expected);
    }
}

/// Runs a writer for the queue until it is empty.
fn write_all(queue: &std::sync::Arc<Queue>, options: &LogOptions) {
    let sink = Sink::open(options).unwrap();
    let queue_of_writer = std::sync::Arc::clone(queue);
    std::thread::spawn(move || writer::run(&queue_of_writer, sink));
    queue.wait_until_written(std::time::Duration::from_secs(10));
}

#[test]
fn a_full_queue_drops_lines_and_says_how_many() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let queue = std::sync::Arc::new(Queue::default());
    let megabyte = "x".repeat(1024 * 1024);
    for _ in 0..7 {
        queue.push(line(&megabyte));
    }
    write_all(&queue, &LogOptions { file: Some(path.clone()), time: false, ..LogOptions::default() });
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().filter(|line| line.ends_with('x')).count(), 4);
    assert!(text.ends_with("[WRN] 3 log lines were dropped because nobody took them in time\n"));
}

#[test]
fn a_file_beyond_its_limit_is_rotated_and_old_ones_are_purged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let queue = std::sync::Arc::new(Queue::default());
    for at in 0..40 {
        queue.push(line(&format!("{at} {}", "x".repeat(100))));
    }
    let options = LogOptions {
        file: Some(path.clone()),
        file_size_limit_bytes: 500,
        file_max_num: 3,
        ..LogOptions::default()
    };
    write_all(&queue, &options);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("[INF] Rotated log, backup saved as "), "{text}");
    assert!(text.contains("[INF] Purged log file "), "{text}");
    assert!(text.len() < 800);
}

#[test]
fn a_new_destination_takes_the_lines_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    let queue = std::sync::Arc::new(Queue::default());
    let options =
        |path: &std::path::Path| LogOptions { file: Some(path.to_owned()), ..LogOptions::default() };
    queue.push(line("first"));
    queue.push_control(Entry::Sink(Sink::open(&options(&new)).unwrap()));
    queue.push(line("second"));
    write_all(&queue, &options(&old));
    assert!(std::fs::read_to_string(old).unwrap().ends_with("first\n"));
    assert!(std::fs::read_to_string(new).unwrap().ends_with("second\n"));
}
