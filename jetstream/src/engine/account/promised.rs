//! What the streams of an account were promised by their `max_bytes`, summed up by what their limits go by.

use crate::config::{StorageType, StreamConfig};
use std::collections::BTreeMap;

/// How many streams, and what they were promised: more than fits into the numbers of a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    streams: usize,
    bytes: i128,
}

/// Sums by the number of replicas and by storage.
#[derive(Debug, Clone, Default)]
pub(super) struct Promised {
    sums: BTreeMap<(i64, bool), Sum>,
}

fn kind(config: &StreamConfig) -> (i64, bool) {
    (config.num_replicas.max(1), config.storage.is_memory())
}

impl Promised {
    pub(super) fn add(&mut self, config: &StreamConfig) {
        let sum = self.sums.entry(kind(config)).or_default();
        sum.streams += 1;
        sum.bytes += i128::from(config.max_bytes.max(0));
    }

    /// Takes away what was added of the same configuration.
    pub(super) fn remove(&mut self, config: &StreamConfig) {
        let kind = kind(config);
        let Some(sum) = self.sums.get_mut(&kind) else { return };
        sum.streams = sum.streams.saturating_sub(1);
        sum.bytes -= i128::from(config.max_bytes.max(0));
        if sum.streams == 0 {
            self.sums.remove(&kind);
        }
    }

    /// Streams of so many replicas, or of all.
    pub(super) fn streams(&self, replicas: Option<i64>) -> usize {
        let counts = |known: i64| replicas.is_none_or(|replicas| replicas.max(1) == known);
        self.sums.iter().filter(|((known, _), _)| counts(*known)).map(|(_, sum)| sum.streams).sum()
    }

    /// Bytes promised to streams of a storage type, of so many replicas or of all.
    pub(super) fn bytes(&self, storage: StorageType, replicas: Option<i64>) -> i128 {
        let counts = |known: i64| replicas.is_none_or(|replicas| replicas.max(1) == known);
        self.of(storage).filter(|(known, _)| counts(*known)).map(|(_, sum)| sum.bytes).sum()
    }

    /// As [`bytes`](Self::bytes) of all, each replica counted.
    pub(super) fn replicated_bytes(&self, storage: StorageType) -> i128 {
        let each = self.of(storage).map(|(replicas, sum)| sum.bytes.saturating_mul(i128::from(replicas)));
        each.fold(0, i128::saturating_add)
    }

    fn of(&self, storage: StorageType) -> impl Iterator<Item = (i64, &Sum)> {
        let is_wanted = move |memory: bool| memory == storage.is_memory();
        self.sums
            .iter()
            .filter(move |((_, memory), _)| is_wanted(*memory))
            .map(|((known, _), sum)| (*known, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(num_replicas: i64, max_bytes: i64, storage: StorageType) -> StreamConfig {
        StreamConfig { num_replicas, max_bytes, storage, ..StreamConfig::default() }
    }

    #[test]
    fn sums_are_those_of_what_is_there() {
        let mut promised = Promised::default();
        let configs = [
            stream(0, 100, StorageType::File),
            stream(1, -1, StorageType::File),
            stream(3, 50, StorageType::File),
            stream(1, i64::MAX, StorageType::Memory),
            stream(1, i64::MAX, StorageType::Memory),
        ];
        configs.iter().for_each(|config| promised.add(config));
        assert_eq!((promised.streams(None), promised.streams(Some(0)), promised.streams(Some(3))), (5, 4, 1));
        assert_eq!(promised.bytes(StorageType::File, None), 150);
        assert_eq!(promised.bytes(StorageType::File, Some(1)), 100);
        assert_eq!(promised.replicated_bytes(StorageType::File), 250);
        assert_eq!(promised.bytes(StorageType::Memory, None), 2 * i128::from(i64::MAX));
        configs.iter().for_each(|config| promised.remove(config));
        assert_eq!((promised.streams(None), promised.bytes(StorageType::Memory, None)), (0, 0));
        assert!(promised.sums.is_empty());
    }
}
