//! What clients and leaf nodes ask of JetStream, and what of that is left to other threads.

use std::sync::Arc;

use jetkv_jetstream::stream::{Inbound, Stream};
use jetkv_jetstream::{AccountId, ApiRequest, ClientInfo, OutMsg};

use crate::jetstream::{ApiWay, JetStream, Served};
use crate::state::Shared;
use crate::worker::{Batch, GetDone, LongGet, QueuedRequest, Turn, touch};

/// Requests of the API that streams and consumers take themselves, past the system account.
const TAKEN_BY_ASSETS: [&[u8]; 2] = [b"$JS.API.DIRECT.GET.", b"$JS.API.CONSUMER.MSG.NEXT."];

/// Counts a request of the API that came over a connection; tells whether the system account's service is told of it.
pub(super) fn count_api(shared: &Shared, turn: &mut Turn<'_>, subject: &[u8]) -> bool {
    turn.batch.tally.api_requests += 1;
    let is_told = !TAKEN_BY_ASSETS.iter().any(|prefix| subject.starts_with(prefix));
    if is_told {
        shared.system_services.count_api();
    }
    is_told
}

/// Takes an acknowledgement, or an answer to flow control; tells whether anyone wanted it. `None`: that takes long.
pub(super) fn control_at_once(
    jetstream: &JetStream,
    turn: &mut Turn<'_>,
    account: AccountId,
    msg: &OutMsg<'_>,
) -> Option<bool> {
    let stream = jetstream.engine().js_control_at_once(account, &Inbound::from(msg))?;
    stream.iter().for_each(|stream| turn.batch.touch(stream));
    Some(stream.is_some())
}

/// A message that asks something of JetStream in an account, or is for a stream there.
pub(super) struct Asked<'a> {
    pub account: AccountId,
    /// It is asked, or stored, under the subject that decides who receives it.
    pub msg: OutMsg<'a>,
    /// Who asks.
    pub client: &'a Arc<ClientInfo>,
}

impl Asked<'_> {
    /// Serves a request of the API, or leaves it to be queued; tells whether anything serves its subject. The connection
    /// goes on when those are done that it `waits` for.
    pub(super) fn serve(
        &self,
        (shared, jetstream): (&Shared, &JetStream),
        turn: &mut Turn<'_>,
        waits: &mut Vec<GetDone>,
    ) -> bool {
        count_api(shared, turn, self.msg.to);
        match jetstream.way(self.account, self.msg.to) {
            ApiWay::Here => {}
            ApiWay::Nobody => return false,
            ApiWay::Queue => {
                turn.batch.requests.push(self.queued());
                return true;
            }
        }
        if turn.batch.answers_in.is_some_and(|other| other != self.account) {
            // Answers of one turn are those of one account.
            turn.commit_here(jetstream);
        }
        let Batch { answers, streams, answers_in, .. } = &mut *turn.batch;
        *answers_in = Some(self.account);
        match jetstream.serve_here(&self.request(), answers, |stream| touch(streams, stream)) {
            Served::Here => true,
            Served::ByNobody => false,
            Served::Later => self.serve_later(turn, waits),
        }
    }

    /// Leaves the request to a thread that may take its time for it.
    #[cold]
    pub(super) fn serve_later(&self, turn: &mut Turn<'_>, waits: &mut Vec<GetDone>) -> bool {
        wait_for(LongGet::new(self.queued()), turn, waits);
        true
    }

    /// Leaves the message to a thread that may take its time for it. What comes behind it on the connection waits.
    #[cold]
    pub(super) fn publish_later(&self, stream: Arc<Stream>, turn: &mut Turn<'_>, waits: &mut Vec<GetDone>) {
        wait_for(LongGet::publish(stream, self.queued()), turn, waits);
    }

    /// The message, on its own.
    pub(super) fn queued(&self) -> QueuedRequest {
        QueuedRequest::new(&self.request(), self.client)
    }

    fn request(&self) -> ApiRequest<'_> {
        let OutMsg { to: subject, reply, headers, payload, .. } = self.msg;
        ApiRequest { account: self.account, subject, reply, headers, payload, client: Some(self.client) }
    }
}

/// Has another thread do it, and a connection wait for that.
pub(super) fn wait_for((get, done): (LongGet, GetDone), turn: &mut Turn<'_>, waits: &mut Vec<GetDone>) {
    turn.batch.long_gets.push(get);
    waits.push(done);
}
