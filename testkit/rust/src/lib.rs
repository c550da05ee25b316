//! A JetKV server for a test, in its own process.
//!
//! A [`TestServer`] listens on a free port of this machine and keeps its streams in a temporary folder; everything of it is gone
//! when it is dropped. Its test lab is on: the test moves the clock, makes requests fail, and looks at what clients asked. A
//! process may have as many as it likes.
//!
//! ```
//! use jetkv_testkit::{BucketConfig, TestServer};
//! use std::time::Duration;
//!
//! const HOUR: Duration = Duration::from_secs(3600);
//!
//! let server = TestServer::start()?;
//! let bucket = server.buckets().create(&BucketConfig { ttl: Some(HOUR), ..BucketConfig::new("b") })?;
//! bucket.put("k", b"v")?;
//! server.advance(HOUR + Duration::from_secs(1));
//! assert!(bucket.get("k").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Clients connect to [`TestServer::url`]. The text of every request of the lab is on the page of [`jetkv::lab`].
//!
//! ```
//! use jetkv_testkit::TestServer;
//! use serde_json::json;
//!
//! let server = TestServer::start()?;
//! let rule = server.fault(&json!({"kind": "ack_lost", "where": {"subject": "orders.*"}, "times": 1}))?;
//! assert_eq!(rule, 1);
//! let seen = server.lab().request("JOURNAL", "COUNT", &json!({"subject": "orders.*"}))?;
//! assert_eq!(seen["count"], 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::Duration;

use jetkv::lab::{Advanced, Lab, LabError, Reset};
use jetkv::options::{LabOptions, Options};
use jetkv::{Server, StartError};
use jetkv_jetstream::{AccountId, Engine};
pub use jetkv_kv::{BucketConfig, Buckets};
use serde_json::Value;
use tempfile::TempDir;

/// Why there is no server.
///
/// ```
/// use jetkv_testkit::{TestServer, TestServerError};
///
/// let busy = TestServer::start()?;
/// let port = busy.server().client_address().port();
/// let refused: Result<TestServer, TestServerError> = TestServer::start_with(|options| options.port = port);
/// assert!(matches!(refused, Err(TestServerError::Start(_))));
/// # Ok::<(), TestServerError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TestServerError {
    /// The temporary folder cannot be made.
    #[error("no temporary folder: {0}")]
    Folder(#[source] std::io::Error),
    /// The server cannot be started.
    #[error(transparent)]
    Start(#[from] Box<StartError>),
    /// The server has no JetStream, or no lab.
    #[error("a server for tests has JetStream and a lab")]
    Bare,
}

/// A server for a test.
///
/// ```
/// use jetkv_testkit::TestServer;
///
/// let mut server = TestServer::start_with(|options| options.limits.max_connections = 10)?;
/// let url = server.url();
/// assert!(url.starts_with("nats://127.0.0.1:"));
/// server.reset()?;
/// server.restart()?;
/// assert_eq!(server.url(), url, "clients find it again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TestServer {
    server: Server,
    lab: Lab,
    buckets: Buckets,
    options: Options,
    // Dropped behind the server, which writes into it.
    _folder: TempDir,
}

impl TestServer {
    /// Starts a server with JetStream on a free port of this machine, with a store of its own, and its lab on. Returns when
    /// clients can connect.
    ///
    /// # Errors
    /// [`TestServerError`].
    pub fn start() -> Result<Self, TestServerError> {
        Self::start_with(|_| {})
    }

    /// As [`start`](Self::start), with options that are changed before.
    ///
    /// # Errors
    /// [`TestServerError`].
    pub fn start_with(change: impl FnOnce(&mut Options)) -> Result<Self, TestServerError> {
        let folder = tempfile::tempdir().map_err(TestServerError::Folder)?;
        let mut options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
        options.jetstream.enabled = true;
        options.jetstream.store_dir = Some(folder.path().to_owned());
        options.lab = Some(LabOptions::default());
        change(&mut options);
        let (server, lab, buckets) = run(&options)?;
        Ok(Self { server, lab, buckets, options, _folder: folder })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.client_url()
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Its lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Its buckets, without a client.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Lets so much time pass: everything that falls due meanwhile happens in order, and what it delivers is on its way
    /// when this returns.
    pub fn advance(&self, by: Duration) -> Advanced {
        self.lab.advance(by)
    }

    /// Takes away all that is stored, the faults and the journal; the clock runs with the system's again.
    ///
    /// # Errors
    /// A stream cannot be deleted.
    pub fn reset(&self) -> Result<Reset, LabError> {
        self.lab.reset()
    }

    /// Adds a rule of faults, as the body of `FAULT.ADD` has it; gives its number.
    ///
    /// # Errors
    /// The rule makes no sense.
    pub fn fault(&self, rule: &Value) -> Result<u64, LabError> {
        self.lab.fault(rule)
    }

    /// Stops the server in order, and starts it again on the same port and with the same store. The clock shows the
    /// system's time again; rules of faults, the journal and saved states are gone, and buckets that were bound before
    /// have to be bound anew.
    ///
    /// # Errors
    /// [`TestServerError`]; the server is stopped then.
    pub fn restart(&mut self) -> Result<(), TestServerError> {
        let port = self.server.client_address().port();
        self.server.shutdown();
        let options = Options { port, ..self.options.clone() };
        (self.server, self.lab, self.buckets) = run(&options)?;
        Ok(())
    }
}

fn run(options: &Options) -> Result<(Server, Lab, Buckets), TestServerError> {
    let server = Server::start(options.clone()).map_err(Box::new)?;
    let found: Option<(Lab, std::sync::Arc<Engine>, AccountId)> = server
        .lab()
        .zip(server.engine())
        .zip(server.account("$G"))
        .map(|((lab, engine), id)| (lab, engine, id));
    let (lab, engine, account) = found.ok_or(TestServerError::Bare)?;
    Ok((server, lab, Buckets::new(engine, account)))
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // Other handles of it may live on.
        self.server.shutdown();
    }
}
