//! The documents of a backup: what its stream holds, and its consumers.

use crate::config::ConsumerConfig;
use crate::store::{ConsumerState, PendingAck, SequencePair};
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{self, Decode, Decoder, Kind, Value, go_struct};
use serde::Serialize;
use std::collections::BTreeMap;

/// What `state.json` says of the stream.
#[derive(Debug, Default, Clone)]
pub(super) struct BackupState {
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) last_time: GoTime,
    pub(super) consumers: i64,
}

go_struct! { BackupState as "StreamState" {
    "messages" => msgs, "bytes" => bytes, "first_seq" => first_seq, "last_seq" => last_seq,
    "last_ts" => last_time, "consumer_count" => consumers as Int,
} }

/// A sequence is 63 bits: the bit above is a mark in records.
const SEQ_MAX: u64 = i64::MAX.cast_unsigned();

impl BackupState {
    /// Time of the last message, nanoseconds since 1970; 0 where there never was one.
    pub(super) fn last_ts_ns(&self) -> i64 {
        if self.last_time.is_zero() { 0 } else { self.last_time.ns() }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in nats-server's words.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        let mut state = Self::default();
        json::decode_lenient(document, &mut state)
            .map_err(|error| format!("error in state.json: {error}"))?;
        let invalid = |what: &str| Err(format!("invalid stream state: {what}"));
        let Self { msgs, first_seq, last_seq, consumers, .. } = state;
        if consumers < 0 {
            return invalid("negative consumer count");
        }
        if first_seq > SEQ_MAX || last_seq > SEQ_MAX {
            return invalid("sequence out of range");
        }
        let is_empty = msgs == 0 && (first_seq == last_seq + 1 || (first_seq == 0 && last_seq == 0));
        if !is_empty && (first_seq == 0 || first_seq > last_seq) {
            return invalid("inconsistent message count or sequence range");
        }
        if !is_empty && msgs > last_seq - first_seq + 1 {
            return invalid("message count exceeds sequence range");
        }
        Ok(state)
    }
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Pair {
    consumer_seq: u64,
    stream_seq: u64,
}

go_struct! { Pair as "SequencePair" { "consumer_seq" => consumer_seq, "stream_seq" => stream_seq, } }

impl From<SequencePair> for Pair {
    fn from(pair: SequencePair) -> Self {
        Self { consumer_seq: pair.consumer_seq, stream_seq: pair.stream_seq }
    }
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Pending {
    #[serde(rename = "Sequence")]
    seq: u64,
    #[serde(rename = "Timestamp")]
    ts_ns: i64,
}

go_struct! { Pending as "Pending" { "Sequence" => seq, "Timestamp" => ts_ns, } }

/// Something by sequence.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
struct BySeq<T>(BTreeMap<u64, T>);

impl<T> BySeq<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Decode + Default> Decode for BySeq<T> {
    fn go_type() -> &'static str {
        "map[uint64]"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Null => self.0.clear(),
            Kind::Object => value.for_each_field(|key, field| match key.parse() {
                Ok(seq) => {
                    let mut item = T::default();
                    item.decode(field, decoder);
                    self.0.insert(seq, item);
                }
                Err(_) => decoder.mismatch(&format!("number {key}"), "uint64"),
            }),
            _ => decoder.fail_mismatch(value, Self::go_type()),
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct State {
    delivered: Pair,
    ack_floor: Pair,
    #[serde(skip_serializing_if = "BySeq::is_empty")]
    pending: BySeq<Pending>,
    #[serde(skip_serializing_if = "BySeq::is_empty")]
    redelivered: BySeq<u64>,
}

go_struct! { State as "ConsumerState" {
    "delivered" => delivered, "ack_floor" => ack_floor, "pending" => pending, "redelivered" => redelivered,
} }

#[derive(Serialize)]
struct ConsumerOut<'a> {
    config: &'a ConsumerConfig,
    state: State,
}

#[derive(Default)]
struct ConsumerIn {
    config: Option<ConsumerConfig>,
    state: Option<State>,
}

go_struct! { ConsumerIn as "SnapshotConsumerState" { "config" => config, "state" => state, } }

/// The document of a consumer in a backup whose last message is `last_seq`: what came after that is not in its state.
pub(super) fn consumer_document(config: &ConsumerConfig, state: &ConsumerState, last_seq: u64) -> Vec<u8> {
    let bounded = |pair: SequencePair| Pair { stream_seq: pair.stream_seq.min(last_seq), ..pair.into() };
    let pending = state
        .pending
        .range(..=last_seq)
        .map(|(seq, pending)| (*seq, Pending { seq: pending.consumer_seq, ts_ns: pending.ts_ns }));
    let state = State {
        delivered: bounded(state.delivered),
        ack_floor: bounded(state.ack_floor),
        pending: BySeq(pending.collect()),
        redelivered: BySeq(state.redelivered.range(..=last_seq).map(|(seq, count)| (*seq, *count)).collect()),
    };
    json::to_vec(&ConsumerOut { config, state })
}

/// Reads the document of the consumer `name`.
///
/// # Errors
/// What is wrong with it, in nats-server's words.
pub(super) fn read_consumer(name: &str, document: &[u8]) -> Result<(ConsumerConfig, ConsumerState), String> {
    let mut read = ConsumerIn::default();
    let quoted = jetkv_go_compat::quoted(name.as_bytes());
    json::decode_lenient(document, &mut read)
        .map_err(|error| format!("failed to decode consumer {quoted} state: {error}"))?;
    let config = read.config.ok_or_else(|| format!("consumer {quoted} is missing config"))?;
    let state = read.state.ok_or_else(|| format!("consumer {quoted} is missing state"))?;
    let pair = |pair: Pair| SequencePair { consumer_seq: pair.consumer_seq, stream_seq: pair.stream_seq };
    let mut state = ConsumerState {
        delivered: pair(state.delivered),
        ack_floor: pair(state.ack_floor),
        pending: state
            .pending
            .0
            .into_iter()
            .map(|(seq, pending)| (seq, PendingAck { consumer_seq: pending.seq, ts_ns: pending.ts_ns }))
            .collect(),
        redelivered: state.redelivered.0,
        is_doubtful: false,
    };
    state.is_doubtful = state.contradicts_itself();
    check_state(&state).map_err(|error| format!("failed to set consumer {quoted} state: {error}"))?;
    Ok((config, state))
}

/// Whether a consumer can have come to such a state.
///
/// # Errors
/// Why not, in nats-server's words.
fn check_state(state: &ConsumerState) -> Result<(), String> {
    let ConsumerState { delivered, ack_floor, pending, redelivered, is_doubtful: _ } = state;
    if ack_floor.consumer_seq > delivered.consumer_seq {
        return Err("bad ack floor for consumer".to_owned());
    }
    if ack_floor.stream_seq > delivered.stream_seq || delivered.stream_seq > SEQ_MAX {
        return Err("bad ack floor for stream".to_owned());
    }
    let awaited = ack_floor.stream_seq + 1..=delivered.stream_seq;
    if let Some(seq) = pending.keys().find(|seq| !awaited.contains(seq)) {
        return Err(format!("bad pending entry, sequence [{seq}] out of range"));
    }
    if let Some(seq) = redelivered.keys().find(|seq| **seq == 0 || **seq > SEQ_MAX) {
        return Err(format!("bad redelivered entry, sequence [{seq}] out of range"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ConsumerState {
        ConsumerState {
            delivered: SequencePair { consumer_seq: 9, stream_seq: 30 },
            ack_floor: SequencePair { consumer_seq: 2, stream_seq: 4 },
            pending: [
                (5, PendingAck { consumer_seq: 3, ts_ns: 7 }),
                (30, PendingAck { consumer_seq: 9, ts_ns: 8 }),
            ]
            .into(),
            redelivered: [(5, 2)].into(),
            is_doubtful: false,
        }
    }

    #[test]
    fn a_consumer_comes_back_from_its_document_without_what_came_after_the_last_message() {
        let config =
            ConsumerConfig { durable: "d".to_owned(), name: "d".to_owned(), ..ConsumerConfig::default() };
        let document = consumer_document(&config, &sample(), 30);
        assert_eq!(read_consumer("d", &document).unwrap(), (config.clone(), sample()));
        let (_, bounded) = read_consumer("d", &consumer_document(&config, &sample(), 20)).unwrap();
        assert_eq!(bounded.delivered, SequencePair { consumer_seq: 9, stream_seq: 20 });
        assert_eq!(bounded.pending.len(), 1);
    }

    #[test]
    fn what_no_consumer_can_have_come_to_is_refused() {
        for (document, wanted) in [
            ("{", "failed to decode consumer \"c\" state"),
            (r#"{"state":{}}"#, "consumer \"c\" is missing config"),
            (r#"{"config":{}}"#, "consumer \"c\" is missing state"),
            (r#"{"config":{},"state":{"ack_floor":{"consumer_seq":1}}}"#, "bad ack floor for consumer"),
            (r#"{"config":{},"state":{"ack_floor":{"stream_seq":1}}}"#, "bad ack floor for stream"),
            (r#"{"config":{},"state":{"pending":{"7":{"Sequence":1}}}}"#, "bad pending entry, sequence [7]"),
            (r#"{"config":{},"state":{"pending":{"x":{}}}}"#, "failed to decode"),
        ] {
            let error = read_consumer("c", document.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{document}: {error}");
        }
    }

    #[test]
    fn states_that_contradict_themselves_are_refused() {
        for (document, wanted) in [
            (r#"{"consumer_count":-1}"#, "negative consumer count"),
            (r#"{"messages":1}"#, "inconsistent"),
            (r#"{"first_seq":5,"last_seq":3}"#, "inconsistent"),
            (r#"{"first_seq":4,"last_seq":3,"messages":1}"#, "inconsistent"),
            (r#"{"first_seq":1,"last_seq":3,"messages":4}"#, "exceeds sequence range"),
            (r#"{"first_seq":1,"last_seq":18446744073709551615}"#, "out of range"),
        ] {
            let error = BackupState::read(document.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{document}: {error}");
        }
        for document in
            [r#"{}"#, r#"{"first_seq":4,"last_seq":3}"#, r#"{"first_seq":1,"last_seq":3,"messages":3}"#]
        {
            BackupState::read(document.as_bytes()).unwrap();
        }
    }
}
