//! Removing what is too old, and leaving markers where a subject ends with it.

use super::Inner;
use crate::clock::WallNs;
use crate::filter::Filter;
use crate::headers::header;
use crate::message::Inbound;
use crate::store::StoreError;
use crate::stream::write::IfLong;
use crate::ttl::{Ttl, parse_ttl};
use jetkv_go_compat::GoDuration;

/// When a store refused to remove what expired, it is asked again after this time.
const RETRY_NS: u64 = 1_000_000_000;
/// Messages that one hold of the stream's lock looks at.
const SLICE_MSGS: usize = 512;

/// Messages that are looked at to find the next one that ages.
const FORESEEN_MAX: usize = 1_000;

impl Inner {
    /// Removes some of what `max_age` and TTLs say, with the markers that follow from it. What is left is due still.
    pub(super) fn expire(&mut self) {
        if self.expiry.is_held(self.now.elapsed()) {
            return;
        }
        let result = self.expire_by_age().and_then(|()| self.expire_by_ttl());
        if let Err(error) = result {
            tracing::error!(stream = %self.config.name, %error, "cannot remove expired messages");
            self.expiry.set_age(0, Some(self.now.wall()));
            self.expiry.hold_until(self.now.elapsed().plus(RETRY_NS));
        }
    }

    /// Removes everything that `max_age` ended while the stream was not served: nobody is to see it. Where a marker follows
    /// what is too old, and for what a TTL ends, it is as at any other time (nats-server v2.15.2).
    pub(super) fn expire_recovered(&mut self) -> Result<(), StoreError> {
        let max_age_ns = self.config.max_age_ns;
        let held = self.store.state();
        if max_age_ns <= 0 || held.msgs == 0 || self.config.subject_delete_marker_ttl_ns > 0 {
            return Ok(());
        }
        let now = self.now.wall();
        let ended = |ts_ns: i64| WallNs::from_ns(ts_ns).plus(max_age_ns).is_reached(now);
        if !ended(held.first_ts_ns) {
            return Ok(());
        }
        if !self.config.allow_msg_ttl {
            let kept_from_ns = now.ns().saturating_sub(max_age_ns).saturating_add(1);
            let first_kept = self.store.seq_at_time(kept_from_ns)?;
            return self.purge_below(first_kept).map(drop);
        }
        // Messages that never expire lie between others.
        self.expiry.may_age(held.first_ts_ns, max_age_ns);
        while self.expiry.age_due().is_some_and(|due| due.is_reached(now)) {
            self.expire_by_age()?;
        }
        Ok(())
    }

    fn expire_by_age(&mut self) -> Result<(), StoreError> {
        let max_age_ns = self.config.max_age_ns;
        if max_age_ns <= 0 {
            self.expiry.set_age(0, None);
            return Ok(());
        }
        if !self.expiry.age_due().is_some_and(|due| due.is_reached(self.now.wall())) {
            return Ok(());
        }
        let mut cursor = self.expiry.age_cursor();
        let mut left = SLICE_MSGS;
        loop {
            let Some(msg) = self.store.next(&Filter::All, cursor)? else {
                self.expiry.set_age(cursor, None);
                return Ok(());
            };
            let (seq, due) = (msg.seq, WallNs::from_ns(msg.ts_ns).plus(max_age_ns));
            if left == 0 || !due.is_reached(self.now.wall()) {
                self.expiry.set_age(seq, Some(due));
                return Ok(());
            }
            let ttl = header(msg.headers, b"Nats-TTL").and_then(parse_ttl);
            cursor = seq + 1;
            left -= 1;
            if ttl == Some(Ttl::Never) {
                continue;
            }
            self.expire_one(seq)?;
        }
    }

    /// Finds out which message goes next by `max_age`: the one that was thought of may be gone. Looks at a bounded number;
    /// if none of these ages, the moment stays too early.
    pub(super) fn foresee_age(&mut self) {
        let mut cursor = self.expiry.age_cursor();
        for _ in 0..FORESEEN_MAX {
            if self.expiry.age_due().is_none() {
                return;
            }
            let Ok(found) = self.store.next(&Filter::All, cursor) else { return };
            let due = found.map(|msg| {
                let never = header(msg.headers, b"Nats-TTL").and_then(parse_ttl) == Some(Ttl::Never);
                (msg.seq, WallNs::from_ns(msg.ts_ns).plus(self.config.max_age_ns), never)
            });
            match due {
                Some((seq, due, false)) => return self.expiry.set_age(seq, Some(due)),
                Some((seq, _, true)) => cursor = seq + 1,
                None => self.expiry.set_age(cursor, None),
            }
        }
    }

    fn expire_by_ttl(&mut self) -> Result<(), StoreError> {
        for seq in self.expiry.due(self.now.wall(), SLICE_MSGS) {
            self.expire_one(seq)?;
            self.expiry.forget(seq);
        }
        Ok(())
    }

    /// Removes one message; or, where it is the last of its subject and the stream leaves markers, stores a marker
    /// that replaces it.
    fn expire_one(&mut self, seq: u64) -> Result<(), StoreError> {
        let marker_secs = self.config.subject_delete_marker_ttl_ns / 1_000_000_000;
        if marker_secs > 0 {
            let Some(msg) = self.store.load(seq)? else { return Ok(()) };
            let (subject, is_marker) = (msg.subject.to_vec(), is_marker(msg.headers));
            let is_last = self.store.index().get(&subject).is_some_and(|entry| entry.count == 1);
            if is_last && !is_marker && !self.config.sealed {
                self.leave_marker(&subject, marker_secs);
                // Where there was no room for a marker the message still has to go.
            }
        }
        self.remove_seq(seq, false)?;
        Ok(())
    }

    fn leave_marker(&mut self, subject: &[u8], ttl_secs: i64) {
        let ttl = GoDuration(ttl_secs.saturating_mul(1_000_000_000));
        let headers =
            format!("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: {ttl}\r\nNats-Rollup: sub\r\n\r\n");
        // The subject is one of what is stored, and is not transformed again.
        let marker = Inbound { subject, reply: b"", headers: headers.as_bytes(), payload: b"" };
        self.publish_as_is(&marker, IfLong::FindOut);
    }
}

/// Whether a message itself says that its subject is gone: then no marker follows it.
fn is_marker(headers: &[u8]) -> bool {
    header(headers, b"Nats-Marker-Reason").is_some_and(|reason| !reason.is_empty())
        || header(headers, b"KV-Operation") == Some(b"PURGE")
}
