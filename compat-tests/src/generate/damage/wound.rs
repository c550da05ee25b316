//! How a file is damaged.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::random::Random;

/// The longest run of bytes that is overwritten, cut out or added.
const RUN_MAX: u64 = 80;

/// Damages one file of the store at `root`, seldom two. What was done, as a text.
///
/// # Errors
/// I/O.
pub(super) fn inflict(random: &mut Random, root: &Path, files: &[PathBuf]) -> Result<String> {
    let count = if random.chance(15) { 2 } else { 1 };
    let mut told = Vec::new();
    for _ in 0..count {
        let file = random.pick(files);
        let other = random.pick(files);
        let what = damage(random, &root.join(&file), &root.join(&other), root)?;
        told.push(format!("{} {what}", file.display()));
    }
    Ok(told.join(" and "))
}

fn damage(random: &mut Random, file: &Path, other: &Path, root: &Path) -> Result<String> {
    let mut bytes = std::fs::read(file).unwrap_or_default();
    let at = random.index(bytes.len()).unwrap_or_default();
    let run = usize::try_from(random.below(RUN_MAX) + 1).unwrap_or(1);
    let end = at.saturating_add(run).min(bytes.len());
    let told = match random.below(12) {
        0..=2 => {
            let bit = random.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            format!("has bit {bit} of byte {at} flipped")
        }
        3 => overwrite(random, &mut bytes, at..end),
        4..=5 => {
            bytes.truncate(at);
            format!("ends at {at}")
        }
        6 => {
            bytes.clear();
            "is empty".to_string()
        }
        7..=8 => {
            std::fs::remove_file(file)?;
            return Ok("is gone".to_string());
        }
        9 => {
            bytes.extend(std::iter::repeat_with(|| random.next().to_le_bytes()).take(run).flatten());
            format!("has {run} words more at the end")
        }
        10 => {
            bytes.drain(at..end);
            format!("has nothing of {at} to {end}")
        }
        _ => {
            bytes = std::fs::read(other).unwrap_or_default();
            format!("is {}", other.strip_prefix(root).unwrap_or(other).display())
        }
    };
    std::fs::write(file, bytes)?;
    Ok(told)
}

fn overwrite(random: &mut Random, bytes: &mut [u8], run: std::ops::Range<usize>) -> String {
    let value: Option<u8> = random.pick(&[Some(0), Some(0xff), None]);
    let told = format!("has {value:?} at {} to {}", run.start, run.end);
    for byte in bytes.get_mut(run).unwrap_or_default() {
        *byte = value.unwrap_or_else(|| random.next().to_le_bytes()[0]);
    }
    told
}
