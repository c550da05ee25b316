//! How an upstream gets a consumer.

use super::{
    Act, Answer, CREATE_WAIT_NS, Heard, Here, LEVEL_IDENTITY, LEVEL_NONE, LEVEL_SOURCING, Phase,
    RESET_WAIT_NS, Upstream, request,
};
use crate::error::catalogue as errors;
use crate::headers::{add_header, header};
use crate::message::OutMsg;

/// Makes numbers that differ little differ much.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const LEVEL_HEADER: &[u8] = b"Nats-Required-Api-Level";
const IDENTITY_HEADER: &[u8] = b"Nats-Stream-Identity";

impl Upstream {
    /// Asks for a consumer that begins where the stream stands.
    pub(super) fn ask(&mut self, here: &Here<'_>, last_channel: &mut u64, acts: &mut Vec<Act>) {
        self.stop_listening(acts);
        if self.is_mirror {
            self.seq = here.held.last_seq;
        }
        self.asked = Some(here.now);
        self.error = None;
        let level = if self.is_mirror { LEVEL_SOURCING } else { LEVEL_IDENTITY };
        self.request(level, here, last_channel, acts);
    }

    fn request(&mut self, level: u8, here: &Here<'_>, last_channel: &mut u64, acts: &mut Vec<Act>) {
        *last_channel += 1;
        let channel = *last_channel;
        // Those that ask at the same moment must not listen on the same subjects.
        let here = &Here { random: here.random.wrapping_add(channel.wrapping_mul(SPREAD)), ..*here };
        let reply = request::unique("$JSC.R", here.random.rotate_left(32));
        let mut headers = Vec::new();
        if level != LEVEL_NONE {
            headers = add_header(b"", LEVEL_HEADER, level.to_string().as_bytes());
        }
        if level == LEVEL_IDENTITY {
            headers = add_header(&headers, IDENTITY_HEADER, self.identity.as_bytes());
        }
        let (subject, payload, wait_ns) = match &self.source.consumer {
            Some(consumer) => {
                if self.is_mirror {
                    headers.clear();
                }
                (request::reset(&self.source, &consumer.name), Vec::new(), RESET_WAIT_NS)
            }
            None => {
                // A server that knows nothing of sourcing does not make the name one of its own.
                let name = match level {
                    LEVEL_NONE => {
                        request::unique(&self.consumer, here.random.rotate_left(16)).replace('.', "_")
                    }
                    _ => self.consumer.clone(),
                };
                let (start, sources) = (self.start(here), level != LEVEL_NONE);
                let (subject, payload) =
                    request::create(&self.source, (&name, self.is_mirror), &start, sources, here);
                (subject, payload, CREATE_WAIT_NS)
            }
        };
        self.phase = Phase::Asking { channel, until: here.now.plus(wait_ns), level };
        acts.push(Act::Listen { channel, subject: reply.clone() });
        acts.push(Act::Publish { subject, reply, headers, payload });
    }

    /// No answer came.
    pub(super) fn give_up(&mut self, here: &Here<'_>, last_channel: &mut u64, acts: &mut Vec<Act>) {
        self.fail(here, acts);
        // The consumer of somebody's own shows by itself when it is there.
        if let Some(consumer) = &self.source.consumer
            && let Phase::Waiting { probe, .. } = &mut self.phase
        {
            *last_channel += 1;
            *probe = Some(*last_channel);
            acts.push(Act::Listen { channel: *last_channel, subject: consumer.deliver_subject.clone() });
        }
    }

    fn fail(&mut self, here: &Here<'_>, acts: &mut Vec<Act>) {
        self.fails = self.fails.saturating_add(1);
        self.begin_again(here, acts);
    }

    /// Takes the answer in.
    pub(super) fn answered<'m>(
        &mut self,
        msg: &OutMsg<'_>,
        level: u8,
        here: &Here<'_>,
        last_channel: &mut u64,
        acts: &mut Vec<Act>,
    ) -> Heard<'m> {
        let Some(answer) = Answer::parse(msg.payload) else {
            if self.is_mirror {
                self.error = Some(errors::INVALID_JSON.error());
            }
            return Heard::Nothing;
        };
        self.error = None;
        if let Some(error) = answer.error(self.is_mirror) {
            let is_unknown = [errors::REQUIRED_API_LEVEL.err_code, errors::INVALID_JSON.err_code];
            if error.err_code == errors::CONSUMER_STREAM_IDENTITY_MISMATCH.err_code {
                // Another stream has the name now: all of it is new.
                (self.seq, self.consumer_seq) = (0, 0);
                self.identity.clear();
                self.recreated = true;
                self.begin_again(here, acts);
            } else if is_unknown.contains(&error.err_code) && level != LEVEL_NONE {
                self.stop_listening(acts);
                let lower = if level == LEVEL_IDENTITY { LEVEL_SOURCING } else { LEVEL_NONE };
                self.request(lower, here, last_channel, acts);
            } else {
                let kind = if self.is_mirror { "mirror" } else { "source" };
                acts.push(Act::Warn(format!(
                    "JetStream error response for stream {} create {kind} consumer {}: {error}",
                    here.stream, self.source.name
                )));
                self.error = Some(error);
                self.fail(here, acts);
            }
            return Heard::Nothing;
        }
        if self.source.consumer.is_some() && !answer.acknowledges_by_flow() {
            let needed = if self.is_mirror {
                errors::MIRROR_CONSUMER_REQUIRES_ACK_FC
            } else {
                errors::SOURCE_CONSUMER_REQUIRES_ACK_FC
            };
            self.error = Some(needed.error());
            self.fail(here, acts);
            return Heard::Nothing;
        }
        self.begin_reading(msg.headers, &answer, here, last_channel, acts)
    }

    fn begin_reading<'m>(
        &mut self,
        headers: &[u8],
        answer: &Answer,
        here: &Here<'_>,
        last_channel: &mut u64,
        acts: &mut Vec<Act>,
    ) -> Heard<'m> {
        let delivered_seq = answer.delivered_seq();
        if self.is_mirror {
            self.seq = delivered_seq.max(here.held.last_seq);
        } else {
            let identity = header(headers, IDENTITY_HEADER).unwrap_or_default();
            let identity = String::from_utf8_lossy(identity).into_owned();
            let is_other = !identity.is_empty() && !self.identity.is_empty() && self.identity != identity;
            if self.recreated || is_other {
                acts.push(Act::Warn(format!(
                    "JetStream source stream {} for stream '{} > {}' was recreated, resetting source state",
                    jetkv_go_compat::quoted(&self.source.name),
                    here.account,
                    here.stream
                )));
                self.seq = 0;
            }
            self.identity = identity;
            self.recreated = false;
            self.seq = self.seq.max(delivered_seq);
        }
        self.reads_from.clone_from(&answer.name);
        self.consumer_seq = 0;
        self.stalled_on.clear();
        self.stalls = 0;
        self.fails = 0;
        self.heard = Some(here.now);
        self.stop_listening(acts);
        *last_channel += 1;
        let channel = *last_channel;
        self.phase = Phase::Reading { channel };
        let subject = match (&self.source.consumer, &answer.config) {
            (Some(own), _) => own.deliver_subject.clone(),
            (None, Some(config)) => config.deliver_subject.clone(),
            (None, None) => String::new(),
        };
        acts.push(Act::Listen { channel, subject });
        if self.is_mirror && here.held.last_seq < delivered_seq {
            return Heard::SkipTo(delivered_seq);
        }
        Heard::Nothing
    }
}
