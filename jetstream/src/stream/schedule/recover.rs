//! Finding schedules again.

use super::{SOONEST_NS, Schedules};
use crate::clock::WallNs;
use crate::filter::Filter;
use crate::store::Msg;
use crate::store::varint::{Fields, put_uvarint, put_varint};
use crate::stream::Inner;

/// The version of what is noted.
const VERSION: u8 = 1;

impl Inner {
    /// Finds the schedules of a stream that was opened.
    pub(in crate::stream) fn recover_schedules(&mut self) {
        if self.config.allow_msg_schedules {
            self.begin_schedules();
            self.look_for_schedules(usize::MAX);
        }
    }

    /// A stream that heeds schedules begins to look for them. None is due before
    /// [`look_for_schedules`](Self::look_for_schedules) has come to the end.
    pub(in crate::stream) fn begin_schedules(&mut self) {
        let now = self.now.wall();
        let noted = self.store.noted_schedules().and_then(|noted| decode(&noted, now.plus(SOONEST_NS)));
        let (schedules, from) = noted.unwrap_or_default();
        self.schedules = schedules;
        let index = self.store.index();
        self.schedules.retain(|subject, seq| index.at_or_after(subject, seq) == Some(seq));
        self.schedules.unlooked_from = Some(from);
    }

    /// Looks for schedules among `most` messages of those where that has yet to be done.
    pub(in crate::stream) fn look_for_schedules(&mut self, most: usize) {
        for _ in 0..most {
            let Some(from) = self.schedules.unlooked_from else { return };
            let next = self.store.next(&Filter::All, from).unwrap_or_else(|error| {
                tracing::error!(stream = %self.config.name, %error, "cannot look for schedules");
                None
            });
            let next = next.map(|msg| (msg.seq, msg.ts_ns, msg.subject.to_vec(), msg.headers.to_vec()));
            self.schedules.unlooked_from = next.as_ref().map(|(seq, ..)| seq.saturating_add(1));
            let Some((seq, ts_ns, subject, headers)) = next else { return };
            self.note_schedule(&Msg { seq, ts_ns, subject: &subject, headers: &headers, payload: b"" });
        }
    }

    /// What is noted of the schedules for the next start, which looks for the others.
    pub(in crate::stream) fn schedules_to_note(&self) -> Option<Vec<u8>> {
        let upto_seq = self.schedules.unlooked_from.unwrap_or(self.store.totals().last_seq + 1);
        self.config.allow_msg_schedules.then(|| self.schedules.encode(upto_seq))
    }
}

impl Schedules {
    /// As nats-server keeps it in `sched.db`; it holds up to, and not with, the message of sequence `upto_seq`.
    fn encode(&self, upto_seq: u64) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&(self.by_subject.len() as u64).to_le_bytes());
        out.extend_from_slice(&upto_seq.to_le_bytes());
        for (subject, schedule) in &self.by_subject {
            let len = u16::try_from(subject.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(subject.get(..usize::from(len)).unwrap_or_default());
            put_varint(&mut out, schedule.at.ns());
            put_uvarint(&mut out, schedule.seq);
        }
        out
    }
}

/// Reads it; gives the first sequence of which it does not tell.
fn decode(noted: &[u8], soonest: WallNs) -> Option<(Schedules, u64)> {
    let mut fields = Fields::new(noted);
    if fields.byte()? != VERSION {
        return None;
    }
    let (count, upto_seq) = (fields.u64_le()?, fields.u64_le()?);
    let mut schedules = Schedules::default();
    for _ in 0..count {
        let len = u16::from_le_bytes(fields.array()?);
        let subject = fields.bytes(usize::from(len))?;
        let (at_ns, seq) = (fields.varint()?, fields.uvarint()?);
        schedules.set(seq, subject, WallNs::from_ns(at_ns), soonest);
    }
    Some((schedules, upto_seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_back_and_a_part_of_it_is_not() {
        let mut schedules = Schedules::default();
        for (seq, subject, at) in [(3, "s.a", 1_700_000_000_000_000_000), (9, "s.b", -5)] {
            schedules.set(seq, subject.as_bytes(), WallNs::from_ns(at), WallNs::from_ns(0));
        }
        let noted = schedules.encode(10);
        let (read, upto) = decode(&noted, WallNs::from_ns(0)).unwrap();
        assert_eq!((read.len(), upto, read.by_time), (2, 10, schedules.by_time));
        for len in 0..noted.len() {
            assert!(decode(&noted[..len], WallNs::from_ns(0)).is_none(), "{len}");
        }
    }
}
