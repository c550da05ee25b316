//! What falls due next, of all streams.

use super::Engine;
use crate::due::Due;
use crate::message::AccountId;

impl Engine {
    /// The next thing that happens if nothing but time passes: in one account or all of them, to one stream or any.
    #[must_use]
    pub fn next_due(&self, account: Option<AccountId>, stream: Option<&str>) -> Option<Due> {
        let accounts: Vec<_> = {
            let accounts = self.accounts.read();
            let wanted = accounts.iter().filter(|(id, _)| account.is_none_or(|wanted| wanted == **id));
            wanted.map(|(_, account)| account.clone()).collect()
        };
        let streams = accounts.iter().flat_map(|account| account.streams());
        let wanted = streams.filter(|one| stream.is_none_or(|wanted| wanted == one.name()));
        wanted.filter_map(|stream| stream.next_due()).min_by_key(|due| due.in_ns)
    }
}
