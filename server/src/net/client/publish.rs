//! PUB and HPUB.

use std::sync::Arc;

use jetkv_go_compat::quoted;
use jetkv_jetstream::stream::{Inbound, Stream, TakesLong};
use jetkv_jetstream::{ClientInfo, OutMsg};
use jetkv_protocol::{Publish, Rejection, encode, subject};

use super::connection::Connection;
use super::faults::Way;
use super::message_trace::may_be_traced;
use crate::claimed;
use crate::connections::ConnectionHandle as _;
use crate::events;
use crate::jetstream::{ControlSubject, JetStream};
use crate::net::asked::{self, Asked};
use crate::router::{Account, Origin, Target, route};
use crate::worker::{Batch, Turn, touch};

/// Prefixes that a client may not publish on.
const GATEWAY_REPLY: [&[u8]; 2] = [b"_GR_.", b"$GR."];
/// Prefix of the subjects between the servers of a replicated stream.
const REPLICATION: &[u8] = b"$NRG.";
/// Prefix of answers of services, which a client may not use as a reply subject, not even alone.
const SERVICE_REPLY: &[u8] = b"_R_.";
/// Prefixes that a client may not use as a reply subject with something behind them.
const RESERVED_REPLY: [&[u8]; 3] = [b"$JS.ACK.", b"_GR_.", b"$GR."];

/// Whether no client has answers come to a subject.
#[inline]
fn is_reserved_reply(reply: &[u8]) -> bool {
    // Hardly any reply subject begins so.
    matches!(reply, [b'_' | b'$', b'R' | b'G' | b'J', ..])
        && (reply.starts_with(SERVICE_REPLY)
            || RESERVED_REPLY.iter().any(|prefix| reply.len() > prefix.len() && reply.starts_with(prefix)))
}

impl Connection {
    /// Routes a message to whoever listens, into streams, and to the services of the server.
    pub(super) fn publish(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        turn.batch.tally.in_msgs += 1;
        turn.batch.tally.in_bytes += publish.size_bytes() as u64;
        if self.pedantic {
            self.judge_subject(publish.subject);
        }
        if may_be_traced(publish.headers, self.account.traces()) {
            return self.publish_watched(turn, publish);
        }
        self.publish_as_is(turn, publish);
    }

    /// Routes a message that is not traced.
    #[inline]
    pub(super) fn publish_as_is(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        if self.account.detours() {
            return self.publish_by_detour(turn, publish);
        }
        self.publish_named(turn, publish);
    }

    /// Routes a message that may have another name, or meet a fault on purpose.
    #[cold]
    fn publish_by_detour(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        let way = if self.account.meets_faults() { self.meet_faults(publish) } else { Way::Plain };
        if way == Way::Nowhere {
            return;
        }
        let reply = match &way {
            Way::Unanswered | Way::Nowhere => None,
            Way::AnsweredTo(reply) => Some(reply.as_slice()),
            Way::Plain | Way::Twice => publish.reply,
        };
        let publish = &Publish { reply, ..*publish };
        for _ in 0..=u32::from(way == Way::Twice) {
            if self.account.renames() {
                self.publish_renamed(turn, publish);
            } else {
                self.publish_named(turn, publish);
            }
        }
    }

    /// Routes a message under the subject that the account's mappings make of its own.
    #[cold]
    fn publish_renamed(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        let mut renamed = std::mem::take(&mut self.renamed);
        renamed.clear();
        let is_renamed = self.account.rename(publish.subject, &mut renamed);
        let subject = if is_renamed { renamed.as_slice() } else { publish.subject };
        if self.client.is_traced() {
            self.trace_mapping(publish, is_renamed.then_some(subject));
        }
        self.publish_named(turn, &Publish { subject, ..*publish });
        self.renamed = renamed;
    }

    /// Routes a message by its final subject.
    #[inline]
    fn publish_named(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        let reply = publish.reply.unwrap_or_default();
        if !self.may_publish(publish.subject, reply) {
            return;
        }
        if self.verbose {
            self.send_ok();
        }
        let msg = OutMsg {
            to: publish.subject,
            subject: publish.subject,
            reply,
            headers: publish.headers,
            payload: publish.payload,
        };
        if publish.payload.is_empty() && self.get_key(turn, &msg) {
            return;
        }
        let (mut delivered, crosses) = self.route(turn, &msg);
        if JetStream::control_subject(publish.subject).is_some() || events::is_request(publish.subject) {
            let account = Arc::clone(&self.account);
            delivered |= self.serve(turn, &account, msg, None, crosses);
        }
        if !delivered && self.no_responders && !reply.is_empty() {
            self.answer_no_responders(publish.subject, reply);
        }
    }

