//! Server processes: started on ports of their own choice, stopped by pid, never left behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::{Error, Result};

/// How long a server may take to write its ports file, or to end after a signal. Only a fault takes so long.
const PROCESS_WAIT: Duration = Duration::from_secs(60);
/// How often, and how far apart, a start is tried whose port is in use. A connection of somebody else may have it for a moment.
const PORT_TRIES: u32 = 20;
const PORT_PAUSE: Duration = Duration::from_millis(200);
/// What a server says then.
const PORT_TAKEN: &str = "address already in use";
const POLL: Duration = Duration::from_millis(2);

/// A server program: the real one or JetKV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What reports call it.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
}

/// Flags and configuration text that a scenario starts its server with. Servers with equal options can be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerOptions {
    /// Flags besides the ports, the ports folder and the store, which the harness sets.
    pub flags: Vec<String>,
    /// Text of the configuration file; `${dir}` stands for the server's own folder.
    pub config: Option<String>,
    /// Whether the configuration says all that the harness otherwise sets by flags, but for the ports folder.
    pub is_bare: bool,
    /// Further files beside the configuration file (name, text).
    pub files: Vec<(String, String)>,
    /// Variables of its environment besides those of the harness (name, value).
    pub environment: Vec<(String, String)>,
}

/// A running (or deliberately stopped) server with its folder.
#[derive(Debug)]
pub struct Server {
    program: Program,
    options: ServerOptions,
    dir: TempDir,
    child: Option<Child>,
    ports: BTreeMap<String, u16>,
    starts: usize,
}

impl Server {
    /// Starts `program` with `options` in a fresh folder and waits until it listens.
    ///
    /// # Errors
    /// When the process ends or does not write its ports file in time; the text carries its log.
    pub fn start(program: &Program, options: &ServerOptions) -> Result<Self> {
        let mut server = Self::stopped(program, options)?;
        server.launch()?;
        Ok(server)
    }

    /// Makes a fresh folder for `program` with `options`, which [`Server::launch`] starts.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn stopped(program: &Program, options: &ServerOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("jetkv-compat-").tempdir()?;
        write_files(dir.path(), options)?;
        Ok(Self {
            program: program.clone(),
            options: options.clone(),
            dir,
            child: None,
            ports: BTreeMap::new(),
            starts: 0,
        })
    }

    /// Starts the stopped process again on the same store, and on the same ports unless somebody else has taken one of them
    /// for good in the meantime.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub fn launch(&mut self) -> Result<()> {
        for tries_left in (0..PORT_TRIES).rev() {
            match self.launch_once() {
                Err(error) if error.to_string().contains(PORT_TAKEN) && tries_left > 0 => {
                    if tries_left < PORT_TRIES / 2 {
                        self.ports.clear();
                    }
                    std::thread::sleep(PORT_PAUSE);
                }
                launched => return launched,
            }
        }
        Ok(())
    }

    fn launch_once(&mut self) -> Result<()> {
        self.starts += 1;
        let ports_dir = self.dir.path().join(format!("ports-{}", self.starts));
        std::fs::create_dir_all(&ports_dir)?;
        let log = File::create(self.log_path(self.starts))?;
        let mut command = command(&self.program.path);
        command.args(self.arguments(&ports_dir)).current_dir(self.dir.path());
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(spawn(command)?);
        let deadline = Instant::now() + PROCESS_WAIT;
        loop {
            if let Some(ports) = read_ports(&ports_dir) {
                self.ports = ports;
                return Ok(());
            }
            if let Some(status) = self.poll_exit()? {
                return Err(
                    format!("{} ended at start ({status}):\n{}", self.program.name, self.log()).into()
                );
            }
            if Instant::now() > deadline {
                return Err(format!("{} wrote no ports file:\n{}", self.program.name, self.log()).into());
            }
            std::thread::sleep(POLL);
        }
    }

    fn arguments(&self, ports_dir: &Path) -> Vec<String> {
        let port_of = |name: &str| self.ports.get(name).map_or_else(|| "-1".to_string(), u16::to_string);
        let store = self.dir.path().join("store");
        let mut arguments = vec!["--ports_file_dir".to_string(), ports_dir.display().to_string()];
        if !self.options.is_bare {
            arguments.extend([
                "-a".to_string(),
                "127.0.0.1".to_string(),
                "-p".to_string(),
                port_of("nats"),
                "-m".to_string(),
                port_of("monitoring"),
                "-sd".to_string(),
                store.display().to_string(),
            ]);
        }
        if self.options.config.is_some() {
            arguments.push("-c".to_string());
            arguments.push(self.dir.path().join("server.conf").display().to_string());
        }
        arguments.extend(self.options.flags.iter().map(|flag| self.expand(flag)));
        arguments
    }

    fn expand(&self, text: &str) -> String {
        text.replace("${dir}", &self.dir.path().display().to_string())
    }

    /// Starts another program, with the same options, on the ports and the store of this stopped one.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub fn hand_over(&mut self, program: &Program) -> Result<()> {
        self.program = program.clone();
        self.launch()
    }

    /// Gives the server another configuration, for its next start or reload.
    ///
    /// # Errors
    /// I/O.
    pub fn configure(&mut self, config: &str) -> Result<()> {
        self.options.config = Some(config.to_owned());
        write_files(self.dir.path(), &self.options)
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// When the process is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().ok_or("the server is not running")?;
        let pid = Pid::from_child(child);
        Ok(kill_process(pid, signal)?)
    }

    /// Sends a signal and waits for the end of the process.
    ///
    /// # Errors
    /// When the process is not running or does not end in time.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait_exit(PROCESS_WAIT)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll_exit()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{} did not end within {limit:?}", self.program.name).into());
            }
            std::thread::sleep(POLL);
        }
    }

    fn poll_exit(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().ok_or("the server is not running")?;
        Ok(child.try_wait()?)
    }

    /// True while the process runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.is_some() && matches!(self.poll_exit(), Ok(None))
    }

    /// The port of a listener by its name in the ports file (`nats`, `monitoring`, ...).
    pub fn port(&self, listener: &str) -> Option<u16> {
        self.ports.get(listener).copied()
    }

    /// All listeners with their ports.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port("nats").unwrap_or_default())
    }

    /// The server's own folder: configuration, store (`store/`), logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The program this server runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.dir.path().join(format!("log-{start}.txt"))
    }

    /// What the process printed since its latest start.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path(self.starts))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes a configuration and its companions into `dir`, with `${dir}` replaced.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_files(dir: &Path, options: &ServerOptions) -> Result<()> {
    let place = dir.display().to_string();
    if let Some(config) = &options.config {
        std::fs::write(dir.join("server.conf"), config.replace("${dir}", &place))?;
    }
    for (name, text) in &options.files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text.replace("${dir}", &place))?;
    }
    Ok(())
}

