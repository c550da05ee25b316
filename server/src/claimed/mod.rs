//! Accounts and users that come with claims: they are looked up, put in force, and let in; and users whose claims come from
//! somebody who is asked about them.

mod accounts;
pub(crate) mod callout;
mod expiry;
mod http;
mod requests;
mod translate;
mod user;

pub(crate) use accounts::{LookupError, find_resolver, find_system_account, lookup, reload, start};
pub(crate) use expiry::watch;
pub(crate) use requests::serve;
pub(crate) use user::{Delegated, Looked, Request, UserError, authenticate, log_line};
