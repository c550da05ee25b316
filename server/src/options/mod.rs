//! What a server is told to do: by flags, by a configuration file, by defaults.

mod auth_model;
mod config;
pub mod defaults;
mod duration;
mod grammar;
mod jetstream_model;
mod model;

pub use auth_model::{
    AccountJetStreamLimits, AccountLimits, AccountOptions, AuthOptions, ConnectionType, Permissions,
    ResponsePermission, SubjectPermission, UserOptions,
};
pub use config::{ConfigError, Report};
pub use duration::GoDuration;
pub use grammar::ParseError;
pub use jetstream_model::{JetStreamLimits, JetStreamOptions};
pub use model::{LimitOptions, LogOptions, MonitorOptions, Options, Origin, WriteTimeout};