fn read_ports(dir: &Path) -> Option<BTreeMap<String, u16>> {
    let entry = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "ports"))?;
    let text = std::fs::read_to_string(entry.path()).ok()?;
    let parsed: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).ok()?;
    let mut ports = BTreeMap::new();
    for (name, urls) in parsed {
        let port = urls.first().and_then(|url| url.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
        if let Some(port) = port {
            ports.insert(name, port);
        }
    }
    ports.contains_key("nats").then_some(ports)
}

/// The result of a program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it, or the time limit did.
    pub code: Option<i32>,
    /// True when it was still running at the limit and was ended.
    pub was_running: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A program that runs, with what it prints kept aside. It does not outlive this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: NamedTempFile,
    err: NamedTempFile,
}

impl Running {
    /// Starts a command, without input.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let (out, err) = (NamedTempFile::new()?, NamedTempFile::new()?);
        command.stdin(Stdio::null()).stdout(out.reopen()?).stderr(err.reopen()?);
        Ok(Self { child: spawn(command)?, out, err })
    }

    /// What it has printed so far, on both channels.
    pub fn printed(&self) -> String {
        read(&self.out) + &read(&self.err)
    }

    /// Sends a signal. A program that ignores interrupts, as one does whose ancestor a shell put into the background,
    /// is asked to terminate instead.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let id = self.child.id();
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or("a strange pid")?;
        let signal = if signal == Signal::INT && ignores_interrupts(id) { Signal::TERM } else { signal };
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end up to `limit`; `false` when it still runs.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn ends_within(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
        Ok(true)
    }

    /// Waits for its end, ending it at `limit`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        self.ends_within(limit)?;
        let status = self.child.try_wait()?;
        self.end();
        Ok(Finished {
            code: status.and_then(|s| s.code()),
            was_running: status.is_none(),
            stdout: read(&self.out),
            stderr: read(&self.err),
        })
    }

    fn end(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a process ignores interrupts, where the system tells (Linux does, by a mask of signals in hexadecimal).
fn ignores_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    mask & 1 << (Signal::INT.as_raw() - 1) != 0
}

fn read(file: &NamedTempFile) -> String {
    std::fs::read(file.path()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// Runs a command to its end, ending it at `limit`.
///
/// # Errors
/// When the program cannot be started.
pub fn run_to_end(command: Command, limit: Duration) -> Result<Finished> {
    Running::start(command)?.finish(limit)
}

type SpawnRequest = (Command, Sender<std::io::Result<Child>>);

/// Starts a process; one made by [`command`] ends when this one does, however this one ends.
///
/// The kernel ties the parent-death signal to the *thread* that started the child, so one thread that lives as long
/// as the process starts all of them.
///
/// # Errors
/// When the program cannot be started.
pub fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<SpawnRequest>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = receiver.recv() {
                // Nobody waits for the answer any more only when the whole process is going down.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, result) = channel();
    let name = command.get_program().to_string_lossy().into_owned();
    spawner.send((command, answer)).map_err(|_| "the spawning thread has ended")?;
    let child =
        result.recv()?.map_err(|error| -> Error { format!("cannot start {name}: {error}").into() })?;
    Ok(child)
}

/// A command for `program` that runs under `setpriv --pdeathsig KILL` where that exists. `setpriv` replaces itself by
/// the program, so the process id is the program's own. Its times and texts are those of no place in particular: nats-server
/// tells some times in the zone of its machine.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = dying_with_this(program);
    command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    command
}

fn dying_with_this(program: impl AsRef<OsStr>) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let exists = *SETPRIV.get_or_init(|| {
        Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).status().is_ok_and(|s| s.success())
    });
    if !exists {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}
