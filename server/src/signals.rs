//! Signals to a running server: stop, lame duck, reload, reopen the log.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{self, SignalKind};

use crate::log::Log;
use crate::options::{Action, Change, CommandLine, Options, diff};
use crate::pid_file;

/// A signal that the program acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: stop, even out of lame duck mode.
    Interrupt,
    /// SIGTERM: stop, unless lame duck mode is on its way to that.
    Terminate,
    /// SIGHUP: read the configuration again.
    Hangup,
    /// SIGUSR1: open the log file again.
    User1,
    /// SIGUSR2: lame duck mode.
    User2,
}

impl Signal {
    /// The name in log lines.
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Hangup => "hangup",
            Self::User1 => "user defined signal 1",
            Self::User2 => "user defined signal 2",
        }
    }
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
}

impl Signals {
    /// Takes the signals over. From now on none of them ends the process by itself. Needs a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            user2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.user1.recv() => Signal::User1,
            _ = self.user2.recv() => Signal::User2,
        }
    }
}

/// A server as signals see it.
pub trait Controlled {
    /// The options it runs with; the port is the bound one.
    fn options(&self) -> Arc<Options>;

    /// Whether JetStream runs.
    fn jetstream_runs(&self) -> bool;

    /// Takes new options and does what the changes ask for, except for the log and the process id's file.
    fn apply(&self, options: Options, changes: &[Change]);

    /// Enters lame duck mode, which ends with the server's end. Returns at once.
    fn lame_duck(&self);

    /// Whether lame duck mode has been entered.
    fn is_lame_duck(&self) -> bool;

    /// Ends the server. Returns at once.
    fn shut_down(&self);

    /// Returns when the server has ended.
    fn ended(&self) -> impl Future<Output = ()>;
}

/// Acts on signals until the server has ended.
pub async fn serve(server: &impl Controlled, signals: &mut Signals, command_line: &CommandLine, log: &Log) {
    loop {
        let signal = tokio::select! {
            () = server.ended() => return,
            signal = signals.next() => signal,
        };
        handle(signal, server, command_line, log);
    }
}

fn handle(signal: Signal, server: &impl Controlled, command_line: &CommandLine, log: &Log) {
    tracing::info!("Trapped \"{}\" signal", signal.name());
    match signal {
        Signal::Interrupt => server.shut_down(),
        Signal::Terminate if server.is_lame_duck() => {}
        Signal::Terminate => server.shut_down(),
        Signal::Hangup => {
            if let Err(error) = reload(server, command_line, log) {
                tracing::error!("Failed to reload server configuration: {error}");
            }
        }
        Signal::User1 => log.reopen(&server.options().log),
        Signal::User2 => server.lame_duck(),
    }
}

fn reload(server: &impl Controlled, command_line: &CommandLine, log: &Log) -> Result<(), String> {
    let mut new = command_line.reload().map_err(|error| error.to_string())?;
    let old = server.options();
    let changes = diff(&old, &mut new, server.jetstream_runs()).map_err(|error| error.to_string())?;
    let (log_options, pid_file, digest) = (new.log.clone(), new.pid_file.clone(), new.config_digest.clone());
    for change in &changes {
        tracing::info!("{}", change.line);
    }
    server.apply(new, &changes);
    let asks_for = |action| changes.iter().any(|change| change.action == action);
    if let Some(path) = pid_file.filter(|_| asks_for(Action::PidFile))
        && let Err(reason) = pid_file::write(&path)
    {
        tracing::error!("Failed to write pidfile: {reason}");
    }
    if (asks_for(Action::Log) || asks_for(Action::Trace))
        && let Err(error) = log.reconfigure(&log_options)
    {
        tracing::error!("{error}");
    }
    tracing::info!("Reloaded server configuration ({})", digest.unwrap_or_default());
    Ok(())
}
