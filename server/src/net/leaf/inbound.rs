//! What comes over a leaf node connection: who listens there, and messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetkv_jetstream::OutMsg;
use jetkv_jetstream::stream::{Inbound, Stream, TakesLong};
use jetkv_protocol::{LeafMsg, subject};

use super::Joined;
use super::connection::Connection;
use crate::crossing;
use crate::events;
use crate::net::asked::Asked;
use crate::router::{Account, LOOP_PREFIX, Matches, Origin, Receiver, Subscription, Target, route_relayed};
use crate::worker::{Batch, Turn, touch};

/// Where answers of services and acknowledgements go: nobody needs a permission for these.
const UNCHECKED: [&[u8]; 2] = [b"_R_.", b"$JS.ACK."];
/// What stands before the subject of a message that a consumer delivers, at the end of its reply subject.
const ACK: &[u8] = b"$JS.ACK.";
/// Dots before that in an acknowledgement.
const ACK_DOTS: usize = 8;

/// The reply subject of a message and its own, where a consumer delivers it on another one.
fn delivered(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    if !reply.starts_with(ACK) {
        return None;
    }
    let mut dots = 0;
    let at = reply.iter().position(|byte| {
        dots += usize::from(*byte == b'.');
        *byte == b'@' && dots >= ACK_DOTS
    })?;
    let (reply, subject) = (reply.get(..at)?, reply.get(at + 1..)?);
    (!subject.is_empty()).then_some((reply, subject))
}

