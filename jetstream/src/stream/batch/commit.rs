//! The end of an atomic batch: all of it is checked, then all of it is stored.

use super::atomic::COMMIT;
use super::check::{Diff, Edited};
use super::staged::{Staged, StagedMsg};
use crate::error::catalogue as errors;
use crate::headers::add_header;
use crate::store::StoreError;
use crate::stream::write::{PublishHeaders, Refusal, Told};
use crate::stream::{Inbound, Inner};
use crate::ttl::{Ttl, parse_ttl};

impl Inner {
    /// Stores the messages of a batch, all or none. `by_end` says that its end was told by a message that is not stored.
    pub(super) fn commit_atomic(&mut self, id: &[u8], staged: &Staged, by_end: bool) -> Result<(), Refusal> {
        let _holding = staged.is_large().then(|| self.busy.begin());
        let mut diff = Diff::default();
        let mut edits = Vec::new();
        let mut ends_schedules = false;
        for msg in staged.iter() {
            let headers = PublishHeaders::scan(msg.headers);
            if !headers.expected_last_msg_id.is_empty() {
                let error = errors::ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH;
                return Err(error.with("header", "Nats-Expected-Last-Msg-Id").into());
            }
            let checked = self.check_staged(&mut diff, &msg, &headers);
            edits.push(checked.map_err(Refusal::in_batch)?);
            ends_schedules |= !headers.scheduler.is_empty();
        }
        self.check_account(diff.bytes)?;
        // What came before is not taken back with the batch.
        self.try_flush()?;
        // Its beginning would look like what follows from a schedule.
        let announced = if ends_schedules { self.store.announce_batch() } else { Ok(()) };
        self.store.begin_atomic();
        let stored = announced.and_then(|()| self.store_staged(staged, &edits, by_end));
        let stored = stored.and_then(|()| self.store.end_atomic());
        stored.map_err(|error| {
            tracing::error!(
                stream = %self.config.name, batch = %String::from_utf8_lossy(id), %error,
                "cannot store a batch"
            );
            Refusal::Error(self.fail_half_way(error))
        })
    }

    fn store_staged(
        &mut self,
        staged: &Staged,
        edits: &[Option<Edited>],
        by_end: bool,
    ) -> Result<(), StoreError> {
        let last = staged.len();
        for ((msg, edited), at) in staged.iter().zip(edits).zip(1..) {
            let msg = match edited {
                Some(Edited { headers, payload }) => StagedMsg { headers, payload, ..msg },
                None => msg,
            };
            let ends = by_end && at == last;
            let with_commit = ends.then(|| add_header(msg.headers, COMMIT, b"1"));
            let headers = with_commit.as_deref().unwrap_or(msg.headers);
            self.store_of_batch(&StagedMsg { headers, ..msg })?;
        }
        Ok(())
    }

    /// Stores a message that was checked, without an answer.
    pub(super) fn store_of_batch(&mut self, msg: &StagedMsg<'_>) -> Result<(), StoreError> {
        let failed = |refusal: Refusal| StoreError::Poisoned(refusal.in_batch().description.into_owned());
        let headers = PublishHeaders::scan(msg.headers);
        let rollup = self.check_rollup(&headers).map_err(failed)?;
        let inbound =
            Inbound { subject: msg.subject, reply: b"", headers: msg.headers, payload: msg.payload };
        if self.interests_nobody(msg.subject) {
            return self.skip(&inbound, &headers, rollup, Told::Nothing).map_err(failed);
        }
        let ttl = parse_ttl(headers.ttl).unwrap_or(Ttl::Unset);
        let (ttl, longer) = self.lengthen_ttl(ttl, msg.headers);
        let block = longer.as_deref().unwrap_or(msg.headers);
        self.store_now(&inbound, block, &headers, (rollup, ttl), Told::Nothing).map_err(failed)
    }
}
