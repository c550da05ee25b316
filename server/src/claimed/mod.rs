//! Accounts and users that come with claims: they are looked up, put in force, and let in.

mod accounts;
mod expiry;
mod http;
mod requests;
mod translate;
mod user;

pub(crate) use accounts::{find_system_account, reload, start};
pub(crate) use expiry::watch;
pub(crate) use requests::serve;
pub(crate) use user::{Request, UserError, authenticate, log_line};
