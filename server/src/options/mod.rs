//! What a server is told to do: by flags, by a configuration file, by defaults.
//!
//! A program sets fields, or reads a configuration:
//!
//! ```
//! use jetkv::options::{
//!     AccountLimits, AccountOptions, Approval, AuthOptions, ConnectionType, Exchange, Exports, Imports,
//!     JetStreamLimits, JetStreamOptions, LimitOptions, LogOptions, MonitorOptions, Options, Permissions,
//!     ResponseType, ServiceExport, StreamExport, SubjectPermission, UserOptions, WriteTimeout,
//! };
//!
//! let options = Options::from_config_text(r#"
//!     port: 4333
//!     http_port: 8222
//!     debug: true
//!     write_timeout: retry
//!     jetstream: { domain: hub, limits: { max_ack_pending: 100 } }
//!     accounts: {
//!         A: {
//!             users: [{ user: a, password: p, permissions: { publish: "orders.>" } }]
//!             exports: [{ stream: "orders.>" }, { service: "price" }]
//!         }
//!         B: { users: [{ user: b, password: p, allowed_connection_types: [STANDARD] }] }
//!     }
//! "#)?;
//!
//! let limits: &LimitOptions = &options.limits;
//! assert_eq!(limits.write_timeout, WriteTimeout::Retry);
//! let (log, monitor): (&LogOptions, &MonitorOptions) = (&options.log, &options.monitor);
//! assert!(log.debug && monitor.port == Some(8222));
//! let jetstream: &JetStreamOptions = &options.jetstream;
//! let asked: &JetStreamLimits = &jetstream.limits;
//! assert_eq!((jetstream.domain.as_deref(), asked.max_ack_pending), (Some("hub"), 100));
//!
//! let auth: &AuthOptions = &options.auth;
//! let [a, b]: &[UserOptions] = &auth.users[..] else { panic!("two users") };
//! let allowed: &SubjectPermission = a.permissions.as_ref().and_then(|all: &Permissions| all.publish.as_ref()).unwrap();
//! assert_eq!(allowed.allow, Some(vec!["orders.>".to_owned()]));
//! assert!(b.allowed_connection_types.as_ref().unwrap().contains(&ConnectionType::Standard));
//!
//! let account: &AccountOptions = options.accounts.iter().find(|account| account.name == "A").unwrap();
//! assert_eq!(account.limits, AccountLimits::default());
//! let Exchange { exports, imports } = &account.exchange;
//! assert_eq!(*imports, Imports::default());
//! let Exports { streams, services } = exports;
//! let (orders, price): (&StreamExport, &ServiceExport) = (&streams[0], &services[0]);
//! assert_eq!(orders.approval, Approval::default());
//! assert_eq!(price.response, ResponseType::Singleton);
//! # Ok::<(), jetkv::options::OptionsError>(())
//! ```
//!
//! What some options hold that most programs do without:
//!
//! ```
//! use jetkv::options::{
//!     AccountOptions, HandshakeFirst, Latency, Look, Mapping, MessageTraceOptions, NkeyUserOptions, Options, Origin,
//!     ResponsePermission, ServiceImport, StreamImport, TlsIdentity, TlsOptions, Unserved, UnservedListener,
//! };
//!
//! let options = Options::from_config_text(r#"
//!     accounts: {
//!         A: { exports: [{ service: "price", latency: { subject: took, sampling: 50 } }, { stream: "s.>" }] }
//!         B: {
//!             users: [{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }]
//!             imports: [{ service: { account: A, subject: price } }, { stream: { account: A, subject: "s.>" } }]
//!             mappings: { old: new }
//!             msg_trace: { dest: traces, sampling: "10%" }
//!         }
//!     }
//! "#)?;
//! let account = |name: &str| options.accounts.iter().find(|account| account.name == name).unwrap();
//! let latency: &Latency = account("A").exchange.exports.services[0].latency.as_ref().unwrap();
//! assert_eq!((latency.subject.as_str(), latency.sampling), ("took", 50));
//!
//! let b: &AccountOptions = account("B");
//! let price: &ServiceImport = &b.exchange.imports.services[0];
//! let all: &StreamImport = &b.exchange.imports.streams[0];
//! assert_eq!((price.account.as_str(), all.from.as_str()), ("A", "s.>"));
//! let renamed: &Mapping = &b.mappings[0];
//! assert_eq!(renamed.source(), "old");
//! let trace: &MessageTraceOptions = b.message_trace.as_ref().unwrap();
//! assert_eq!(trace.sampling, 10);
//! let key: &NkeyUserOptions = &options.auth.nkeys[0];
//! assert_eq!(key.account.as_deref(), Some("B"));
//! assert!(ResponsePermission::default().max_messages > 0);
//!
//! // Threads look for the next request where that pays; an embedding program may say otherwise.
//! let quiet = Options { look: Look::Off, ..Options::default() };
//! assert_ne!(quiet.look, Look::default());
//!
//! // Which options a file or a flag names, and what is not served yet but has a port to be refused on.
//! assert_eq!(options.origin, Origin::default());
//! let refused: &[UnservedListener] = &options.unserved_listeners;
//! assert!(!refused.iter().any(|listener| listener.feature == Unserved::Cluster));
//!
//! let identity = |tls: &TlsOptions| -> TlsIdentity { tls.identity.clone() };
//! assert!(options.tls.as_ref().map(identity).is_none());
//! let first: Option<HandshakeFirst> = options.tls.as_ref().and_then(|tls| tls.handshake_first);
//! assert!(first.is_none());
//! # Ok::<(), jetkv::options::OptionsError>(())
//! ```

