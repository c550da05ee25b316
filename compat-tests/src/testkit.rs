//! The helpers for tests in other languages (`testkit/`), each run by its own tests over the client of its language.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::oracle::{has_commands, jetkv};
use crate::process::{command, run_to_end};
use crate::{Result, target_dir, workspace_root};

/// No installation and no test takes this long on two busy cores.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What tools leave beside the sources, and want to find again.
const INSTALLED: [&str; 3] = ["node_modules", "installed", "target"];

/// A language that has a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// pytest and nats-py.
    Python,
    /// node:test, vitest and the @nats-io packages.
    JavaScript,
    /// testing and nats.go.
    Go,
    /// JUnit 5 and jnats.
    Java,
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python3"],
            Self::JavaScript => &["node", "npm"],
            Self::Go => &["go"],
            Self::Java => &["java", "mvn"],
        }
    }
}

/// Runs the tests of a helper against JetKV. What they need is installed under the target folder; a language that is not there is
/// a skip, which is reported.
///
/// # Errors
/// With all that was printed, where something cannot be installed or a test fails.
pub fn run(language: Language) -> Result<()> {
    if !has_commands(&format!("testkit/{}", language.name()), language.commands())? {
        return Ok(());
    }
    let program = jetkv()?.path;
    let home = target_dir().join("testkit").join(language.name());
    std::fs::create_dir_all(&home)?;
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    let sources = home.join("sources");
    copy(&workspace_root().join("testkit").join(language.name()), &sources)?;
    let steps = match language {
        Language::Python => python(&home, &sources),
        Language::JavaScript => javascript(&sources)?,
        Language::Go => vec![tool("go", &["test", "-count=1", "./..."])],
        Language::Java => vec![tool("mvn", &["-q", "-B", "test"])],
    };
    for mut step in steps {
        step.current_dir(&sources).env("JETKV_BIN", &program);
        succeed(step, language)?;
    }
    Ok(())
}

fn tool(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut tool = command(program);
    tool.args(arguments);
    tool
}

fn python(home: &Path, sources: &Path) -> Vec<Command> {
    let venv = home.join("venv");
    let python = venv.join("bin").join("python");
    let mut steps = Vec::new();
    if !python.exists() {
        let mut make = tool("python3", &["-m", "venv"]);
        make.arg(&venv);
        steps.push(make);
    }
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
    steps.push(tool(&python, &install));
    let mut test = tool(&python, &["-m", "pytest", "-q", "-p", "jetkv_testkit.plugin", "tests"]);
    test.env("PYTHONPATH", sources);
    steps.push(test);
    steps
}

fn javascript(sources: &Path) -> Result<Vec<Command>> {
    let mut steps = Vec::new();
    let (wanted, installed) = (sources.join("package-lock.json"), sources.join("installed"));
    if std::fs::read(&installed).ok() != Some(std::fs::read(&wanted)?) {
        steps.push(tool("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]));
        let mut note = tool("cp", &[]);
        note.arg(&wanted).arg(&installed);
        steps.push(note);
    }
    steps.push(tool("npm", &["test", "--silent"]));
    Ok(steps)
}

/// Makes a folder hold what another holds. What tools installed beside the sources stays.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(to)? {
        let entry = entry?;
        let is_installed = INSTALLED.iter().any(|name| entry.file_name() == *name);
        if is_installed || from.join(entry.file_name()).exists() {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    for entry in std::fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))? {
        let entry = entry?;
        let there = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &there)?;
        } else {
            std::fs::copy(entry.path(), there)?;
        }
    }
    Ok(())
}

fn succeed(step: Command, language: Language) -> Result<()> {
    let what = format!("{step:?}");
    let finished = run_to_end(step, LIMIT)?;
    if finished.code == Some(0) {
        return Ok(());
    }
    let (stdout, stderr) = (finished.stdout, finished.stderr);
    Err(format!("testkit/{}: {what} failed ({:?}):\n{stdout}{stderr}", language.name(), finished.code).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_no_more_than_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("tests")).unwrap();
        std::fs::write(from.join("tests/stays"), "1").unwrap();
        for old in ["tests/goes", "goes/too", "node_modules/stays"] {
            let old = to.join(old);
            std::fs::create_dir_all(old.parent().unwrap()).unwrap();
            std::fs::write(old, "0").unwrap();
        }
        copy(&from, &to).unwrap();
        let is_there = |path: &str| to.join(path).exists();
        assert!(is_there("tests/stays") && is_there("node_modules/stays"));
        assert!(!is_there("tests/goes") && !is_there("goes"));
    }
}
