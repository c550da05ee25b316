//! Inputs that are made from others by chance, the same ones for the same seed.

/// Changes that one input gets at most.
const CHANGES_MAX: usize = 8;
/// Longest piece that a change takes out, repeats or puts in.
const PIECE_MAX: usize = 64;
/// An input that would become longer is cut.
const INPUT_MAX: usize = 1 << 16;

/// Numbers and marks at which parsers turn.
const WORDS: [&[u8]; 14] = [
    b"\r\n",
    b"\0",
    b" ",
    b".",
    b"*",
    b">",
    b"{",
    b"}",
    b"\"",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0\0\0\0\0",
];

/// Makes inputs from those of a corpus.
pub(crate) struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self { state: seed, corpus }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A part of `of` that is not too long.
    fn piece<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let start = self.below(of.len() + 1);
        let length = self.below(PIECE_MAX.min(of.len() - start) + 1);
        &of[start..start + length]
    }

    /// One of the corpus, changed in some places.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        let chosen = self.below(self.corpus.len());
        let mut input = self.corpus.get(chosen).cloned().unwrap_or_default();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(9) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..at + self.below(PIECE_MAX.min(input.len() - at) + 1))),
            2 => input.insert(at, self.byte()),
            3 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let again = self.piece(&input.clone()).repeat(1 + self.below(4));
                input.splice(at..at, again);
            }
            5 => {
                let chosen = self.below(self.corpus.len());
                let other = self.corpus.get(chosen).cloned().unwrap_or_default();
                let piece = self.piece(&other).to_vec();
                input.splice(at..at, piece);
            }
            6 => self.change_byte(input, |byte, by| byte ^ (1 << (by & 7))),
            7 => self.change_byte(input, u8::wrapping_add),
            _ => self.change_byte(input, |_, by| by),
        }
    }

    fn change_byte(&mut self, input: &mut [u8], change: impl FnOnce(u8, u8) -> u8) {
        let (at, by) = (self.below(input.len()), self.byte());
        if let Some(byte) = input.get_mut(at) {
            *byte = change(*byte, by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(seed: u64) -> Vec<Vec<u8>> {
        let corpus = vec![b"PUB foo 2\r\nhi\r\n".to_vec(), b"SUB foo.* 1\r\n".to_vec(), Vec::new()];
        let mut mutator = Mutator::new(seed, corpus);
        (0..2000).map(|_| mutator.input()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_one_others() {
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn inputs_become_shorter_and_longer_and_seldom_the_same() {
        let made = inputs(3);
        let distinct: std::collections::BTreeSet<_> = made.iter().collect();
        assert!(distinct.len() > 1500, "{}", distinct.len());
        assert!(made.iter().any(|input| input.len() > 40) && made.iter().any(|input| input.len() == 1));
    }
}
