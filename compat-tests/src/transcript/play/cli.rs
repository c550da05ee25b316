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

    /// Starts a command that goes on, on a terminal if it wants one.
    pub(super) fn cli_begin(&mut self, name: &str, arguments: &str, terminal: bool) -> Result<()> {
        let mut process = self.cli_command(arguments)?;
        if terminal {
            process = on_terminal(&process);
        }
        let running = Running::start(process)?;
        if self.commands.insert(name.to_string(), running).is_some() {
            return Err(format!("{name} runs already").into());
        }
        Ok(())
    }

    /// Waits until a command that goes on has printed a text so many times.
    pub(super) fn cli_prints(&mut self, name: &str, text: &str, times: usize) -> Result<()> {
        let deadline = Instant::now() + CLI_LIMIT;
        loop {
            let running = self.commands.get(name).ok_or_else(|| format!("no command {name}"))?;
            if running.printed().matches(text).count() >= times {
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
            for line in self.normaliser.cli(&last_screen(text)) {
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

/// The same command on a terminal of its own, for those of the CLI that draw.
fn on_terminal(process: &Command) -> Command {
    let words = std::iter::once(process.get_program()).chain(process.get_args());
    let words: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    let mut terminal = command(std::path::Path::new("script"));
    terminal.args(["-qefc", &format!("stty rows 50 cols 150; exec {}", words.join(" ")), "/dev/null"]);
    terminal.envs(process.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = process.get_current_dir() {
        terminal.current_dir(folder);
    }
    terminal
}

/// What a terminal shows at the end: what is behind the last time that the program cleared it, if that is there as a whole.
/// Else it is what was there before: how often a program draws is a matter of time.
fn last_screen(text: &str) -> String {
    const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
    let screens: Vec<&str> = text.split(CLEAR).collect();
    let shown = match screens.as_slice() {
        [.., before, last] if last.trim_end().len() < before.trim_end().len() => before,
        [.., last] => last,
        [] => text,
    };
    shown.replace('\r', "")
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
    use super::{last_screen, subscribers};

    #[test]
    fn the_last_whole_screen_is_what_a_terminal_shows() {
        let drawn = "begin\r\n\u{1b}[2J\u{1b}[Hone\r\nof two\r\n\u{1b}[2J\u{1b}[Htwo\r\nof two\r\n";
        assert_eq!(last_screen(drawn), "two\nof two\n");
        assert_eq!(last_screen(&format!("{drawn}\u{1b}[2J\u{1b}[Hthr")), "two\nof two\n");
        assert_eq!(last_screen("no terminal\n"), "no terminal\n");
    }

    #[test]
    fn connections_that_subscribe_are_counted() {
        let page =
            br#"{"connections":[{"subscriptions_list":["a","b"]},{"cid":2},{"subscriptions_list":["b"]}]}"#;
        assert_eq!([subscribers(page, "a"), subscribers(page, "b"), subscribers(page, "c")], [1, 2, 0]);
    }
}