    /// Serves a direct get of a key by a way of its own, if the message is one that can go it; says whether it did.
    #[inline]
    fn get_key(&self, turn: &mut Turn<'_>, msg: &OutMsg<'_>) -> bool {
        let Batch { key_gets, cache, answers, answers_in, tally, .. } = &mut *turn.batch;
        let account = &self.account;
        // Answers of one turn are those of one account.
        if !msg.headers.is_empty() || answers_in.is_some_and(|other| other != account.id()) {
            return false;
        }
        let Some(jetstream) = self.jetstream.as_ref().filter(|_| account.serves_api(false)) else {
            return false;
        };
        let is_system = || self.shared.accounts.is_system(account.id());
        let is_served = key_gets.serve((account, is_system), jetstream.engine(), cache, msg, answers);
        if is_served {
            tally.api_requests += 1;
            *answers_in = Some(account.id());
        }
        is_served
    }

    /// A bad subject is told to a pedantic client, unless it was when the message began to arrive. A subject is empty
    /// only in HMSG, where nats-server v2.15.2 looks at nothing (observed).
    fn judge_subject(&mut self, subject: &[u8]) {
        let judged = std::mem::take(&mut self.subject_judged);
        if !judged && !subject.is_empty() && !subject::is_valid_literal(subject) {
            self.reject(&Rejection::InvalidPublishSubject);
        }
    }

    /// Whether nobody of this account publishes on a subject.
    #[inline(always)]
    pub(super) fn is_reserved(&self, subject: &[u8]) -> bool {
        // Hardly any subject begins so.
        matches!(subject, [b'_' | b'$', b'G' | b'N', ..]) && self.is_the_servers(subject)
    }

    fn is_the_servers(&self, subject: &[u8]) -> bool {
        GATEWAY_REPLY.iter().any(|prefix| subject.len() > prefix.len() && subject.starts_with(prefix))
            || (subject.starts_with(REPLICATION) && !self.shared.accounts.is_system(self.account.id()))
    }

    #[inline(always)]
    pub(super) fn may_publish(&mut self, subject: &[u8], reply: &[u8]) -> bool {
        if self.is_reserved(subject) || self.rules.as_ref().is_some_and(|rules| !rules.may_publish(subject)) {
            self.refuse_subject(subject);
            return false;
        }
        if is_reserved_reply(reply) {
            self.refuse_reply(reply);
            return false;
        }
        true
    }

    #[cold]
    fn refuse_subject(&mut self, subject: &[u8]) {
        self.reject(&Rejection::PublishPermission(subject));
        tracing::error!("{} - Publish Violation - Subject {}", self.client.label(), quoted(subject));
    }

    #[cold]
    fn refuse_reply(&mut self, reply: &[u8]) {
        self.reject(&Rejection::ReplyPermission(reply));
        tracing::error!("{} - Publish Violation - Reply {}", self.client.label(), quoted(reply));
    }

    /// Routes a message; tells whether anyone got it, and whether it went to services of other accounts.
    fn route(&mut self, turn: &mut Turn<'_>, msg: &OutMsg<'_>) -> (bool, bool) {
        let touched = &turn.worker.touched;
        let Batch { cache, streams, tally, stored_at, stalling, .. } = &mut *turn.batch;
        let matches = cache.matches(&self.account, msg.to);
        if matches.is_empty() {
            return (false, false);
        }
        let inbound =
            Inbound { subject: msg.subject, reply: msg.reply, headers: msg.headers, payload: msg.payload };
        // As for a key of a bucket that nobody else listens to.
        if let Some(sub) = matches.only()
            && let Target::Stream(stream) = sub.target()
        {
            sub.count();
            match stream.publish_if_short(&inbound) {
                Ok(at) => {
                    *stored_at = Some(at);
                    touch(streams, stream);
                }
                Err(TakesLong) => {
                    let stream = Arc::clone(stream);
                    self.publish_later(turn, stream, msg);
                }
            }
            return (true, false);
        }
        let mut take_long = Vec::new();
        let routed = route(matches, Origin::Receiver(&*self.client), msg, touched, |stream, msg| {
            match stream.publish_if_short(&Inbound::from(msg)) {
                Ok(at) => *stored_at = Some(at),
                Err(TakesLong) => take_long.push((Arc::clone(stream), msg.to.to_vec())),
            }
            touch(streams, stream);
        });
        tally.out_msgs += routed.sent_msgs;
        tally.out_bytes += routed.sent_msgs * (msg.headers.len() + msg.payload.len()) as u64;
        if routed.stalling {
            *stalling = routed.pressured;
        }
        for (stream, to) in take_long {
            self.publish_later(turn, stream, &OutMsg { to: &to, ..*msg });
        }
        if routed.crossings.is_empty() {
            return (routed.delivered, false);
        }
        (self.cross(turn, msg, routed.crossings) || routed.delivered, true)
    }