impl Connection {
    /// Somebody there listens, or more do than before.
    pub(super) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: &[u8],
        subject: &[u8],
        queue: &[u8],
        weight: u32,
    ) {
        let leaf = Arc::clone(&self.leaf);
        let Some(joined) = leaf.joined.get() else { return self.refuse_unannounced() };
        let watches_loops = subject.starts_with(LOOP_PREFIX);
        if watches_loops && subject == joined.account.loop_subject() {
            return self.found_loop(true);
        }
        let passes =
            watches_loops || subject::has_wildcard(subject) || joined.rules.read().outward.passes(subject);
        if !passes {
            if !joined.is_spoke {
                self.violation("Subscription", "Subscription", subject);
            }
            return;
        }
        if let Some(known) = leaf.subs.lock().get(key).cloned() {
            if !queue.is_empty() {
                joined.account.reweigh(&known, weight);
            }
            return;
        }
        let max = usize::try_from(self.settings.limits.max_subscriptions).unwrap_or(0);
        if max > 0 && leaf.subs.lock().len() >= max {
            tracing::error!("{} - maximum subscriptions exceeded", leaf.label());
            return leaf.send_err("maximum subscriptions exceeded");
        }
        let target = Target::Relay(Arc::clone(&leaf) as Arc<dyn Receiver>);
        let sub = Arc::new(Subscription::new(target, subject, queue, key));
        sub.set_weight(weight);
        if joined.account.subscribe(Arc::clone(&sub)).is_err() {
            tracing::error!("{} - Could not insert subscription: invalid subject", leaf.label());
            return leaf.send_err("Invalid Subscription");
        }
        self.tell_streams(turn, &joined.account, &sub);
        // Whoever is shown it may count on it.
        leaf.subs.lock().insert(key.into(), sub);
    }

    /// Tells the engine that somebody there listens.
    fn tell_streams(&self, turn: &mut Turn<'_>, account: &Arc<Account>, sub: &Arc<Subscription>) {
        let Some(jetstream) = &self.jetstream else { return };
        if account.has_jetstream() {
            let streams = jetstream.interest_changed(account, sub, true);
            streams.iter().for_each(|stream| turn.batch.touch(stream));
        }
        let shadows = account.shadows(sub);
        if !shadows.is_empty() {
            let streams = jetstream.shadows_came(&shadows);
            streams.iter().for_each(|stream| turn.batch.touch(stream));
        }
    }

    /// Nobody there listens any more.
    pub(super) fn unsubscribe(&mut self, turn: &mut Turn<'_>, key: &[u8]) {
        let leaf = Arc::clone(&self.leaf);
        let Some(joined) = leaf.joined.get() else { return self.refuse_unannounced() };
        let Some(sub) = leaf.subs.lock().get(key).cloned() else { return };
        let ended = joined.account.unsubscribe(&sub);
        leaf.subs.lock().remove(key);
        if let Some(engine) = self.engine() {
            let of_shadows = engine.shadows_ended(&ended.shadows);
            of_shadows.iter().for_each(|stream| engine.commit(stream));
            let streams = engine.subscription_ended(&joined.account, &sub);
            streams.iter().for_each(|stream| turn.batch.touch(stream));
        }
        if !ended.requests.is_empty() {
            crossing::give_up(&self.shared, events::publish, &ended.requests);
        }
    }

    /// A message: it goes to whoever listens here, into streams, and to the services of the server.
    pub(super) fn message(&mut self, turn: &mut Turn<'_>, msg: &LeafMsg<'_>) {
        turn.batch.tally.in_msgs += 1;
        turn.batch.tally.in_bytes += (msg.headers.len() + msg.payload.len()) as u64;
        let leaf = Arc::clone(&self.leaf);
        let Some(joined) = leaf.joined.get() else { return self.refuse_unannounced() };
        if !self.may_come(joined, msg.subject) {
            return;
        }
        let headers = if leaf.headers.load(Ordering::Relaxed) { msg.headers } else { &[] };
        let reply = msg.reply.unwrap_or_default();
        let (account, payload) = (&joined.account, msg.payload);
        let mut renamed = Vec::new();
        let is_renamed = account.renames() && account.rename(msg.subject, &mut renamed);
        let to = if is_renamed { renamed.as_slice() } else { msg.subject };
        let (reply, subject) = delivered(reply).unwrap_or((reply, to));
        let routed = OutMsg { to, subject, reply, headers, payload };
        let crosses = self.route(turn, account, &routed, msg, is_renamed);
        self.serve(turn, account, routed, None, crosses);
    }

    /// Whether a message may come from the other server. One that may not ends the connection, where this server is the hub.
    fn may_come(&mut self, joined: &Joined, subject: &[u8]) -> bool {
        if UNCHECKED.iter().any(|prefix| subject.starts_with(prefix)) {
            return true;
        }
        let rules = Arc::clone(&joined.rules.read());
        if joined.is_spoke {
            return rules.wanted.passes(subject);
        }
        let passes = rules.inward.passes(subject);
        if !passes {
            self.violation("Publish", "Publish", subject);
        }
        passes
    }

    /// Routes a message; tells whether it went to services of other accounts.
    fn route(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        from: &LeafMsg<'_>,
        is_renamed: bool,
    ) -> bool {
        let touched = &turn.worker.touched;
        let Batch { cache, streams, tally, stored_at, .. } = &mut *turn.batch;
        let matches: &Matches<Subscription> = cache.matches(account, msg.to);
        if matches.is_empty() {
            return false;
        }
        let mut take_long = Vec::new();
        let queues = (!is_renamed || !from.queues.is_empty()).then(|| from.queues());
        let origin = Origin::Receiver(&*self.leaf);
        let routed = route_relayed(matches, origin, msg, queues, touched, |stream, msg| {
            match stream.publish_if_short(&Inbound::from(msg)) {
                Ok(at) => *stored_at = Some(at),
                Err(TakesLong) => take_long.push((Arc::clone(stream), msg.to.to_vec())),
            }
            touch(streams, stream);
        });
        tally.out_msgs += routed.sent_msgs;
        tally.out_bytes += routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
        for (stream, to) in take_long {
            self.publish_later(turn, account, stream, &OutMsg { to: &to, ..*msg });
        }
        if routed.crossings.is_empty() {
            return false;
        }
        self.cross(turn, account, msg, routed.crossings);
        true
    }

    /// Leaves a message for a stream to a thread that may take its time. What comes behind it on this connection waits.
    pub(super) fn publish_later(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        stream: Arc<Stream>,
        msg: &OutMsg<'_>,
    ) {
        let asked = Asked { account: account.id(), msg: *msg, client: &self.client_info() };
        asked.publish_later(stream, turn, &mut self.long_gets);
    }
}

#[cfg(test)]
mod tests {
    use super::delivered;

    #[test]
    fn what_a_consumer_delivers_has_its_subject_behind_the_acknowledgement() {
        let ack = b"$JS.ACK.S.C.1.2.3.4.5";
        let with = [ack.as_slice(), b"@a.b@c"].concat();
        assert_eq!(delivered(&with), Some((ack.as_slice(), b"a.b@c".as_slice())));
        for reply in
            [ack.as_slice(), b"$JS.ACK.S@C.1.2", b"_INBOX.a.b.c.d.e.f.g.h@x", b"$JS.ACK.S.C.1.2.3.4.5@"]
        {
            assert_eq!(delivered(reply), None);
        }
    }
}
