//! Claims as operators, accounts and users sign them: JWTs whose keys are nkeys, in the version 2 of github.com/nats-io/jwt,
//! and what is left of version 1.
//!
//! A token that was opened is signed by who issued it; whether that one is to be trusted is for others to say.

mod activation;
mod model;
mod operator;
mod read;
mod sources;
mod template;
mod token;
mod validate;

pub use activation::Activation;
pub use model::AuthorizationResponse;
pub use model::{
    Account, AccountClaims, Claims, ConnectLimits, Export, ExternalAuthorization, Import, JetStreamLimits,
    Kind, Latency, Mapping, OperatorClaims, Permission, Permissions, Responses, SigningKeys, TimeRange,
    Trace, User, UserClaims, UserScope,
};
pub use operator::Operator;
pub use sources::{admits_source, time_left};
pub use template::{Filled, TemplateError, fill};
pub use token::{TOKEN_BYTES_MAX, Token, TokenError, encode, is_key, key_kind};
pub(crate) use validate::is_curve_key;
pub use validate::{Issue, Issues};
