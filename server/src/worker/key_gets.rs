//! The shortest way of a direct get of a key: requests whose subjects begin alike go to the same stream.

use jetkv_jetstream::{Engine, KeyGets, OutMsg, Outbox};

use crate::router::{Account, RouteCache};

/// The stream that was last asked for a key, kept until the account's subscriptions change or a stream comes or goes.
#[derive(Debug, Default)]
pub(crate) struct KeyGetCache {
    /// The account's generation, which no other account shares; 0 at first.
    generation: u64,
    /// What stands before the key. Nobody listens on any subject that begins so, but the stream.
    start: Vec<u8>,
    gets: KeyGets,
}

impl KeyGetCache {
    /// Serves a direct get of a key, as the way through router and API would; says whether it did. Any other message, and
    /// one that takes more, is left alone.
    #[inline]
    pub(crate) fn serve(
        &mut self,
        (account, is_system): (&Account, impl FnOnce() -> bool),
        engine: &Engine,
        routes: &mut RouteCache,
        msg: &OutMsg<'_>,
        answers: &mut Outbox,
    ) -> bool {
        if account.generation() == self.generation
            && let Some(key) = msg.to.strip_prefix(&*self.start)
            && engine.get_key(&self.gets, key, msg.reply, answers)
        {
            return true;
        }
        if !msg.to.starts_with(b"$JS.API.DIRECT.GET.") || is_system() {
            return false;
        }
        let Some(key) = self.learn(account, engine, routes, msg.to) else { return false };
        engine.get_key(&self.gets, key, msg.reply, answers)
    }

    /// Remembers which stream is asked, if there is a short way to it. Gives the key.
    fn learn<'m>(
        &mut self,
        account: &Account,
        engine: &Engine,
        routes: &mut RouteCache,
        subject: &'m [u8],
    ) -> Option<&'m [u8]> {
        let generation = account.generation();
        let (gets, key_at) = engine.key_gets(account.id(), subject)?;
        let (start, key) = subject.split_at_checked(key_at)?;
        if !routes.reaches_nobody(account, subject, start.len()) {
            return None;
        }
        self.generation = generation;
        self.start.clear();
        self.start.extend_from_slice(start);
        self.gets = gets;
        Some(key)
    }
}
