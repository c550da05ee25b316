//! Subjects that change: what comes in is stored under another one, and what was stored is published again (ADR-28,
//! ADR-30).

use super::push_number;
use crate::config::StreamConfig;
use crate::message::Inbound;
use crate::outbox::Says;
use crate::store::Msg;
use crate::stream::{Inner, write_headers};
use jetkv_protocol::subject;
use jetkv_protocol::transform::{Transform, TransformError};

/// What a stream's configuration says of subjects. Buffers are kept for their memory.
#[derive(Debug, Default)]
pub(in crate::stream) struct Rewrite {
    /// Of what comes in.
    input: Option<Transform>,
    /// Of what is published again.
    output: Option<Transform>,
    headers_only: bool,
    stored_as: Vec<u8>,
    republished_as: Vec<u8>,
}

/// What a message that is published again says of the one before it under its subject.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream) struct Republish {
    last_seq: u64,
}

impl Rewrite {
    pub(in crate::stream) fn new(config: &StreamConfig) -> Self {
        // The configuration was checked: there is a transform wherever one is asked for.
        let made = |result: Result<Option<Transform>, TransformError>| {
            result.unwrap_or_else(|error| {
                tracing::error!(stream = %config.name, %error, "a transform of subjects is left out");
                None
            })
        };
        let (input, output) = (config.subject_transform.as_ref(), config.republish.as_ref());
        Self {
            input: input.and_then(|to| made(Transform::new(&to.src, &to.dest))),
            output: output.and_then(|to| made(Transform::new(&to.src, &to.dest))),
            headers_only: output.is_some_and(|republish| republish.headers_only),
            ..Self::default()
        }
    }

    /// Whether what comes in is stored under another subject.
    pub(in crate::stream) fn transforms(&self) -> bool {
        self.input.is_some()
    }
}

impl Inner {
    /// A number for transforms that choose at random.
    fn random(&self) -> u32 {
        u32::try_from(self.world.ids.seed() >> 32).unwrap_or_default()
    }

    /// Calls `take` with the message under the subject that it is stored under.
    pub(in crate::stream) fn with_stored_subject(
        &mut self,
        msg: &Inbound<'_>,
        take: impl FnOnce(&mut Self, &Inbound<'_>),
    ) {
        let mut subject = std::mem::take(&mut self.rewrite.stored_as);
        subject.clear();
        let transform = self.rewrite.input.as_ref();
        let matched = transform.is_some_and(|to| to.apply(msg.subject, &mut subject, || self.random()));
        take(self, &Inbound { subject: if matched { &subject } else { msg.subject }, ..*msg });
        self.rewrite.stored_as = subject;
    }

    /// Before a message is stored: whether it is to be published again.
    #[inline(always)]
    pub(in crate::stream) fn begin_republish(&mut self, subject: &[u8]) -> Option<Republish> {
        if self.rewrite.output.is_none() { None } else { self.republish_as(subject) }
    }

    fn republish_as(&mut self, subject: &[u8]) -> Option<Republish> {
        let transform = self.rewrite.output.as_ref()?;
        let mut to = std::mem::take(&mut self.rewrite.republished_as);
        to.clear();
        let matched = transform.apply(subject, &mut to, || self.random());
        let sound = matched && subject::is_valid_publish(&to);
        if matched && !sound {
            let subject = String::from_utf8_lossy(&to);
            tracing::warn!(stream = %self.config.name, %subject, "Suppressing republish with invalid subject");
        }
        self.rewrite.republished_as = to;
        let last_seq = self.store.index().get(subject).map_or(0, |entry| entry.last_seq);
        sound.then_some(Republish { last_seq })
    }

    /// After it was stored: queues what is published again.
    pub(in crate::stream) fn republish(&mut self, republish: Republish, stored: &Msg<'_>) {
        let Self { rewrite: Rewrite { headers_only, republished_as, .. }, outbox, config, .. } = self;
        let payload = if *headers_only { b"" } else { stored.payload };
        outbox.push_with_headers(republished_as, payload, |out| {
            write_headers(&config.name, stored, out);
            out.extend_from_slice(b"\r\nNats-Last-Sequence: ");
            push_number(out, republish.last_seq);
            if *headers_only {
                out.extend_from_slice(b"\r\nNats-Msg-Size: ");
                push_number(out, stored.payload.len() as u64);
            }
            out.extend_from_slice(b"\r\n\r\n");
        });
        outbox.last_says(Says::Republished(stored.seq));
    }
}
