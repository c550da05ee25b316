//! The program: a server that stands in for nats-server.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use crate::log::{Log, fatal};
use crate::options::{Command, CommandLine, Message};
use crate::signals::{self, Controlled as _, Ending, Signals};
use crate::state::Restart;
use crate::{Server, StartError, failure, lab, tester};

/// Exit code after SIGQUIT or a panic, as programs in Go have it.
const QUIT_CODE: i32 = 2;

/// Does what the arguments of a command line, without the program's name, ask for: runs a server until it ends, prints what
/// was asked for, sends a signal. Tells how the process is to end.
///
/// ```
/// use std::process::ExitCode;
///
/// assert_eq!(jetkv::run(&["--version".to_owned()]), ExitCode::SUCCESS);
/// ```
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    match Command::from_arguments(arguments) {
        Command::Print(message) => print(&message),
        Command::Lab(arguments) => match arguments.split_first() {
            Some((verb, rest)) if verb == "serve" => {
                raise_descriptor_limit();
                tester::run(rest)
            }
            _ => print(&lab::command::run(&arguments)),
        },
        Command::Signal(request) => match request.send() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Run(command_line) => {
            raise_descriptor_limit();
            run_server(&command_line)
        }
    }
}

/// Runs a server until it ends by itself or by a signal.
fn run_server(command_line: &CommandLine) -> ExitCode {
    let _ = io::stderr().write_all(command_line.warnings.as_bytes());
    let log = match Log::start(&command_line.options.log) {
        Ok(log) => log,
        Err(error) => return fail_without_log(&error.to_string()),
    };
    failure::log_panics();
    let code = match serve(command_line, &log) {
        Ok(()) => ExitCode::SUCCESS,
        // Found out before anything else begins, and so no matter of the log.
        Err(error) if matches!(error.downcast_ref(), Some(StartError::Accounts(_))) => {
            fail(&error.to_string())
        }
        Err(error) => {
            fatal!("{error}");
            ExitCode::FAILURE
        }
    };
    log.flush();
    code
}

/// As many files and connections as the system lets this process have, as the runtime of Go sees to. Nothing depends on
/// it: who may not raise the limit has the one that is in force.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn serve(command_line: &CommandLine, log: &Log) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything else starts, so that no signal is lost.
        let mut signals = Signals::listen()?;
        let server = Server::start(command_line.options.clone())?;
        let monitoring = server.serve_monitoring()?;
        let begins_again = obey_restarts(&server, monitoring);
        server.ready(monitoring);
        if signals::serve(&server, &mut signals, command_line, log).await == Ending::Abrupt {
            log.flush();
            process::exit(QUIT_CODE);
        }
        if begins_again.load(Ordering::Acquire) {
            log.flush();
            return Err(begin_again(&places(&server, monitoring)).into());
        }
        Ok(())
    })
}

/// Has the program begin again where the lab asks for that: at once, or when the server has ended. Gives whether it is to do
/// so then.
fn obey_restarts(server: &Server, monitoring: Option<SocketAddr>) -> Arc<AtomicBool> {
    let begins_again = Arc::new(AtomicBool::new(false));
    let (noted, places) = (Arc::clone(&begins_again), places(server, monitoring));
    server.on_restart(move |how| match how {
        Restart::Killed => {
            let error = begin_again(&places);
            tracing::error!("Test lab: the server does not begin again: {error}");
        }
        Restart::Orderly => {
            noted.store(true, Ordering::Release);
            if let Err(error) = kill_process(getpid(), Signal::TERM) {
                tracing::error!("Test lab: the server does not end: {error}");
            }
        }
    });
    begins_again
}

/// Flags for the ports that the server has now: clients look for it there.
fn places(server: &Server, monitoring: Option<SocketAddr>) -> Vec<String> {
    let mut flags = vec!["-p".to_owned(), server.client_address().port().to_string()];
    // A port for HTTPS is what the configuration says.
    if let Some(address) = monitoring.filter(|_| !server.options().monitor.secure) {
        flags.extend(["-m".to_owned(), address.port().to_string()]);
    }
    flags
}

/// Puts this program in its own place, with the arguments that it had and these. What it has open is closed. Returns only where
/// that fails.
fn begin_again(flags: &[String]) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => process::Command::new(program).arg0(name).args(arguments).args(flags).exec(),
        Err(error) => error,
    }
}

/// Whoever closed standard output or standard error does not want to read, which is no failure.
fn print(message: &Message) -> ExitCode {
    let _ = io::stdout().write_all(message.stdout.as_bytes());
    let _ = io::stderr().write_all(message.stderr.as_bytes());
    ExitCode::from(message.exit_code)
}

/// What there is no log for goes to standard error, with the time in front.
fn fail_without_log(text: &str) -> ExitCode {
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    print(&Message { stdout: String::new(), stderr: format!("{now} {text}\n"), exit_code: 1 })
}

fn fail(text: &str) -> ExitCode {
    print(&Message { stdout: String::new(), stderr: format!("nats-server: {text}\n"), exit_code: 1 })
}
