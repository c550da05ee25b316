//! How each tool is installed, by the ordinary client of its registry.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::libnats::Libnats;
use super::{CLI_VERSION, Launch, SERVER_VERSION, Tool, run};
use crate::Result;
use crate::process::command;

/// The installation of one tool.
pub(super) struct Recipe {
    tool: Tool,
    /// The tool's own folder under `target/oracle`.
    home: PathBuf,
    /// The driver's sources in the repository.
    sources: PathBuf,
}

impl Recipe {
    pub(super) fn of(tool: Tool, dir: &Path) -> Self {
        let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
        Self { tool, home: dir.join(tool.name()), sources: clients.join(tool.name()) }
    }

    /// Changes whenever an installed tool would no longer be the wanted one.
    pub(super) fn stamp(&self) -> Result<String> {
        Ok(match self.tool {
            Tool::Server => SERVER_VERSION.to_string(),
            Tool::Cli => CLI_VERSION.to_string(),
            _ => {
                let mut hasher = DefaultHasher::new();
                hash_folder(&self.sources, &mut hasher)?;
                format!("{:016x}", hasher.finish())
            }
        })
    }

    pub(super) fn launch(&self) -> Launch {
        let bin = self.home.join("bin");
        let (program, arguments): (PathBuf, Vec<String>) = match self.tool {
            Tool::Server | Tool::Cli => (bin.join(self.tool.name()), Vec::new()),
            Tool::Go | Tool::C => (bin.join("driver"), Vec::new()),
            Tool::Rust => (self.home.join("release").join("jetkv-compat-driver"), Vec::new()),
            Tool::Python => (
                self.home.join("venv/bin/python"),
                // Compiled files beside the sources would change the digest of the sources.
                vec!["-B".to_string(), self.sources.join("driver.py").display().to_string()],
            ),
            Tool::JavaScript | Tool::Browser => {
                (PathBuf::from("node"), vec![self.home.join("driver.mjs").display().to_string()])
            }
            Tool::Java => {
                let classes =
                    format!("{}:{}/*", self.home.join("classes").display(), self.home.join("jars").display());
                (PathBuf::from("java"), vec!["-cp".to_string(), classes, "Driver".to_string()])
            }
        };
        Launch { program, arguments: arguments.into_iter().map(Into::into).collect() }
    }

    pub(super) fn install(&self) -> Result<()> {
        std::fs::create_dir_all(self.home.join("bin"))?;
        match self.tool {
            Tool::Server => self.go_install("github.com/nats-io/nats-server/v2", SERVER_VERSION),
            Tool::Cli => self.go_install("github.com/nats-io/natscli/nats", CLI_VERSION),
            Tool::Go => {
                let mut go = self.in_sources("go");
                go.args(["build", "-o"]).arg(self.home.join("bin/driver")).arg(".");
                run(go, "go build of the Go driver")
            }
            Tool::Rust => {
                let mut cargo = self.in_sources("cargo");
                cargo.args(["build", "--release", "--locked", "--quiet"]).env("CARGO_TARGET_DIR", &self.home);
                run(cargo, "cargo build of the Rust driver")
            }
            Tool::Python => self.install_python(),
            Tool::JavaScript | Tool::Browser => self.install_javascript(),
            Tool::Java => self.install_java(),
            Tool::C => self.install_c(),
        }
    }

    fn in_sources(&self, program: &str) -> Command {
        let mut process = command(program);
        process.current_dir(&self.sources);
        process
    }

    fn go_install(&self, package: &str, version: &str) -> Result<()> {
        let mut go = command("go");
        go.args(["install", &format!("{package}@{version}")]).env("GOBIN", self.home.join("bin"));
        run(go, &format!("go install {package}"))
    }

    fn install_python(&self) -> Result<()> {
        let venv = self.home.join("venv");
        let mut python = command("python3");
        python.args(["-m", "venv", "--clear"]).arg(&venv);
        run(python, "python3 -m venv")?;
        let mut pip = self.in_sources(&venv.join("bin/python").display().to_string());
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "requirements.txt",
        ]);
        run(pip, "pip install")
    }

    fn install_javascript(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.sources)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), self.home.join(entry.file_name()))?;
            }
        }
        let mut npm = command("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&self.home);
        run(npm, "npm ci")
    }

    fn install_java(&self) -> Result<()> {
        std::fs::copy(self.sources.join("pom.xml"), self.home.join("pom.xml"))?;
        let mut mvn = command("mvn");
        mvn.args(["-q", "-B", "dependency:copy-dependencies"]).current_dir(&self.home);
        mvn.arg(format!("-DoutputDirectory={}", self.home.join("jars").display()));
        run(mvn, "mvn dependency:copy-dependencies")?;
        let mut javac = self.in_sources("javac");
        javac.arg("-cp").arg(format!("{}/*", self.home.join("jars").display()));
        javac.arg("-d").arg(self.home.join("classes"));
        javac.args(
            files_of(&self.sources)?.iter().filter(|path| path.extension().is_some_and(|e| e == "java")),
        );
        run(javac, "javac of the Java driver")
    }

    fn install_c(&self) -> Result<()> {
        let library = Libnats::find(&self.home.join("libnats"))?;
        let mut gcc = self.in_sources("gcc");
        gcc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(self.home.join("bin/driver"));
        gcc.args(files_of(&self.sources)?.iter().filter(|path| path.extension().is_some_and(|e| e == "c")));
        gcc.args(library.flags());
        run(gcc, "gcc of the C driver")
    }
}

/// What is in a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    for entry in files_of(folder)? {
        if entry.is_dir() {
            hash_folder(&entry, hasher)?;
        } else {
            entry.file_name().hash(hasher);
            std::fs::read(&entry)?.hash(hasher);
        }
    }
    Ok(())
}
