//! From the tree of a configuration file to options.

mod accounts;
mod auth;
mod callout;
mod exchange;
mod jetstream;
mod lab;
mod leafnodes;
mod listeners;
mod mappings;
mod operators;
mod permissions;
mod proxies;
mod report;
pub(crate) mod tls;
mod top;
mod typed;
mod websocket;

pub(crate) use listeners::ListenerDraft;
pub use report::Report;
pub(crate) use websocket::WebsocketDraft;

use std::time::Duration;

use super::cluster_flags::ClusterFlags;
use super::grammar::{self, Map, ParseError};
use super::model::Options;
use report::Problem;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text has no meaning.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Keys or values are wrong, or (when only the configuration is checked) outdated.
    #[error("{0}")]
    Report(Report),
}

/// Options on their way: what the file said so far, and what can only be decided at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) options: Options,
    /// Address of the monitoring pages when it differs from the clients' one.
    pub(crate) http_host: Option<String>,
    /// Ports as given: -1 is any free one, 0 the default.
    pub(crate) port: i64,
    pub(crate) http_port: i64,
    pub(crate) https_port: i64,
    /// Nobody is to be shown a response of OCSP, whatever a certificate asks for.
    pub(crate) no_stapling: bool,
    /// What flags say of a cluster.
    pub(crate) cluster_flags: ClusterFlags,
    /// What flags say of TLS.
    pub(crate) tls_flags: tls::TlsFlags,
    /// Time in which a client has to say who it is, where that is said.
    pub(crate) auth_timeout: Option<Duration>,
    /// The block `websocket`.
    pub(crate) websocket: WebsocketDraft,
    /// Listeners of what is not served yet.
    pub(crate) listeners: Vec<ListenerDraft>,
}

impl Draft {
    /// Reads a file into the draft. The report may hold warnings although nothing is wrong.
    pub(crate) fn read_file(&mut self, path: &str) -> Result<Report, ConfigError> {
        let (map, digest) = grammar::parse_file(path)?;
        self.options.config_file = Some(path.to_owned());
        self.options.config_digest = Some(digest);
        self.take(&map, path)
    }

    /// Reads a text into the draft.
    pub(crate) fn read_text(&mut self, text: &str) -> Result<Report, ConfigError> {
        let map = grammar::parse_text(text)?;
        self.take(&map, "")
    }

    fn take(&mut self, map: &Map, path: &str) -> Result<Report, ConfigError> {
        let mut report = Report::default();
        if map.is_empty() {
            report.warning(Problem::general(format!("{path}: config has no values or is empty")));
        }
        top::read(map, self, &mut report);
        if report.has_errors() { Err(ConfigError::Report(report)) } else { Ok(report) }
    }
}
