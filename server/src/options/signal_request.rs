//! The flag `--signal COMMAND[=PID]`: which signal goes to which processes.

use std::io;
use std::process;

use rustix::process::{Pid, Signal, kill_process};

use jetkv_go_compat::os_text;
use jetkv_go_compat::quoted;

/// Names that running servers are looked for under.
const PROCESS_NAMES: [&str; 2] = ["nats-server", "jetkv"];

/// A signal for running servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRequest {
    command: String,
    /// A process id, `*`, or the first digits of process ids followed by `*`. Empty: the only running server.
    target: String,
}

impl SignalRequest {
    /// Understands the flag's value. A target that names a readable file stands for what the file says.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('=');
        let command = parts.next().unwrap_or_default().to_owned();
        let target = parts.next().unwrap_or_default();
        let surplus: Vec<&str> = parts.collect();
        if !surplus.is_empty() {
            return Err(format!("invalid signal parameters: [{}]", surplus.join(" ")));
        }
        let target = std::fs::read_to_string(target).unwrap_or_else(|_| target.to_owned());
        Ok(Self { command, target })
    }

    /// Sends the signal. The error is nats-server's text.
    pub fn send(&self) -> Result<(), String> {
        let prefix = self.target.strip_suffix('*').unwrap_or(&self.target);
        let is_pattern = self.target.ends_with('*');
        let mut pids = Vec::new();
        if !prefix.is_empty() {
            pids.push(prefix.parse::<i32>().map_err(|_| format!("invalid pid: {prefix}"))?);
        }
        if prefix.is_empty() || is_pattern {
            pids = running_servers()?;
        }
        if pids.len() > 1 && !is_pattern {
            let lines: String = pids.iter().map(|pid| format!("\n{pid}")).collect();
            return Err(format!("multiple nats-server processes running:{lines}"));
        }
        if pids.is_empty() {
            return Err("no nats-server processes running".to_owned());
        }
        let signal = signal(&self.command)?;
        let mut failures = String::new();
        for pid in pids.into_iter().filter(|pid| pid.to_string().starts_with(prefix)) {
            if let Err(reason) = send(pid, signal) {
                failures.push_str(&format!("\nsignal {} {pid}: {reason}", quoted(&self.command)));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }
}

fn signal(command: &str) -> Result<Signal, String> {
    match command {
        "stop" => Ok(Signal::KILL),
        "quit" => Ok(Signal::INT),
        "term" => Ok(Signal::TERM),
        "reopen" => Ok(Signal::USR1),
        "reload" => Ok(Signal::HUP),
        "ldm" => Ok(Signal::USR2),
        _ => Err(format!("unknown signal {}", quoted(command))),
    }
}

fn send(pid: i32, signal: Signal) -> Result<(), String> {
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return Err("no such process".to_owned());
    };
    kill_process(pid, signal).map_err(|errno| os_text(&io::Error::from(errno)))
}

/// Process ids of all servers that run, this process excepted.
fn running_servers() -> Result<Vec<i32>, String> {
    let unresolved = |_| "unable to resolve pid, try providing one".to_owned();
    let own = process::id();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(unresolved)? {
        let entry = entry.map_err(unresolved)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // The process may have ended meanwhile.
        let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue };
        if pid != own && PROCESS_NAMES.iter().any(|known| name.contains(known)) {
            pids.extend(i32::try_from(pid));
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::SignalRequest;

    #[test]
    fn refuses_with_the_texts_of_nats_server() {
        for (text, error) in [
            ("stop=a=b", "invalid signal parameters: [b]"),
            ("stop=abc", "invalid pid: abc"),
            ("foo=1", "unknown signal \"foo\""),
            ("quit=2147483647", "\nsignal \"quit\" 2147483647: no such process"),
        ] {
            let sent = SignalRequest::parse(text).and_then(|request| request.send());
            assert_eq!(sent, Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_target_may_be_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "2147483647").unwrap();
        let request = SignalRequest::parse(&format!("term={}", file.path().display())).unwrap();
        assert_eq!(request.send(), Err("\nsignal \"term\" 2147483647: no such process".to_owned()));
    }
}
