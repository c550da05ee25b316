//! libnats, which comes from a Debian distribution: the one that the machine has, or its packages fetched and unpacked
//! in the toolbox. The latter installs nothing outside of its folder and needs no rights there.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{is_on_path, run};
use crate::Result;
use crate::process::{command, run_to_end};

/// The package with the header; it depends on the one with the library.
const PACKAGE: &str = "libnats-dev";
/// Where the header is below the root of an installation.
const HEADER: &str = "usr/include/nats/nats.h";
/// Planning an installation asks nobody.
const PLAN_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no libnats on this machine, and what would help.
#[derive(Debug)]
pub(super) struct Unavailable(String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c needs {PACKAGE}, which is not installed and cannot be fetched: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// An installation of libnats.
pub(super) struct Libnats {
    /// The root that its packages are unpacked in; none for the machine's own.
    root: Option<PathBuf>,
}

impl Libnats {
    /// The machine's own, or the one in `dir`, which is fetched when it is not there yet.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be fetched.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        if Path::new("/").join(HEADER).exists() {
            return Ok(Self { root: None });
        }
        let root = dir.join("root");
        if !root.join(HEADER).exists() {
            fetch(dir, &root).map_err(|error| Unavailable(error.to_string()))?;
        }
        Ok(Self { root: Some(root) })
    }

    /// What the compiler needs to use it. A program finds an unpacked library, and what that depends on, by the path
    /// that it is linked with.
    pub(super) fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        if let Some(root) = &self.root {
            flags.push(join("-I", &root.join("usr/include")));
            for folder in library_folders(root) {
                flags.push(join("-L", &folder));
                flags.push(join("-Wl,--disable-new-dtags,-rpath,", &folder));
            }
        }
        flags.push("-lnats".into());
        flags
    }
}

fn join(flag: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push(path);
    joined
}

/// The folders of libraries, which have the machine's architecture in their names.
fn library_folders(root: &Path) -> Vec<PathBuf> {
    let parents = [root.join("usr/lib"), root.join("lib")];
    let folders = parents.iter().filter_map(|parent| std::fs::read_dir(parent).ok()).flatten();
    folders.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_dir()).collect()
}

/// Fetches the package and all that it depends on and the machine lacks, and unpacks them in `root`. The lists of what
/// the distribution has are fetched too: the machine's own may be missing, or too old.
fn fetch(dir: &Path, root: &Path) -> Result<()> {
    for tool in ["apt-get", "dpkg-deb"] {
        if !is_on_path(tool) {
            return Err(format!("there is no {tool}; install the library and its header").into());
        }
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    let (packages, unpacked) = (dir.join("packages"), dir.join("unpacked"));
    for folder in
        [&dir.join("state/lists/partial"), &dir.join("cache/archives/partial"), &packages, &unpacked]
    {
        std::fs::create_dir_all(folder)?;
    }
    let mut update = apt_get(dir);
    // A list that cannot be had is otherwise no more than a warning.
    update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
    run(update, "apt-get update")?;
    let mut download = apt_get(dir);
    download.arg("download").args(needed(dir)?).current_dir(&packages);
    run(download, "apt-get download")?;
    for package in std::fs::read_dir(&packages)? {
        let mut unpack = command("dpkg-deb");
        unpack.arg("-x").arg(package?.path()).arg(&unpacked);
        run(unpack, "dpkg-deb -x")?;
    }
    if !unpacked.join(HEADER).exists() {
        return Err(format!("{PACKAGE} has no {HEADER}").into());
    }
    for folder in ["state", "cache", "packages"] {
        std::fs::remove_dir_all(dir.join(folder))?;
    }
    // Whole or not at all: what is there under this name is not fetched again.
    Ok(std::fs::rename(unpacked, root)?)
}

/// The packages that an installation would bring, the wanted one among them.
fn needed(dir: &Path) -> Result<Vec<String>> {
    let mut plan = apt_get(dir);
    plan.args([
        "-o",
        "APT::Get::Show-User-Simulation-Note=false",
        "--simulate",
        "--no-install-recommends",
        "install",
        PACKAGE,
    ]);
    let planned = run_to_end(plan, PLAN_LIMIT)?;
    let names = planned.stdout.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    let names: Vec<String> = names.map(str::to_string).collect();
    if planned.code != Some(0) || names.is_empty() {
        return Err(
            format!("apt-get has no plan to install it:\n{}{}", planned.stdout, planned.stderr).into()
        );
    }
    Ok(names)
}

/// apt-get with lists and a cache of its own in `dir`.
fn apt_get(dir: &Path) -> Command {
    let mut apt = command("apt-get");
    apt.arg("-qq").arg("-o").arg(join("Dir::State=", &dir.join("state")));
    apt.arg("-o").arg(join("Dir::Cache=", &dir.join("cache")));
    // Another user, whom apt takes when it is root, could not write there.
    apt.args(["-o", "APT::Sandbox::User=root"]).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}
