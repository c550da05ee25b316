//! What came from origins and waits to be taken in.

use crate::message::OutMsg;
use crate::outbox::Outbox;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Bytes that may wait of one channel. Twice the window of a consumer's flow control: who sends more does not heed it, and what is
/// dropped of that is missed, and asked for again, as any gap is.
const CHANNEL_BYTES_MAX: usize = 64 << 20;
/// What a message takes beside its own bytes.
const MSG_BYTES: usize = 128;

/// What came for one stream. Whoever brings something never waits for the stream.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The messages; whom each is for is its channel.
    msgs: Outbox,
    /// How much of that came on each channel.
    bytes: HashMap<u64, usize>,
    /// There is something to be done besides.
    is_woken: bool,
    /// Somebody was called to take it in, and has not ended.
    is_called: bool,
    /// Somebody is taking it in.
    is_running: bool,
}

impl Inbox {
    /// Adds a message, unless too much waits. Says whether somebody has to be called.
    #[must_use]
    pub(crate) fn push(&self, channel: u64, msg: &OutMsg<'_>) -> bool {
        let mut waiting = self.0.lock();
        let size_bytes = msg.subject.len() + msg.reply.len() + msg.headers.len() + msg.payload.len();
        let bytes = waiting.bytes.entry(channel).or_default();
        if *bytes >= CHANNEL_BYTES_MAX {
            return false;
        }
        *bytes += size_bytes + MSG_BYTES;
        waiting.msgs.push(OutMsg { to: &channel.to_le_bytes(), ..*msg });
        !std::mem::replace(&mut waiting.is_called, true)
    }

    /// Something is to be done besides. Says whether somebody has to be called.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        let mut waiting = self.0.lock();
        waiting.is_woken = true;
        !std::mem::replace(&mut waiting.is_called, true)
    }

    /// Begins to take in. Says whether there is nobody else who does.
    pub(crate) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.0.lock().is_running, true)
    }

    /// Takes what there is into `msgs`, which is empty; ends where there is nothing.
    pub(crate) fn take(&self, msgs: &mut Outbox) -> bool {
        let mut waiting = self.0.lock();
        if waiting.msgs.is_empty() && !waiting.is_woken {
            waiting.is_called = false;
            waiting.is_running = false;
            return false;
        }
        waiting.is_woken = false;
        waiting.bytes.clear();
        std::mem::swap(&mut waiting.msgs, msgs);
        true
    }
}

/// The channel that a waiting message came on.
pub(crate) fn channel_of(msg: &OutMsg<'_>) -> u64 {
    msg.to.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_without_end_is_not_kept_without_end() {
        let inbox = Inbox::default();
        let payload = vec![0; 1 << 20];
        let msg = OutMsg { to: b"a", subject: b"a", reply: b"", headers: b"", payload: &payload };
        let pushed = |channel: u64, count: usize| {
            (0..count).for_each(|_| {
                let _ = inbox.push(channel, &msg);
            });
        };
        pushed(1, 100);
        pushed(2, 1);
        let mut msgs = Outbox::new();
        assert!(inbox.take(&mut msgs));
        assert_eq!(msgs.iter().filter(|msg| channel_of(msg) == 1).count(), 64);
        assert_eq!(msgs.iter().filter(|msg| channel_of(msg) == 2).count(), 1, "others are heard");
        msgs.clear();
        pushed(1, 1);
        assert!(inbox.take(&mut msgs));
        assert_eq!(msgs.len(), 1, "there is room again");
    }

    #[test]
    fn one_is_called_and_takes_all() {
        let inbox = Inbox::default();
        let msg = OutMsg { to: b"a", subject: b"a", reply: b"r", headers: b"", payload: b"x" };
        assert!(inbox.push(7, &msg));
        assert!(!inbox.push(8, &msg) && !inbox.wake(), "somebody was called");
        assert!(inbox.begin() && !inbox.begin());
        let mut msgs = Outbox::new();
        assert!(inbox.take(&mut msgs));
        assert_eq!(
            msgs.iter().map(|msg| (channel_of(&msg), msg.subject.to_vec())).collect::<Vec<_>>(),
            [(7, b"a".to_vec()), (8, b"a".to_vec())]
        );
        msgs.clear();
        assert!(!inbox.take(&mut msgs));
        assert!(inbox.wake(), "nobody is there any more");
    }
}
