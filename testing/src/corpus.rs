//! The corpora of the fuzz targets, which replay as ordinary tests.

use std::fs;
use std::path::Path;

/// Has `check` look at all that a fuzz target has found worth keeping, at least so many seeds, and at what becomes of each by
/// one change: cut off, or with the bits of `flips` flipped in one place, at every `step`th byte.
///
/// # Panics
/// There are fewer seeds, or `check` does.
pub fn replay(target: &str, seeds_min: usize, step: usize, flips: u8, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        for at in (0..bytes.len()).step_by(step) {
            check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= flips;
            check(&changed);
        }
        seeds += 1;
    }
    assert!(seeds >= seeds_min, "only {seeds} seeds in {}", folder.display());
}
