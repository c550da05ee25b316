//! Who may connect, and what they may publish and subscribe.

mod authenticator;
mod nkey;
mod password;
mod permissions;
mod replies;

pub(crate) use authenticator::{Admitted, Authenticator, Check, Credentials};
pub(crate) use nkey::nonce;
pub(crate) use permissions::DeliveryRules;
