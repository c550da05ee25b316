//! Streams and consumers as they are kept on disk, in nats-server's JSON.

use crate::config::consumer::ConsumerConfig;
use crate::config::consumer_rules;
use crate::config::metadata::unserved_level;
use crate::config::{Compression, ConfigLimits, PersistMode, Retention, StreamConfig, check};
use crate::consumer::{Change, ConsumerStore, Staged, ToStage};
use crate::error::ApiError;
use crate::settings::ConsumerSettings;
use crate::store::file::{FileOptions, StateFile, StateSave, Storage, StreamLimits};
use crate::store::{ConsumerState, StoreError};
use crate::stream::Host;
use hashbrown::HashMap;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{self, Decode, go_struct};
use jetkv_go_compat::quoted;
use jetkv_go_compat::version::API_LEVEL;
use jetkv_protocol::subject::is_valid_text;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `meta.inf` of a stream.
#[derive(Default, Serialize)]
struct StreamMeta {
    #[serde(rename = "Created")]
    created: GoTime,
    #[serde(flatten)]
    config: StreamConfig,
}

go_struct! { StreamMeta as "FileStreamInfo" {
    embed "StreamConfig" => config: StreamConfig, "Created" => created,
} }

/// `meta.inf` of a consumer.
#[derive(Default, Serialize)]
struct ConsumerMeta {
    #[serde(rename = "Created")]
    created: GoTime,
    #[serde(rename = "Name")]
    name: String,
    #[serde(flatten)]
    config: ConsumerConfig,
}

go_struct! { ConsumerMeta as "FileConsumerInfo" {
    embed "ConsumerConfig" => config: ConsumerConfig, "Created" => created, "Name" => name,
} }

/// The metadata of a stream as it is written.
pub(super) fn encode_stream(created_ns: i64, config: &StreamConfig) -> Vec<u8> {
    json::to_vec(&StreamMeta { created: GoTime::from_ns(created_ns), config: config.clone() })
}

/// Reads the metadata of a stream; gives when it was created, and its configuration.
pub(super) fn decode_stream(meta: &[u8]) -> Result<(i64, StreamConfig), String> {
    let mut read = StreamMeta::default();
    json::decode_lenient(meta, &mut read)?;
    repair_subjects(&mut read.config)?;
    if read.config.mirror.is_some() {
        // Older servers let mirrors have both.
        read.config.subjects.clear();
        read.config.duplicate_window_ns = 0;
    }
    let refused = |error: ApiError| error.description.into_owned();
    let config = check(&read.config, &ConfigLimits::default(), false, &|_| None).map_err(refused)?;
    Ok((read.created.ns(), config))
}

/// Older servers let subjects begin and end with blanks, which no subject holds: the stream is served without them
/// (nats-server v2.15.2). On the disk they stay.
fn repair_subjects(config: &mut StreamConfig) -> Result<(), String> {
    for subject in config.subjects.iter_mut().filter(|subject| !is_valid_text(subject.as_bytes())) {
        let repaired = subject.trim();
        if !is_valid_text(repaired.as_bytes()) {
            return Err("invalid subject".to_owned());
        }
        let (bad, good) = (quoted(subject.as_bytes()), quoted(repaired));
        tracing::warn!("stream '{}': bad subject {bad} repaired to {good}", config.name);
        *subject = repaired.to_owned();
    }
    Ok(())
}

/// Reads the metadata of a consumer; gives when it was created, and its configuration.
pub(super) fn decode_consumer(meta: &[u8]) -> Result<(i64, ConsumerConfig), String> {
    let mut read = ConsumerMeta::default();
    json::decode_lenient(meta, &mut read)?;
    Ok((read.created.ns(), read.config))
}

/// What is understood of the metadata of a newer server, and why it is that of one (nats-server v2.15.2, in its words): it needs
/// an API level that this one does not have, or says what nobody knows here. What every start reads is read once for that.
fn decode_newer<T: Default + Decode>(
    meta: &[u8],
    metadata: impl Fn(&T) -> &BTreeMap<String, String>,
) -> Option<(T, String)> {
    let mut known = T::default();
    let unknown = json::decode_strict(meta, &mut known).err();
    if unknown.is_none() && unserved_level(metadata(&known)).is_none() {
        return None;
    }
    let mut read = T::default();
    json::decode_lenient(meta, &mut read).ok()?;
    let reason = match (unserved_level(metadata(&read)), unknown) {
        (None, None) => return None,
        (None, Some(error)) => format!("decoding error: {error}"),
        (Some(_), Some(error)) => {
            let error = error.strip_prefix("json: ").unwrap_or(&error);
            format!("unsupported - config error: {error}")
        }
        (Some(level), None) => {
            format!("unsupported - required API level: {level}, current API level: {API_LEVEL}")
        }
    };
    Some((read, reason))
}

