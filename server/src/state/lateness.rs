//! Messages that a rule of faults has come late, as connections know of them.

use std::sync::Arc;

use jetkv_jetstream::OutMsg;

use crate::faults::Slowness;
use crate::router::Account;

/// Who has messages come late.
pub(crate) trait Lateness: Send + Sync {
    /// A subject what is answered on which comes to `reply` so much later.
    fn delay_answers(&self, account: &Arc<Account>, reply: &[u8], by_ns: u64) -> Option<Vec<u8>>;
    /// Keeps a message of the connection with the number `sender` for a time; tells whether it does.
    fn hold(&self, account: &Account, sender: u64, msg: &OutMsg<'_>, slowness: Slowness) -> bool;
    /// Ends what there is for an account that goes.
    fn leave(&self, account: &Account);
}