mod auth_model;
mod client_verifier;
mod cluster_flags;
mod command_line;
mod config;
pub(crate) mod defaults;
mod exchange;
mod flags;
mod grammar;
mod jetstream_model;
mod lab_model;
mod leafnode_model;
mod listener_model;
mod listening;
mod look_model;
mod mapping;
mod model;
mod operator_model;
pub(crate) mod origin;
mod own_certificates;
mod redact;
mod reload;
mod remote_tls;
mod signal_request;
mod tls_model;
mod usage;
mod validate;
mod websocket_model;

pub use auth_model::{
    AccountJetStreamLimits, AccountJetStreamTiers, AccountLimits, AccountOptions, AuthCallout, AuthOptions,
    ConnectionType, MessageTraceOptions, NkeyUserOptions, Permissions, ResponsePermission, SubjectPermission,
    UserOptions,
};
pub(crate) use auth_model::{allows, is_bcrypt};
pub use command_line::{Command, CommandLine, Message, OptionsError};
pub use config::{ConfigError, Report};
pub use exchange::{
    Approval, Exchange, Exports, Imports, Latency, ResponseType, ServiceExport, ServiceImport, StreamExport,
    StreamImport,
};
pub(crate) use exchange::{ExchangeError, ImportTerms, Market};
pub use grammar::{ParseError, Reference};
pub use jetstream_model::{JetStreamLimits, JetStreamOptions, TpmOptions};
pub use lab_model::LabOptions;
pub(crate) use lab_model::stay_at;
pub use leafnode_model::{LeafnodeOptions, LeafnodeRemote, RemoteUrl};
pub use listener_model::{Unserved, UnservedListener};
pub use look_model::Look;
pub use mapping::Mapping;
pub(crate) use mapping::{Destination, MapDestination, MappingError};
pub use model::{LimitOptions, LogOptions, MonitorOptions, Options, Origin, WriteTimeout};
pub use operator_model::{Deletion, OperatorOptions, ResolverOptions, TrustedOperator};
pub(crate) use redact::redacted_arguments;
pub(crate) use reload::diff;
pub use reload::{Action, Change, ReloadError};
pub use remote_tls::RemoteTls;
pub use signal_request::SignalRequest;
pub(crate) use tls_model::NotPinned;
pub use tls_model::{HandshakeFirst, TlsIdentity, TlsOptions};
pub(crate) use validate::host_and_port;
pub use websocket_model::{CookieNames, WebsocketAuth, WebsocketOptions};
