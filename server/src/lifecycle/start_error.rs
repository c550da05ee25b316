//! Why a server does not start.

use std::io;

use jetkv_go_compat::os_text;
use jetkv_jetstream::EngineError;

use crate::interfaces;
use crate::net::BindError;
use crate::options::UnservedListener;

/// Why a server does not start.
///
/// ```
/// use jetkv::options::Options;
/// use jetkv::{BindError, Server, StartError};
///
/// let options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
/// let server = Server::start(options.clone())?;
/// let taken = Options { port: server.client_address().port(), ..options };
/// let Err(StartError::Listen { source, .. }) = Server::start(taken) else { panic!("the port is taken") };
/// assert!(matches!(source, BindError::Refused(_)));
/// server.shutdown();
/// # Ok::<(), StartError>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port that clients connect to cannot be opened.
    #[error("Error listening on port: {address}, \"listen tcp{}\"", bind_reason(address, source))]
    Listen {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: BindError,
    },
    /// The port of the monitoring pages cannot be opened.
    #[error(
        "Can't start monitoring: can't listen to the monitor port: listen tcp{}",
        bind_reason(address, source)
    )]
    Monitor {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: BindError,
    },
    /// The port that clients connect to over WebSocket cannot be opened.
    #[error("Unable to listen for websocket connections: listen tcp{}", bind_reason(address, source))]
    Websocket {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: BindError,
    },
    /// What clients would be told of the port for WebSocket makes no sense.
    #[error("Unable to get websocket connect URLs: {0}")]
    WebsocketAdvertise(String),
    /// The port of something that is not served yet cannot be opened.
    #[error(
        "{}",
        listener.feature.cannot_listen(
            i64::from(listener.port),
            &format!("listen tcp{}", bind_reason(&interfaces::host_port(&listener.host, listener.port), source)),
        )
    )]
    Unserved {
        /// The listener.
        listener: UnservedListener,
        /// Why.
        #[source]
        source: BindError,
    },
    /// What clients are to be told to connect to makes no sense.
    #[error("Error setting server INFO with ClientAdvertise value of {0}, err={1}")]
    Advertise(String, String),
    /// The stream engine cannot start.
    #[error("Can't start JetStream: {0}")]
    JetStream(#[from] EngineError),
    /// The store's key is said to be with a trusted platform module.
    #[error("Can't start JetStream: {0}")]
    SealedKey(&'static str),
    /// The system account is to have JetStream, which it never gets.
    #[error("Not allowed to enable JetStream on the system account")]
    SystemJetStream,
    /// The global account is the system account, and the only one, so that it would have JetStream.
    #[error("Can't start JetStream: jetstream can not be enabled on the system account")]
    GlobalSystemJetStream,
    /// A thread cannot be started.
    #[error("cannot start a thread: {}", os_text(.0))]
    Thread(#[source] io::Error),
    /// The test lab has a clock of its own, and the caller gave another one.
    #[error("the test lab moves a clock of its own: it does not start with another one")]
    LabClock,
    /// The accounts that the server needs are not there.
    #[error("{0}")]
    Accounts(String),
    /// The pid file cannot be written.
    #[error("Could not write pidfile: {0}")]
    PidFile(String),
}

/// Why a port cannot be opened, as it follows `listen tcp`.
fn bind_reason(address: &str, error: &BindError) -> String {
    match error {
        BindError::NoSuchHost(_) => format!(": {error}"),
        BindError::Refused(source) => format!(" {address}: bind: {}", os_text(source)),
    }
}
