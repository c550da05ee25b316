//! What a server is told to do: by flags, by a configuration file, by defaults.

mod auth_model;
mod command_line;
mod config;
pub mod defaults;
mod exchange;
mod flags;
mod grammar;
mod jetstream_model;
mod lab_model;
mod listener_model;
mod mapping;
mod model;
pub(crate) mod origin;
mod redact;
mod reload;
mod signal_request;
mod tls_model;
mod usage;
mod validate;
mod websocket_model;

pub use auth_model::{
    AccountJetStreamLimits, AccountLimits, AccountOptions, AuthOptions, ConnectionType, MessageTraceOptions,
    NkeyUserOptions, Permissions, ResponsePermission, SubjectPermission, UserOptions, is_bcrypt,
};
pub use command_line::{Command, CommandLine, Message, OptionsError};
pub use config::{ConfigError, Report};
pub use exchange::{
    Approval, Exchange, ExchangeError, Exports, Imports, Latency, Market, ResponseType, ServiceExport,
    ServiceImport, StreamExport, StreamImport,
};
pub use grammar::ParseError;
pub use jetstream_model::{JetStreamLimits, JetStreamOptions};
pub use lab_model::LabOptions;
pub use listener_model::{Unserved, UnservedListener};
pub use mapping::{Destination, MapDestination, Mapping, MappingError};
pub use model::{LimitOptions, LogOptions, MonitorOptions, Options, Origin, WriteTimeout};
pub(crate) use redact::redacted_arguments;
pub use reload::{Action, Change, ReloadError, diff, friendly_bytes};
pub use signal_request::SignalRequest;
pub use tls_model::{HandshakeFirst, TlsIdentity, TlsOptions};
pub(crate) use validate::host_and_port;
pub use websocket_model::{CookieNames, WebsocketAuth, WebsocketOptions};
