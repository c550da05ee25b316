//! What goes while a question is asked in slices.

/// So many removals are noted for one who asks; with more the question is asked anew.
const NOTED_MAX: usize = 4096;

/// Those who ask in slices, and what was removed since the last slice of each.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    watches: Vec<(WatchId, Gone)>,
    next: u64,
}

/// One who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchId(u64);

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Sequences and subjects.
    pub(crate) msgs: Vec<(u64, Box<[u8]>)>,
    /// There was more, or something came back: what was found out so far does not hold.
    pub(crate) is_more: bool,
}

impl Removals {
    /// Begins to note what is removed. [`Removals::end`] follows.
    pub(crate) fn watch(&mut self) -> WatchId {
        let id = WatchId(self.next);
        self.next += 1;
        self.watches.push((id, Gone::default()));
        id
    }

    /// What was removed since the last call.
    pub(crate) fn take(&mut self, id: WatchId) -> Gone {
        let held = self.watches.iter_mut().find(|(held, _)| *held == id);
        held.map(|(_, gone)| std::mem::take(gone)).unwrap_or_default()
    }

    /// Nobody asks for it any more.
    pub(crate) fn end(&mut self, id: WatchId) {
        self.watches.retain(|(held, _)| *held != id);
    }

    /// A message was removed.
    #[inline]
    pub(crate) fn note(&mut self, seq: u64, subject: &[u8]) {
        if !self.watches.is_empty() {
            self.tell(seq, subject);
        }
    }

    fn tell(&mut self, seq: u64, subject: &[u8]) {
        for (_, gone) in &mut self.watches {
            if gone.msgs.len() < NOTED_MAX && !gone.is_more {
                gone.msgs.push((seq, subject.into()));
            } else {
                *gone = Gone { msgs: Vec::new(), is_more: true };
            }
        }
    }

    /// Many messages were removed, or removals were taken back.
    pub(crate) fn note_many(&mut self) {
        for (_, gone) in &mut self.watches {
            *gone = Gone { msgs: Vec::new(), is_more: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_who_asks_hears_of_what_went_since() {
        let mut removals = Removals::default();
        removals.note(1, b"a");
        let one = removals.watch();
        removals.note(2, b"b");
        let other = removals.watch();
        removals.note(3, b"c");
        let seqs = |gone: &Gone| gone.msgs.iter().map(|(seq, _)| *seq).collect::<Vec<u64>>();
        assert_eq!(seqs(&removals.take(one)), [2, 3]);
        assert_eq!(seqs(&removals.take(other)), [3]);
        assert_eq!(removals.take(other), Gone::default());
        for seq in 0..=NOTED_MAX as u64 {
            removals.note(seq, b"d");
        }
        assert_eq!(removals.take(one), Gone { msgs: Vec::new(), is_more: true });
        removals.note_many();
        assert!(removals.take(one).is_more);
        removals.end(one);
        removals.end(other);
        assert!(removals.watches.is_empty());
    }
}
