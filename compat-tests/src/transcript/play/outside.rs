//! Steps that look at a server from outside, or run the program by itself.

use std::time::{Duration, Instant};

use serde_json::Value;

use rustix::process::Signal;

use super::{CONDITION_WAIT, POLL, Player, split_arguments};
use crate::Result;
use crate::process::{Running, ServerOptions, command};
use crate::transcript::action::Action;
use jetkv_testing::http;

/// How long a `run` lasts when the program does not end by itself.
const RUN_WAIT: Duration = Duration::from_secs(2);
/// How long a `run` that has begun to say something may take to be ready or to end, on a machine that is slow.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a reload ends in the log.
const RELOADED: [&str; 2] = ["Reloaded server configuration", "Failed to reload server configuration"];
const READY: &str = "Server is ready";
/// How it begins there.
const ASKED: &str = "Trapped \"hangup\" signal";
/// What nats-server paints when JetStream starts, and JetKV does not (`log.banner`).
const PAINTED: [&str; 5] = ["/ __|", "\\___/", "docs.nats.io/jetstream", "| |\\/| |", "__ ___"];

impl Player<'_> {
    pub(super) fn act_outside(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Get { path } => {
                let path = self.text(path)?;
                let port = self.server()?.port("monitoring").ok_or("no monitoring port")?;
                let answer = http::get(("127.0.0.1", port), &path)?;
                let kind = answer.header("content-type").unwrap_or("none").to_string();
                self.line(format!("status {} content-type {kind}", answer.status));
                let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                for line in self.normaliser.payload(&answer.body) {
                    self.line(line);
                }
                self.latest_json = value;
            }
            Action::UntilPage { path, pointer, value } => self.until_page(path, pointer, value)?,
            Action::Run { arguments } => self.run(arguments)?,
            Action::Write { file, text } => {
                let text = self.text(text)?;
                let options = ServerOptions { files: vec![(file.clone(), text)], ..ServerOptions::default() };
                crate::process::write_files(self.dir, &options)?;
            }
            Action::Reload { end, config } => self.reload(end, config)?,
            _ => return Err("not an outside verb".into()),
        }
        Ok(())
    }

    fn reload(&mut self, end: &str, config: &str) -> Result<()> {
        let (text, end) = (self.text(config)?, self.text(end)?);
        let files = vec![("server.conf".to_string(), text)];
        crate::process::write_files(self.dir, &ServerOptions { files, ..ServerOptions::default() })?;
        let before = self.server()?.log().lines().count();
        self.server()?.signal(Signal::HUP)?;
        let deadline = Instant::now() + CONDITION_WAIT;
        let is_end = |line: &&str| {
            RELOADED.iter().any(|end| line.contains(end)) || (!end.is_empty() && line.contains(&end))
        };
        loop {
            let log = self.server()?.log();
            let new: Vec<&str> = log.lines().skip(before).collect();
            if let Some(at) = new.iter().position(is_end) {
                // What tells of the start may be logged later than the ports are known.
                let begin = new.iter().position(|line| line.contains(ASKED)).unwrap_or_default();
                for line in new.iter().take(at + 1).skip(begin).filter(|line| is_told(line)) {
                    let line = self.normaliser.log(line);
                    self.line(line.trim_end());
                }
                return Ok(());
            }
            if Instant::now() > deadline {
                self.timed_out("the end of the reload");
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    fn until_page(&mut self, path: &str, pointer: &str, value: &str) -> Result<()> {
        let path = self.text(path)?;
        let port = self.server()?.port("monitoring").ok_or("no monitoring port")?;
        self.until_shown(&format!("{path} "), pointer, value, |_| {
            Ok(serde_json::from_slice(&http::get(("127.0.0.1", port), &path)?.body).unwrap_or_default())
        })
    }

    fn run(&mut self, arguments: &str) -> Result<()> {
        // Under its own name, so that texts with the program's name can be compared.
        let link = self.dir.join("nats-server");
        if !link.exists() {
            std::os::unix::fs::symlink(&self.program.path, &link)?;
        }
        let mut process = command(&link);
        process.args(split_arguments(&self.text(arguments)?)).current_dir(self.dir);
        let mut process = Running::start(process)?;
        if !process.ends_within(RUN_WAIT * self.patience)? && is_starting(&process.printed()) {
            process.ends_within(START_LIMIT)?;
        }
        let finished = process.finish(Duration::ZERO)?;
        match finished.code {
            Some(code) => self.line(format!("exit code {code}")),
            None if finished.was_running => self.line("still running"),
            None => self.line("ended by a signal"),
        }
        for (channel, text) in [("out", finished.stdout), ("err", finished.stderr)] {
            if self.normaliser.hides_channel(channel) {
                self.line(format!("{channel}: {}", if text.is_empty() { "nothing" } else { "<text>" }));
                continue;
            }
            // JetKV's own version is a line that nats-server does not have.
            for line in self.normaliser.log(&text).lines().filter(|line| !line.starts_with("[INF]   JetKV:"))
            {
                self.line(format!("{channel}: {}", line.trim_end()));
            }
        }
        Ok(())
    }
}

/// Whether a line of a reload is one to compare: operations and details of debugging are not, nor is the banner.
fn is_told(line: &str) -> bool {
    let level = [" [INF] ", " [WRN] ", " [ERR] "].iter().find_map(|level| line.split_once(level));
    level.is_some_and(|(_, text)| {
        !text.trim().is_empty() && !PAINTED.iter().any(|painted| text.contains(painted))
    })
}

/// Whether a program has said something, but not yet that it is ready. One that logs elsewhere says nothing.
fn is_starting(printed: &str) -> bool {
    !printed.is_empty() && !printed.contains(READY)
}
