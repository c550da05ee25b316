//! The programs that JetKV is compared with, and those that drive both: pinned, installed on first use.
//!
//! Everything lands in `target/oracle/`. A lock file lets parallel tests install a tool once, and a stamp file with
//! the version (and a digest of a driver's sources) tells whether it is current. Where a tool cannot be installed
//! because its language or its library is not there, [`Toolbox::require`] reports a skip, or with `CI=true` an error.
//!
//! `JETKV_ORACLE_DIR` may name a folder with `bin/nats-server` and `bin/nats` that are used as they are, and `JETKV_BIN`
//! a JetKV that is already built.

mod install;
mod libnats;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Program, run_to_end};
use crate::{Result, is_ci, target_dir, workspace_root};

/// No installation, and no build, takes this long on two cores.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The version of nats-server that is the specification.
pub const SERVER_VERSION: &str = "v2.15.2";
/// The version of the `nats` CLI.
pub const CLI_VERSION: &str = "v0.5.1";

/// A program of the toolbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// nats-server.
    Server,
    /// The `nats` CLI.
    Cli,
    /// Driver over nats.go.
    Go,
    /// Driver over async-nats.
    Rust,
    /// Driver over nats-py.
    Python,
    /// Driver over the @nats-io packages.
    JavaScript,
    /// Driver over jnats.
    Java,
    /// Driver over libnats.
    C,
    /// A page in headless Chromium over nats.ws.
    Browser,
}

impl Tool {
    /// The drivers of the client libraries.
    pub const DRIVERS: [Self; 6] =
        [Self::Go, Self::Rust, Self::Python, Self::JavaScript, Self::Java, Self::C];

    /// Its name in folders and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "nats-server",
            Self::Cli => "nats",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Java => "java",
            Self::C => "c",
            Self::Browser => "browser",
        }
    }

    /// The commands that its installation needs.
    fn toolchain(self) -> &'static [&'static str] {
        match self {
            Self::Server | Self::Cli | Self::Go => &["go"],
            Self::Rust => &["cargo"],
            Self::Python => &["python3"],
            Self::JavaScript | Self::Browser => &["node", "npm"],
            Self::Java => &["javac", "java", "mvn"],
            Self::C => &["gcc"],
        }
    }
}

/// How to start an installed tool.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The executable.
    pub program: PathBuf,
    /// Arguments that come before those of the use.
    pub arguments: Vec<OsString>,
}

impl Launch {
    fn of(program: PathBuf) -> Self {
        Self { program, arguments: Vec::new() }
    }
}

/// The folder of installed tools.
#[derive(Clone, Debug)]
pub struct Toolbox {
    dir: PathBuf,
}

impl Default for Toolbox {
    fn default() -> Self {
        Self { dir: target_dir().join("oracle") }
    }
}

impl Toolbox {
    /// Installs `tool` unless it is current, and says how to start it. `Ok(None)` is a skip, reported on the error output.
    ///
    /// # Errors
    /// When the installation fails, or with `CI=true` when its toolchain is missing.
    pub fn require(&self, tool: Tool) -> Result<Option<Launch>> {
        if prepared(tool).is_none() && !has_commands(tool.name(), tool.toolchain())? {
            return Ok(None);
        }
        match self.install(tool) {
            Err(error) if error.is::<libnats::Unavailable>() => skip(&error.to_string()),
            installed => installed.map(Some),
        }
    }

    /// The specification's server.
    ///
    /// # Errors
    /// As for [`Toolbox::require`], and a skip is an error.
    pub fn reference(&self) -> Result<Program> {
        let launch = self.require(Tool::Server)?.ok_or("nats-server cannot be installed")?;
        Ok(nats_server(launch))
    }

    /// nats-server and JetKV, for what is done with both. `Ok(None)` is a skip, reported on the error output.
    ///
    /// # Errors
    /// As for [`Toolbox::require`], or JetKV cannot be built.
    pub fn servers(&self) -> Result<Option<(Program, Program)>> {
        let Some(launch) = self.require(Tool::Server)? else { return Ok(None) };
        Ok(Some((nats_server(launch), jetkv()?)))
    }

    fn install(&self, tool: Tool) -> Result<Launch> {
        if let Some(path) = prepared(tool) {
            return Ok(Launch::of(path));
        }
        std::fs::create_dir_all(&self.dir)?;
        let lock = File::create(self.dir.join(format!("{}.lock", tool.name())))?;
        lock.lock()?;
        let recipe = install::Recipe::of(tool, &self.dir);
        let stamp = self.dir.join(format!("{}.stamp", tool.name()));
        let wanted = recipe.stamp()?;
        if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(recipe.launch());
        }
        println!("installing {} into {}", tool.name(), self.dir.display());
        recipe.install()?;
        std::fs::write(&stamp, wanted)?;
        Ok(recipe.launch())
    }
}

fn nats_server(launch: Launch) -> Program {
    Program { name: "nats-server".to_string(), path: launch.program }
}

/// JetKV: the one that `JETKV_BIN` names, or the release build of this workspace.
///
/// # Errors
/// When the build fails.
pub fn jetkv() -> Result<Program> {
    if let Some(path) = std::env::var_os("JETKV_BIN") {
        return Ok(Program { name: "jetkv".to_string(), path: std::path::absolute(path)? });
    }
    let mut build = crate::process::command("cargo");
    build.args(["build", "--release", "--quiet", "-p", "jetkv"]).current_dir(workspace_root());
    run(build, "cargo build --release -p jetkv")?;
    Ok(Program { name: "jetkv".to_string(), path: target_dir().join("release").join("jetkv") })
}

/// Runs a command that must succeed.
///
/// # Errors
/// With all that it printed.
fn run(process: Command, what: &str) -> Result<()> {
    let finished = run_to_end(process, INSTALL_LIMIT)?;
    if finished.code == Some(0) {
        return Ok(());
    }
    Err(format!("{what} failed ({:?}):\n{}{}", finished.code, finished.stdout, finished.stderr).into())
}

/// A skip, which a test's run shows even when it passes; with `CI=true` an error.
fn skip(text: &str) -> Result<Option<Launch>> {
    if is_ci() {
        return Err(text.into());
    }
    // What a test prints is kept from sight when it passes; what it writes to its error output is not.
    writeln!(std::io::stderr(), "SKIPPED: {text}")?;
    Ok(None)
}

/// Whether commands are there that something needs. Where one is not, a skip is reported, or with `CI=true` an error.
///
/// # Errors
/// With `CI=true`, where one is not there.
pub fn has_commands(what: &str, names: &[&str]) -> Result<bool> {
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_on_path(name)).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    skip(&format!("{what} needs {}, which is not installed", missing.join(" and "))).map(|_| false)
}

fn prepared(tool: Tool) -> Option<PathBuf> {
    if !matches!(tool, Tool::Server | Tool::Cli) {
        return None;
    }
    let dir = std::env::var_os("JETKV_ORACLE_DIR").filter(|dir| !dir.is_empty())?;
    let path = PathBuf::from(dir).join("bin").join(tool.name());
    path.is_file().then_some(path)
}

fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
