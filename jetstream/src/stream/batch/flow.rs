//! What the reply subject of a fast batch asks for, and the flow control that answers it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::headers::header;
use crate::message::Inbound;
use crate::stream::write::parse_u64;

/// Reply subjects with this ending ask for a fast batch.
pub(in crate::stream) const SUFFIX: &[u8] = b".$FI";
/// How reply subjects begin that lead back to another account.
const SERVICE_REPLY: &[u8] = b"_R_.";
/// The header that says who asks from there.
const REQUEST_INFO: &[u8] = b"Nats-Request-Info";
/// Messages between two answers, unless the publisher says otherwise.
const FLOW_DEFAULT: u16 = 10;
/// Messages between two answers that all publishers share.
const FLOW_SHARED: usize = 500;

/// A message of a fast batch, by its reply subject:
/// `<prefix>.<id>.<flow>.<gap mode>.<sequence>.<operation>.$FI`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) id: &'a [u8],
    pub(super) seq: u64,
    /// Most messages between two answers.
    pub(super) flow: u16,
    /// Whether messages may be missing.
    pub(super) gap_ok: bool,
    /// It brings no message and wants an answer.
    pub(super) ping: bool,
    /// It ends the batch.
    pub(super) commit: bool,
    /// It ends the batch and brings no message.
    pub(super) by_end: bool,
}

impl<'a> Asked<'a> {
    /// Reads a reply subject that has the ending; `None` where it is not sound.
    pub(super) fn parse(reply: &'a [u8]) -> Option<Self> {
        let mut tokens = reply.strip_suffix(SUFFIX)?.rsplitn(6, |byte| *byte == b'.');
        let mut token = || tokens.next();
        let operation = parse_u64(token()?).filter(|operation| *operation <= 4)?;
        let seq = parse_u64(token()?).filter(|seq| *seq != 0 && *seq != u64::MAX)?;
        let by_end = operation == 3;
        let misplaced = match operation {
            0 => seq != 1,
            1 | 3 => seq == 1,
            _ => false,
        };
        let gap_ok = match token()? {
            b"ok" => true,
            b"fail" => false,
            _ => return None,
        };
        let flow = parse_u64(token()?).and_then(|flow| i64::try_from(flow).ok()).filter(|flow| *flow > 0);
        let flow = flow.map_or(FLOW_DEFAULT, |flow| u16::try_from(flow).unwrap_or(u16::MAX));
        let id = token()?;
        // Something stands before the id.
        token()?;
        let (ping, commit) = (operation == 4, by_end || operation == 2);
        (!misplaced).then_some(Self { id, seq, flow, gap_ok, ping, commit, by_end })
    }
}

/// The reply subject that asks for a fast batch, if a message has one: its own, or, where it came by a service of another
/// account, the one that it had there.
pub(in crate::stream) fn reply<'m>(msg: &Inbound<'m>) -> Option<Cow<'m, [u8]>> {
    if msg.reply.ends_with(SUFFIX) {
        return Some(Cow::Borrowed(msg.reply));
    }
    if !msg.reply.starts_with(SERVICE_REPLY) {
        return None;
    }
    #[derive(Deserialize)]
    struct Asker {
        reply: String,
    }
    let asker: Asker = serde_json::from_slice(header(msg.headers, REQUEST_INFO)?).ok()?;
    let reply = asker.reply.into_bytes();
    reply.ends_with(SUFFIX).then_some(Cow::Owned(reply))
}

/// How often the publisher of a batch is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    /// After so many messages.
    pub(super) msgs: u16,
    most: u16,
    /// The batch sequence that was answered last.
    pub(super) answered_seq: u64,
}

impl Flow {
    /// Of a batch that begins when `open` are open with it.
    pub(super) fn new(most: u16, open: usize) -> Self {
        let msgs = if open > 1 { 1 } else { share(1).min(most) };
        Self { msgs, most, answered_seq: 0 }
    }

    /// Whether an answer is due now that the message `persisted_seq` is stored, while `open` batches are open; speeds the
    /// publisher up or slows it down.
    pub(super) fn is_due(&mut self, persisted_seq: u64, open: usize) -> bool {
        let every = u64::from(self.msgs).max(1);
        let steps = persisted_seq.saturating_sub(self.answered_seq) / every;
        if steps == 0 {
            return false;
        }
        self.answered_seq += steps * every;
        let most = share(open).min(self.most);
        self.msgs =
            if self.msgs < most { self.msgs.saturating_mul(2).min(most) } else { (self.msgs / 2).max(most) };
        true
    }
}

fn share(open: usize) -> u16 {
    u16::try_from(FLOW_SHARED / open.max(1)).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_subject_says_what_a_message_is() {
        let asked = Asked::parse(b"_INBOX.a.b.uuid.25.ok.7.1.$FI").unwrap();
        assert_eq!((asked.id, asked.seq, asked.flow, asked.gap_ok), (&b"uuid"[..], 7, 25, true));
        assert!(!asked.commit && !asked.ping);
        assert!(Asked::parse(b"i.u.0.fail.2.2.$FI").unwrap().commit);
        assert_eq!(Asked::parse(b"i.u.x.fail.2.4.$FI").unwrap().flow, 10);
        assert_eq!(Asked::parse(b"i.u.99999.fail.2.3.$FI").unwrap().flow, u16::MAX);
        for reply in [
            "x.$FI",
            "u.1.ok.1.0.$FI",
            "i.u.1.ok.2.0.$FI",
            "i.u.1.ok.1.1.$FI",
            "i.u.1.ok.1.3.$FI",
            "i.u.1.ok.1.5.$FI",
            "i.u.1.ok.0.1.$FI",
            "i.u.1.ok.x.1.$FI",
            "i.u.1.maybe.2.1.$FI",
            "i.u.1.ok.2..$FI",
            "i.u.1.ok.18446744073709551615.1.$FI",
        ] {
            assert!(Asked::parse(reply.as_bytes()).is_none(), "{reply}");
        }
    }

    #[test]
    fn answers_become_rarer_up_to_the_share_of_a_publisher() {
        let mut flow = Flow::new(8, 2);
        let due: Vec<u64> = (1..40).filter(|seq| flow.is_due(*seq, 2)).collect();
        assert_eq!(due, [1, 3, 7, 15, 23, 31, 39]);
        assert!(flow.is_due(47, 500) && flow.msgs == 4, "others came");
        assert_eq!(Flow::new(1000, 1).msgs, 500);
    }
}
