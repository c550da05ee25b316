//! Accounts that are made for whoever comes, as connections know of them.

use std::sync::Arc;

use crate::auth::{Check, Credentials};
use crate::router::Account;

/// Who makes accounts for whoever comes.
pub(crate) trait Isolation: Send + Sync {
    /// What credentials lead to that name such an account; `None` for others.
    fn check(&self, given: &Credentials) -> Option<Check>;
    /// The account with this name, made if need be, with the connection with this number in it; `None` where the name is that
    /// of another account.
    fn enter(&self, name: &str, client: u64) -> Option<Arc<Account>>;
    /// A connection left an account.
    fn left(&self, account: &Arc<Account>);
}