/// What is understood of a stream's metadata that asks for more than this server knows, and why it is not served.
pub(super) fn decode_newer_stream(meta: &[u8]) -> Option<(StreamConfig, String)> {
    let newer = decode_newer(meta, |read: &StreamMeta| &read.config.metadata);
    newer.map(|(read, reason)| (read.config, reason))
}

/// Why a consumer is not served whose metadata asks for more than this server knows.
pub(super) fn decode_newer_consumer(meta: &[u8]) -> Option<String> {
    decode_newer(meta, |read: &ConsumerMeta| &read.config.metadata).map(|(_, reason)| reason)
}

/// Reads metadata of the consumer `name` whose checksum is wrong. nats-server does not look at the checksums of consumers,
/// and writes them after what they are about; nor does it look at what stands behind the metadata, nor at the name that
/// stands beside the configuration, and it fills in what is missing.
pub(super) fn decode_unproven_consumer(
    meta: &[u8],
    name: &str,
    stream: &StreamConfig,
) -> Option<(i64, ConsumerConfig)> {
    let mut read = ConsumerMeta::default();
    json::decode_first(meta, &mut read).ok()?;
    consumer_rules::set_defaults(&mut read.config, stream, &ConsumerSettings::default(), false).ok()?;
    let is_its_own = !read.config.is_durable() || read.config.durable == name;
    is_its_own.then(|| (read.created.ns(), read.config))
}

/// How a stream's files are laid out.
pub(super) fn file_options(config: &StreamConfig) -> FileOptions {
    let literal = |subject: &&String| !jetkv_protocol::subject::has_wildcard(subject.as_bytes());
    let limits = StreamLimits {
        bytes: config.max_bytes,
        msgs: config.max_msgs,
        msgs_per_subject: config.max_msgs_per_subject,
        msg_size_bytes: i64::from(config.max_msg_size),
        literal_subject_len: config.subjects.iter().filter(literal).map(String::len).max(),
        retain_by_limits: config.retention == Retention::Limits,
    };
    FileOptions::for_stream(&limits, config.compression == Compression::S2)
}

/// Keeps the consumers of one stream on disk.
pub(super) struct ConsumerFiles {
    storage: Storage,
    account: String,
    stream: String,
    host: Arc<dyn Host>,
    /// Whether states are made durable as they are written.
    syncs: bool,
    /// Where the states of consumers are kept that were saved since the start, by the consumer's name.
    states: HashMap<String, Arc<StateFile>>,
}

impl ConsumerFiles {
    pub(super) fn new(storage: &Storage, account: &str, stream: &StreamConfig, host: &Arc<dyn Host>) -> Self {
        Self {
            storage: storage.clone(),
            account: account.to_owned(),
            stream: stream.name.clone(),
            host: Arc::clone(host),
            syncs: storage.syncs_states() && stream.persist_mode == PersistMode::Default,
            states: HashMap::new(),
        }
    }

    fn state_file(&mut self, name: &str) -> &Arc<StateFile> {
        let Self { storage, account, stream, states, .. } = self;
        states.entry_ref(name).or_insert_with(|| Arc::new(storage.state_file(account, stream, name)))
    }

    /// Puts configuration in place that was staged, or has it staged.
    fn put_config(
        &self,
        name: &str,
        created_ns: i64,
        meta: Vec<u8>,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        match staged {
            Some(Staged::Config(mut staged, _)) if staged.is(&meta) => {
                staged.put_in_place()?;
                self.sync_metadata_later();
                return Ok(Change::Made(()));
            }
            Some(Staged::Refused) => return Ok(Change::Made(())),
            _ => {}
        }
        let (storage, account, stream) = (self.storage.clone(), self.account.clone(), self.stream.clone());
        let name = name.to_owned();
        Ok(Change::Stage(ToStage::new(move || {
            Ok(Staged::Config(storage.stage_consumer(&account, &stream, &name, meta)?, created_ns))
        })))
    }

