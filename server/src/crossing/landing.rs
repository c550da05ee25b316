//! Where messages come in that no connection published in that account.

use std::sync::Arc;

use jetkv_jetstream::stream::{Inbound, Stream, TakesLong};
use jetkv_jetstream::{ClientInfo, OutMsg};

use crate::router::{Account, Crossing, Matches, Origin, Receiver, RouteCache, Routed, Subscription, route};
use crate::state::Shared;
use crate::worker::{self, Batch, Turn, Worker};

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

    /// Who publishes, with all that is known of it. `None`: the server does.
    fn sender(&self) -> Option<ClientInfo>;
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
    mut take: impl FnMut(&Worker, &Arc<Stream>, &OutMsg<'_>),
) -> bool {
    let mut cache = RouteCache::default();
    let routed = worker::with(|worker| {
        let matches = cache.matches(account, msg.to);
        route(matches, origin, msg, &worker.touched, |stream, msg| take(worker, stream, msg))
    });
    count(shared, account, msg, &routed);
    onward.extend(routed.crossings);
    routed.delivered
}

/// As [`route_own`], of a message of another account that `sender` sent, in the turn of that connection. With what became of it
/// come the streams that are still to take it, because that takes long.
pub(crate) fn route_crossed(
    shared: &Shared,
    account: &Account,
    sender: &dyn Receiver,
    msg: &OutMsg<'_>,
    turn: &mut Turn<'_>,
) -> (Routed, Vec<Arc<Stream>>) {
    let mut matches = Matches::<Subscription>::default();
    account.matching(msg.to, &mut matches);
    let inbound = Inbound::from(msg);
    let Batch { streams, stored_at, .. } = &mut *turn.batch;
    let mut take_long = Vec::new();
    let routed = route(&matches, Origin::Crossed(Some(sender)), msg, &turn.worker.touched, |stream, _| {
        match stream.publish_if_short(&inbound) {
            Ok(at) => *stored_at = Some(at),
            Err(TakesLong) => take_long.push(Arc::clone(stream)),
        }
        worker::touch(streams, stream);
    });
    count(shared, account, msg, &routed);
    (routed, take_long)
}

/// Counts what was sent for a message, of the account and of the server.
pub(crate) fn count(shared: &Shared, account: &Account, msg: &OutMsg<'_>, routed: &Routed) {
    let bytes = routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
    account.traffic.sent(routed.sent_msgs, bytes);
    shared.counters.traffic.sent(routed.sent_msgs, bytes);
}
