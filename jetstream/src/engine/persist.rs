//! Streams and consumers as they are kept on disk, in nats-server's JSON.

use crate::api::ApiError;
use crate::config::consumer::ConsumerConfig;
use crate::config::{Compression, ConfigLimits, Retention, StreamConfig, check};
use crate::consumer::ConsumerStore;
use crate::store::file::{FileOptions, Storage, StreamLimits};
use crate::store::{ConsumerState, StoreError};
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{self, go_struct};
use serde::Serialize;

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
    let refused = |error: ApiError| error.description.into_owned();
    let config = check(&read.config, &ConfigLimits::default(), false).map_err(refused)?;
    Ok((read.created.ns(), config))
}

/// Reads the metadata of a consumer; gives when it was created, and its configuration.
pub(super) fn decode_consumer(meta: &[u8]) -> Result<(i64, ConsumerConfig), String> {
    let mut read = ConsumerMeta::default();
    json::decode_lenient(meta, &mut read)?;
    Ok((read.created.ns(), read.config))
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
    pub(super) storage: Storage,
    pub(super) account: String,
    pub(super) stream: String,
}

impl ConsumerStore for ConsumerFiles {
    fn save_config(
        &mut self,
        name: &str,
        created_ns: i64,
        config: &ConsumerConfig,
    ) -> Result<(), StoreError> {
        let meta = ConsumerMeta {
            created: GoTime::from_ns(created_ns),
            name: name.to_owned(),
            config: config.clone(),
        };
        self.storage.put_consumer(&self.account, &self.stream, name, &json::to_vec(&meta))
    }

    fn save_state(&mut self, name: &str, state: &ConsumerState) -> Result<(), StoreError> {
        self.storage.save_consumer(&self.account, &self.stream, name, state)
    }

    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.storage.remove_consumer(&self.account, &self.stream, name)
    }
}