    fn sync_metadata_later(&self) {
        if !self.storage.syncs_states() {
            self.storage.sync_metadata_later(|work| self.host.run_later(work));
        }
    }
}

pub(super) fn encode_consumer(name: &str, created_ns: i64, config: &ConsumerConfig) -> Vec<u8> {
    let created = GoTime::from_ns(created_ns);
    json::to_vec(&ConsumerMeta { created, name: name.to_owned(), config: config.clone() })
}

impl ConsumerStore for ConsumerFiles {
    fn leftover(&mut self, name: &str) -> Result<Option<ConsumerState>, StoreError> {
        self.storage.consumer_leftover(&self.account, &self.stream, name)
    }

    fn create(
        &mut self,
        name: &str,
        (created_ns, config): (i64, &ConsumerConfig),
        state: &ConsumerState,
        had_state: bool,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        let meta = encode_consumer(name, created_ns, config);
        if self.storage.has_consumer(&self.account, &self.stream, name)? {
            let put = self.put_config(name, created_ns, meta, staged)?;
            if matches!(put, Change::Made(())) && !had_state {
                self.state_file(name).write(&state.encode(), false)?;
                self.storage.note_state(&self.account, &self.stream, name);
            }
            return Ok(put);
        }
        self.storage.create_consumer(&self.account, &self.stream, name, &meta, state)?;
        self.sync_metadata_later();
        Ok(Change::Made(()))
    }

    fn update(
        &mut self,
        name: &str,
        (created_ns, config): (i64, &ConsumerConfig),
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        self.put_config(name, created_ns, encode_consumer(name, created_ns, config), staged)
    }

    fn begin_at(&mut self, name: &str, seq: u64, staged: Option<Staged>) -> Result<Change<()>, StoreError> {
        let content = ConsumerState::beginning_at(seq).encode();
        let syncs = self.syncs;
        let file = Arc::clone(self.state_file(name));
        if !syncs {
            file.write(&content, false)?;
            return Ok(Change::Made(()));
        }
        if let Some(Staged::Beginning(staged, at)) = staged
            && at == seq
        {
            staged.put_in_place()?;
            self.storage.note_change(&self.account, &self.stream, name);
            return Ok(Change::Made(()));
        }
        Ok(Change::Stage(ToStage::new(move || Ok(Staged::Beginning(file.stage(content)?, seq)))))
    }

    fn syncs(&self) -> bool {
        self.syncs
    }

    fn save_state(&mut self, name: &str, state: &ConsumerState) -> Result<(), StoreError> {
        let sync = self.syncs;
        self.state_file(name).write(&state.encode(), sync)
    }

    fn begin_save(&mut self, name: &str, state: &ConsumerState) -> StateSave {
        self.state_file(name).begin(state.encode())
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        // A save that is under way must not reach the next consumer of the name.
        let state = self.states.get(name);
        state.inspect(|state| state.set_gone(true));
        let discarded = self.storage.discard_consumer(&self.account, &self.stream, name);
        let discarded =
            discarded.inspect_err(|_| state.into_iter().for_each(|state| state.set_gone(false)))?;
        self.states.remove(name);
        if let Some(rubbish) = discarded {
            let (stream, consumer) = (self.stream.clone(), name.to_owned());
            self.host.run_later(Box::new(move || {
                if let Err(error) = rubbish.remove() {
                    tracing::warn!(stream, consumer, %error, "the files of a deleted consumer are still there");
                }
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_metadata_whose_checksum_is_wrong_the_first_value_counts_and_what_is_missing_is_filled_in() {
        let stream = StreamConfig::default();
        let read = |meta: &str| decode_unproven_consumer(meta.as_bytes(), "c", &stream);
        let (_, config) =
            read(r#"{"Name":"c","durable_name":"c","ack_policy":"explicit"} and more"#).unwrap();
        assert_eq!((config.max_waiting, config.max_deliver), (512, -1));
        assert_eq!(config.ack_wait_ns, 30_000_000_000);
        assert_eq!(read(r#"{"Name":"d","durable_name":"d"}"#), None);
        assert!(read(r#"{"Name":"d","durable_name":"c"}"#).is_some());
        assert_eq!(read(r#"{"Name":"c""#), None);
    }
}
