//! The corpora of the fuzz targets, which replay as ordinary tests, and what chance makes of them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mutation::Mutator;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// What a fuzz target has found worth keeping, in the order of the files' names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Has `check` look at all that a fuzz target has found worth keeping, at least so many seeds, and at what becomes of each by
/// one change: cut off, or with the bits of `flips` flipped in one place, at every `step`th byte.
///
/// # Panics
/// There are fewer seeds, or `check` does.
pub fn replay(target: &str, seeds_min: usize, step: usize, flips: u8, check: impl Fn(&[u8])) {
    let seeds = seeds(target);
    assert!(seeds.len() >= seeds_min, "only {} seeds in {}", seeds.len(), folder(target).display());
    for bytes in seeds {
        check(&bytes);
        for at in (0..bytes.len()).step_by(step) {
            check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= flips;
            check(&changed);
        }
    }
}

/// Has `check` look at `rounds` inputs that are made from the corpus of a fuzz target by chance, the same ones in every run.
///
/// # Panics
/// `check` does; what it looked at stands in the output then.
pub fn mutate(target: &str, rounds: usize, check: impl Fn(&[u8])) {
    let mut mutator = Mutator::new(0, seeds(target));
    for _ in 0..rounds {
        look(target, &mutator.input(), &check);
    }
}

/// The same, for as long as `time`, with inputs that `seed` decides about. Tells how many they were.
///
/// # Panics
/// `check` does.
pub fn mutate_for(target: &str, time: Duration, seed: u64, check: impl Fn(&[u8])) -> u64 {
    let mut mutator = Mutator::new(seed, seeds(target));
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        look(target, &mutator.input(), &check);
        count += 1;
    }
    count
}

fn look(target: &str, input: &[u8], check: impl Fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        eprintln!("{target} breaks with b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}