    /// Leaves a message to a thread that may take its time. What comes behind it on this connection waits.
    #[cold]
    pub(super) fn publish_later(&mut self, turn: &mut Turn<'_>, stream: Arc<Stream>, msg: &OutMsg<'_>) {
        let (account, client) = (self.account.id(), &Arc::clone(self.client_info()));
        Asked { account, msg: *msg, client }.publish_later(stream, turn, &mut self.long_gets);
    }

    /// Hands a message to the service of the server in `account` that its subject belongs to, if there is one. `asker` is who
    /// asks, where that is another account; a request that `crosses` is answered elsewhere, unless the account has
    /// JetStream of its own.
    pub(super) fn serve(
        &mut self,
        turn: &mut Turn<'_>,
        account: &Arc<Account>,
        msg: OutMsg<'_>,
        asker: Option<Arc<ClientInfo>>,
        crosses: bool,
    ) -> bool {
        let control = JetStream::control_subject(msg.to);
        if control.is_some()
            && let Some(jetstream) = self.jetstream.clone()
        {
            match control {
                Some(ControlSubject::Api) if !account.serves_api(crosses) => {}
                // An account without JetStream is told so.
                Some(ControlSubject::Api) => {
                    let client = &asker.unwrap_or_else(|| Arc::clone(self.client_info()));
                    let asked = Asked { account: account.id(), msg, client };
                    return asked.serve((&self.shared, &jetstream), turn, &mut self.long_gets);
                }
                Some(ControlSubject::Control) if account.has_jetstream() => {
                    let account = account.id();
                    return asked::control_at_once(&jetstream, turn, account, &msg).unwrap_or_else(|| {
                        let client = &Arc::clone(self.client_info());
                        Asked { account, msg, client }.serve_later(turn, &mut self.long_gets)
                    });
                }
                Some(ControlSubject::Backup) => {
                    let (engine, account) = (jetstream.engine(), account.id());
                    return engine.backup_message(account, msg.to, msg.reply, msg.payload);
                }
                _ => {}
            }
        }
        if control == Some(ControlSubject::Api) && self.jetstream.is_none() && self.shared.had_jetstream() {
            return self.ignore_api_request(turn, msg.to);
        }
        if !events::is_request(msg.to) {
            return false;
        }
        // The request itself counts in the numbers that it asks for.
        self.count(turn);
        if self.shared.accounts.is_system(account.id()) && claimed::serve(&self.shared, &msg) {
            return true;
        }
        events::serve(&self.shared, &*self.client, account, msg)
    }

    /// Takes a request that came after JetStream was turned off, as long as it is not for a stream or consumer itself:
    /// somebody still listens, and nobody answers (nats-server v2.15.2, observed).
    fn ignore_api_request(&self, turn: &mut Turn<'_>, subject: &[u8]) -> bool {
        asked::count_api(&self.shared, turn, subject)
    }

    /// Tells a client that asked for it that nobody got its request. Only a plain subscription of its own to the
    /// reply subject is told.
    pub(super) fn answer_no_responders(&mut self, subject: &[u8], reply: &[u8]) {
        const STATUS: &[u8] = b"NATS/1.0 503\r\nNats-Subject: ";
        const END: &[u8] = b"\r\n\r\n";
        let size_bytes = STATUS.len() + subject.len() + END.len();
        let client = &self.client;
        self.account.sid_of(client.id(), reply, &mut |sid| {
            client.queue(|out| {
                encode::msg_line(out, reply, sid, None, size_bytes, size_bytes);
                for part in [STATUS, subject, END, b"\r\n"] {
                    out.extend_from_slice(part);
                }
            });
        });
    }
}
