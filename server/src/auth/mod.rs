//! Who may connect, and what they may publish and subscribe.

mod authenticator;
mod certificates;
mod nkey;
pub(crate) mod operators;
mod password;
mod permissions;
mod replies;

pub(crate) use authenticator::{Admitted, Authenticator, Check, ClaimsAdmission, Credentials, Reason};
pub(crate) use nkey::{SignatureError, nonce, verify};
pub(crate) use operators::{FetchError, Fetched, Operators};
pub(crate) use password::matches_plain;
pub(crate) use permissions::{DeliveryRules, UserPermissions};
