//! What came from origins and waits to be taken in.

use crate::message::OutMsg;
use crate::outbox::Outbox;
use parking_lot::Mutex;

/// What came for one stream. Whoever brings something never waits for the stream.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The messages; whom each is for is its channel.
    msgs: Outbox,
    /// There is something to be done besides.
    is_woken: bool,
    /// Somebody was called to take it in, and has not ended.
    is_called: bool,
    /// Somebody is taking it in.
    is_running: bool,
}

impl Inbox {
    /// Adds a message. Says whether somebody has to be called.
    #[must_use]
    pub(crate) fn push(&self, channel: u64, msg: &OutMsg<'_>) -> bool {
        let mut waiting = self.0.lock();
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
