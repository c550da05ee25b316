//! The `nats` CLI: commands that run to their end, and those that go on beside the steps that follow.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{CONDITION_WAIT, POLL, Player, split_arguments};
use crate::Result;
use crate::process::{Finished, Running, command};
use jetkv_testing::http;

/// Time limit of one CLI command. Only a fault takes so long.
const CLI_LIMIT: Duration = Duration::from_secs(60);

impl Player<'_> {
    fn cli_command(&mut self, arguments: &str) -> Result<Command> {
        let cli = self.tools.cli.clone().ok_or("the nats CLI is not installed")?;
        let arguments = split_arguments(&self.text(arguments)?);
        let url = self.server()?.url();
        let mut process = command(&cli);
        process.args(&arguments).env("NATS_URL", url).env("XDG_CONFIG_HOME", self.dir).env("HOME", self.dir);
        process.env("TZ", "UTC").env("COLUMNS", "200").current_dir(self.dir);
        Ok(process)
    }

    /// Runs a command to its end and records what it printed.
    pub(super) fn cli(&mut self, arguments: &str) -> Result<()> {
        let process = self.cli_command(arguments)?;
        let finished = Running::start(process)?.finish(CLI_LIMIT)?;
        self.record_cli(&finished);
        Ok(())
    }

    /// Starts a command that goes on.
    pub(super) fn cli_begin(&mut self, name: &str, arguments: &str) -> Result<()> {
        let process = self.cli_command(arguments)?;
        let running = Running::start(process)?;
        if self.commands.insert(name.to_string(), running).is_some() {
            return Err(format!("{name} runs already").into());
        }
        Ok(())
    }

    /// Waits until a command that goes on has printed a text.
    pub(super) fn cli_prints(&mut self, name: &str, text: &str) -> Result<()> {
        let deadline = Instant::now() + CLI_LIMIT;
        loop {
            let running = self.commands.get(name).ok_or_else(|| format!("no command {name}"))?;
            if running.printed().contains(text) {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.timed_out(format!("{name} to print {text:?}"));
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for a command to end, after a signal if one is given, and records what it printed.
    pub(super) fn cli_end(&mut self, name: &str, signal: Option<Signal>) -> Result<()> {
        let mut running = self.commands.remove(name).ok_or_else(|| format!("no command {name}"))?;
        if let Some(signal) = signal {
            running.signal(signal)?;
        }
        let finished = running.finish(CLI_LIMIT)?;
        self.record_cli(&finished);
        Ok(())
    }

    fn record_cli(&mut self, finished: &Finished) {
        if finished.was_running {
            self.timed_out("the end of the CLI command");
        }
        self.line(format!("exit code {}", finished.code.unwrap_or(-1)));
        for (channel, text) in [("out", &finished.stdout), ("err", &finished.stderr)] {
            for line in self.normaliser.cli(text) {
                self.line(format!("{channel}: {line}"));
            }
        }
    }

    /// Waits until so many connections subscribe to a subject, as the monitoring page of connections tells.
    pub(super) fn subscribed(&mut self, subject: &str, count: usize) -> Result<()> {
        let port = self.server()?.port("monitoring").ok_or("no monitoring port (server: -js -m -1)")?;
        let deadline = Instant::now() + CONDITION_WAIT;
        while subscribers(&http::get(("127.0.0.1", port), "/connz?subs=1")?.body, subject) < count {
            if Instant::now() > deadline {
                self.timed_out(format!("{count} subscriptions to {subject}"));
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// How many connections on the page subscribe to the subject.
fn subscribers(page: &[u8], subject: &str) -> usize {
    let page: Value = serde_json::from_slice(page).unwrap_or(Value::Null);
    let Some(connections) = page.get("connections").and_then(Value::as_array) else { return 0 };
    let subscribes = |connection: &&Value| {
        let list = connection.get("subscriptions_list").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|listed| listed == subject))
    };
    connections.iter().filter(subscribes).count()
}

#[cfg(test)]
mod tests {
    use super::subscribers;

    #[test]
    fn connections_that_subscribe_are_counted() {
        let page =
            br#"{"connections":[{"subscriptions_list":["a","b"]},{"cid":2},{"subscriptions_list":["b"]}]}"#;
        assert_eq!([subscribers(page, "a"), subscribers(page, "b"), subscribers(page, "c")], [1, 2, 0]);
    }
}
