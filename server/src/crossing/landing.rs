//! Where messages come in that no connection published in that account.

use std::sync::Arc;

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{ClientInfo, OutMsg};

use crate::router::{Account, Crossing, Origin, RouteCache, Routed, route};
use crate::state::Shared;
use crate::worker::{self, Worker};

/// Where messages from other accounts come in.
pub(crate) trait Landing {
    /// Gives a message to all that `account` has for it, and has the server serve it where it is a request to that of
    /// `asker`; answers serve nobody. Tells whether anyone got it. Ways further on are added to `onward`.
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        asker: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool;

    /// A message goes on in `account`, under another subject than before. What is to become of it there, and of its trace, which may
    /// go along where that `is_allowed`.
    fn passes(&mut self, account: &Account, msg: &OutMsg<'_>, to: &[u8], is_allowed: bool) -> Passage {
        let _ = (account, msg, to, is_allowed);
        Passage::AsItIs
    }

    /// Whether messages are only shown where they would go, and nobody gets them.
    fn is_shown_only(&self) -> bool {
        false
    }

    /// Who publishes, with all that is known of it where that is `shared` with others. `None`: the server does.
    fn sender(&self, shared: bool) -> Option<ClientInfo>;
}

/// What becomes of a message, and of its trace, when it goes into another account.
pub(crate) enum Passage {
    AsItIs,
    /// Its trace ends here.
    Untraced,
    /// Its trace goes along.
    Traced,
    /// It does not go there.
    Ends,
}

/// Who asks, as the service in another account is told.
pub(crate) fn asker_in(shared: &Shared, account: &Account, asker: &ClientInfo) -> ClientInfo {
    ClientInfo { service: account.name().to_owned(), server: shared.identity.name.clone(), ..asker.clone() }
}

/// Gives a message of the server itself, of the engine or of another account to all who listen in `account`, and counts it
/// there. The streams that capture it are shown to `take`. Tells whether anyone got it; ways further on are added to `onward`.
pub(crate) fn route_own(
    shared: &Shared,
    account: &Account,
    origin: Origin<'_>,
    msg: &OutMsg<'_>,
    onward: &mut Vec<Crossing>,
    mut take: impl FnMut(&Worker, &Arc<Stream>),
) -> bool {
    let mut cache = RouteCache::default();
    let routed = worker::with(|worker| {
        let matches = cache.matches(account, msg.to);
        route(matches, origin, msg, &worker.touched, |stream| take(worker, stream))
    });
    count(shared, account, msg, &routed);
    onward.extend(routed.crossings);
    routed.delivered
}

/// Counts what was sent for a message, of the account and of the server.
pub(crate) fn count(shared: &Shared, account: &Account, msg: &OutMsg<'_>, routed: &Routed) {
    let bytes = routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
    account.traffic.sent(routed.sent_msgs, bytes);
    shared.counters.traffic.sent(routed.sent_msgs, bytes);
}
