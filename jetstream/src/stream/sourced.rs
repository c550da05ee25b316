//! How a message of an origin is stored: a mirror's under the sequence and time that it has there, a source's as any that
//! is published, with fewer checks, as its origin made them.

use super::write::{IfLong, PublishHeaders, Refusal, Rollup, Told};
use super::{Inbound, Inner};
use crate::config::Discard;
use crate::error::catalogue as errors;
use crate::origin::Brought;
use crate::store::StoreError;

impl Inner {
    /// Stores a message. Says whether it is taken: stored, or known.
    pub(super) fn store_brought(&mut self, brought: &Brought<'_>) -> bool {
        self.hurry_purge(&brought.subject);
        let msg = Inbound {
            subject: &brought.subject,
            reply: b"",
            headers: &brought.headers,
            payload: brought.payload,
        };
        let before = self.store.totals().last_seq;
        self.origins.storing(brought.of);
        let mut stored = Ok(());
        if self.rewrite.transforms() {
            self.with_stored_subject(&msg, |inner, msg| stored = inner.check_brought(msg, brought));
        } else {
            stored = self.check_brought(&msg, brought);
        }
        let last_seq = self.store.totals().last_seq;
        match stored {
            Ok(()) => {
                self.origins.stored(brought.of, (last_seq != before).then_some(last_seq));
                true
            }
            Err(Refusal::Duplicate(_)) => {
                self.origins.stored(brought.of, None);
                true
            }
            Err(Refusal::Error(error)) => {
                // A stream that is full and refuses what is new waits for room.
                let waits = self.config.discard == Discard::New
                    && error.err_code == errors::STREAM_STORE_FAILED.err_code;
                if !waits {
                    let name = &self.config.name;
                    let account = &self.account.name;
                    let kind = if brought.mirrored.is_some() { "mirror message" } else { "source" };
                    let text = format!(
                        "Error processing inbound {kind} for '{account}' > '{name}': {}",
                        error.description
                    );
                    self.world.warnings.warn(self.now.elapsed(), &text);
                }
                false
            }
        }
    }

    fn check_brought(&mut self, msg: &Inbound<'_>, brought: &Brought<'_>) -> Result<(), Refusal> {
        let scanned = PublishHeaders::scan(msg.headers);
        let rewritten = super::write::stored_block(msg.headers, scanned.request_info);
        let block = rewritten.as_deref().unwrap_or(msg.headers);
        self.check_size(msg.subject, block, msg.payload)?;
        if brought.mirrored.is_none() {
            self.check_ids(&scanned)?;
        }
        let rollup = self.rollup_of_brought(&scanned)?;
        if !self.config.allow_msg_counter {
            return self.place_brought(msg, block, &scanned, rollup, brought);
        }
        let counted = self.count_brought(msg.subject, block, &scanned, msg.payload)?;
        self.check_size(msg.subject, &counted.headers, &counted.payload)?;
        let msg = Inbound { payload: &counted.payload, ..*msg };
        self.place_brought(&msg, &counted.headers, &scanned, rollup, brought)
    }

    /// What is rolled up by the rules of this stream.
    fn rollup_of_brought(&self, headers: &PublishHeaders<'_>) -> Result<Rollup, Refusal> {
        if headers.rollup.is_empty() {
            return Ok(Rollup::None);
        }
        let Some(rollup) = Rollup::of(headers.rollup) else {
            let value = String::from_utf8_lossy(headers.rollup).to_lowercase();
            let quoted = jetkv_go_compat::quoted(value);
            return Err(errors::STREAM_ROLLUP_FAILED
                .because(format_args!("rollup value invalid: {quoted}"))
                .into());
        };
        Ok(if self.config.lets_messages_remove() { rollup } else { Rollup::None })
    }

    fn place_brought(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        brought: &Brought<'_>,
    ) -> Result<(), Refusal> {
        if self.purging.is_none() {
            self.prepare_roll_up(rollup, msg.subject, IfLong::Slices);
        }
        let Some(stored_at) = brought.mirrored else {
            return self.store_checked(msg, block, headers, rollup, Told::Nothing);
        };
        self.check_server()?;
        if self.interests_nobody(msg.subject) {
            return self.skip_as(brought.seq, msg, headers, rollup, Told::Nothing);
        }
        let size_bytes = self.msg_size(msg.subject, block, msg.payload);
        self.check_account(size_bytes)?;
        let ttl = crate::ttl::parse_ttl(headers.ttl).ok_or(errors::MESSAGE_TTL_INVALID)?;
        self.check_room(msg.subject, size_bytes, !headers.rollup.is_empty())?;
        let place = (brought.seq, stored_at.ns());
        self.store_as(place, msg, block, headers, (rollup, ttl), Told::Nothing)
    }

    /// A mirror goes on behind a sequence that its origin does not hold any more.
    pub(super) fn skip_to(&mut self, seq: u64) {
        let held = self.store.totals();
        if held.last_seq >= seq {
            return;
        }
        self.touch();
        let skipped: Result<(), StoreError> = if held.msgs == 0 {
            self.store.compact(seq.saturating_add(1)).map(drop)
        } else {
            self.store.skip_to(seq, 0)
        };
        if let Err(error) = skipped {
            self.fail_half_way(error);
        }
    }
}
