//! The ports file: where the server listens, for tests and tools that let it choose free ports.

use jetkv_go_compat::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::interfaces::reachable;
use crate::options::Unserved;
use jetkv_go_compat::os_text;

/// The addresses that a server listens on, as URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ports {
    /// For clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    /// For the monitoring pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
    /// For routes from other servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// For clients that speak WebSocket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
    /// For leaf nodes. nats-server has no such entry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leafnodes: Vec<String>,
}

impl Ports {
    /// The URLs of listeners that are bound, each with the scheme of its URLs.
    pub(crate) fn with_schemes(
        clients: (&str, Option<SocketAddr>),
        monitoring: (&str, Option<SocketAddr>),
    ) -> Self {
        let all = |(scheme, bound): (&str, Option<SocketAddr>)| {
            bound.map(|bound| urls(scheme, bound)).unwrap_or_default()
        };
        Self { nats: all(clients), monitoring: all(monitoring), ..Self::default() }
    }

    /// Adds the listener for clients that speak WebSocket.
    pub(crate) fn add_websocket(&mut self, scheme: &str, bound: SocketAddr) {
        self.websocket = urls(scheme, bound);
    }

    /// Adds a listener of what is not served yet.
    pub(crate) fn add_unserved(&mut self, feature: Unserved, bound: SocketAddr) {
        match feature {
            Unserved::Cluster => self.cluster = urls("nats", bound),
            Unserved::Leafnodes => self.leafnodes = urls("nats", bound),
        }
    }
}

fn urls(scheme: &str, bound: SocketAddr) -> Vec<String> {
    reachable(bound).into_iter().map(|address| format!("{scheme}://{address}")).collect()
}

/// A ports file that was written, or could not be.
#[derive(Debug)]
pub(crate) struct PortsFile {
    path: PathBuf,
    /// Why it was not written, until that was reported.
    failed: Option<io::Error>,
}

impl PortsFile {
    /// Writes `nats-server_<pid>.ports`, so that it appears whole. A failure leaves no file, and is to be
    /// [reported](Self::report).
    pub(crate) fn write(directory: &Path, ports: &Ports) -> Self {
        let path = directory.join(file_name());
        let failed = write_whole(directory, &path, ports).err();
        Self { path, failed }
    }

    /// Logs why the file was not written, if it was not.
    #[must_use]
    pub(crate) fn report(mut self) -> Self {
        if let Some(error) = self.failed.take() {
            let (path, reason) = (self.path.display(), os_text(&error));
            tracing::error!("Error writing ports file ({path}): open {path}: {reason}");
        }
        self
    }

    /// Removes the file, when the server ends or the directory changes. nats-server v2.15.2 logs that it cannot remove a
    /// file that it could not write, too (observed).
    pub(crate) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            let (path, reason) = (self.path.display(), os_text(&error));
            tracing::error!("Error cleaning up ports file {path}: remove {path}: {reason}");
        }
    }
}

/// Test kits look for the file by nats-server's name, whatever the program is called that they were told to start.
fn file_name() -> String {
    format!("nats-server_{}.ports", std::process::id())
}

fn write_whole(directory: &Path, path: &Path, ports: &Ports) -> io::Result<()> {
    let json = json::to_vec(ports);
    let unfinished = directory.join(format!(".{}.tmp", file_name()));
    let written = std::fs::File::create(&unfinished)
        .and_then(|mut file| file.write_all(&json))
        .and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        // Perhaps it was never created.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{Ports, PortsFile, file_name};

    #[test]
    fn the_file_appears_whole_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports::with_schemes(("nats", Some("127.0.0.1:4333".parse().unwrap())), ("http", None));
        let file = PortsFile::write(directory.path(), &ports);
        let text = std::fs::read_to_string(directory.path().join(file_name())).unwrap();
        assert_eq!(text, r#"{"nats":["nats://127.0.0.1:4333"]}"#);
        file.remove();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(PortsFile::write(&directory.path().join("none"), &Ports::default()).failed.is_some());
    }
}
