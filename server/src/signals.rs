//! Signals to a running server: stop, lame duck, reload, reopen the log.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::log::Log;
use crate::options::{Action, Change, CommandLine, Options, ReloadError};
use crate::state::ReloadAsk;

/// Signals that end a process unless it says otherwise, and that a program in Go takes no notice of: SIGALRM, SIGXCPU,
/// SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO and SIGPWR as Linux numbers them on the processors that this runs on, and those for
/// programs' own use, of which the first belongs to Go.
const UNHEEDED: [std::ops::RangeInclusive<i32>; 4] = [14..=14, 24..=27, 29..=30, 35..=64];

/// A signal that the program acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT: stop, even out of lame duck mode.
    Interrupt,
    /// SIGTERM: stop, unless lame duck mode is on its way to that.
    Terminate,
    /// SIGQUIT: end at once, without putting anything in order.
    Quit,
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
            Self::Quit => "quit",
            Self::Hangup => "hangup",
            Self::User1 => "user defined signal 1",
            Self::User2 => "user defined signal 2",
        }
    }
}

/// The signals of this process.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
}

impl Signals {
    /// Takes the signals over. From now on none of them ends the process by itself. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        for number in UNHEEDED.into_iter().flatten() {
            // That a system has no such signal is no failure. The handler stays when what it would tell is gone.
            let _ = unix::signal(SignalKind::from_raw(number));
        }
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user1: unix::signal(SignalKind::user_defined1())?,
            user2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.quit.recv() => Signal::Quit,
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.user1.recv() => Signal::User1,
            _ = self.user2.recv() => Signal::User2,
        }
    }
}

/// A server as signals see it.
pub(crate) trait Controlled {
    /// The options it runs with.
    fn options(&self) -> Arc<Options>;

    /// Puts other options in force, all but those of the log, and logs what changes.
    fn reload(&self, options: Options) -> Result<Vec<Change>, ReloadError>;

    /// Does what comes once it was told that they are in force. `before` are those before them.
    fn reloaded(&self, before: &Options);

    /// Enters lame duck mode, which ends with the server's end. Returns at once.
    fn lame_duck(&self);

    /// Whether lame duck mode has been entered.
    fn is_lame_duck(&self) -> bool;

    /// Takes the requests of the system account to read the configuration again, from now on.
    fn take_reload_asks(&self) -> UnboundedReceiver<ReloadAsk>;

    /// Says what came of such a request.
    fn answer_reload(&self, ask: &ReloadAsk, result: Result<(), String>);

    /// Whether it has ended because a panic left it no choice.
    fn has_failed(&self) -> bool;

    /// Begins to end the server. Returns at once.
    fn begin_shutdown(&self);

    /// Returns when the server has ended.
    fn ended(&self) -> impl Future<Output = ()>;
}

/// How a server that obeys signals ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order: it has ended.
    Stopped,
    /// By SIGQUIT or by a panic: it may still run, and the process is to end now.
    Abrupt,
}

/// Acts on signals until the server has ended, or has to end without further ado.
pub(crate) async fn serve(
    server: &impl Controlled,
    signals: &mut Signals,
    command_line: &CommandLine,
    log: &Log,
) -> Ending {
    let ended = server.ended();
    let mut ended = std::pin::pin!(ended);
    let mut reload_asks = server.take_reload_asks();
    loop {
        let signal = tokio::select! {
            () = &mut ended => {
                return if server.has_failed() { Ending::Abrupt } else { Ending::Stopped };
            }
            Some(ask) = reload_asks.recv() => {
                server.answer_reload(&ask, reload(server, command_line, log));
                continue;
            }
            signal = signals.next() => signal,
        };
        if signal == Signal::Quit {
            return Ending::Abrupt;
        }
        handle(signal, server, command_line, log);
    }
}

fn handle(signal: Signal, server: &impl Controlled, command_line: &CommandLine, log: &Log) {
    tracing::info!("Trapped \"{}\" signal", signal.name());
    match signal {
        Signal::Interrupt | Signal::Quit => server.begin_shutdown(),
        Signal::Terminate if server.is_lame_duck() => {}
        Signal::Terminate => server.begin_shutdown(),
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
    let options = command_line.reload().map_err(|error| error.to_string())?;
    let (log_options, digest) = (options.log.clone(), options.config_digest.clone());
    let before = server.options();
    let changes = server.reload(options).map_err(|error| error.to_string())?;
    let is_about_log = |change: &Change| matches!(change.action, Action::Log | Action::Trace);
    if changes.iter().any(is_about_log)
        && let Err(error) = log.reconfigure(&log_options)
    {
        tracing::error!("{error}");
    }
    tracing::info!("Reloaded server configuration ({})", digest.unwrap_or_default());
    server.reloaded(&before);
    Ok(())
}
