//! The metadata that servers add: the API level that an asset needs, and version and level of the server.

use super::{PersistMode, StreamConfig};
use jetkv_go_compat::version::{API_LEVEL, SERVER_VERSION};
use std::collections::BTreeMap;

const REQUIRED_LEVEL_KEY: &str = "_nats.req.level";
const VERSION_KEY: &str = "_nats.ver";
const LEVEL_KEY: &str = "_nats.level";

/// Notes in `metadata` the level that is needed, and takes out what responses only show.
pub(crate) fn set_required_level(metadata: &mut BTreeMap<String, String>, level: i64) {
    remove_dynamic(metadata);
    metadata.insert(REQUIRED_LEVEL_KEY.to_owned(), level.to_string());
}

fn remove_dynamic(metadata: &mut BTreeMap<String, String>) {
    metadata.remove(VERSION_KEY);
    metadata.remove(LEVEL_KEY);
}

/// Adds to a copy of `metadata` what responses show of the server.
pub(crate) fn with_server(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.insert(VERSION_KEY.to_owned(), SERVER_VERSION.to_owned());
    metadata.insert(LEVEL_KEY.to_owned(), API_LEVEL.to_string());
    metadata
}

/// Makes the metadata that servers add the same as in `other`, for comparing two configurations.
pub(crate) fn align(metadata: &mut BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    remove_dynamic(metadata);
    match other.get(REQUIRED_LEVEL_KEY) {
        Some(level) => metadata.insert(REQUIRED_LEVEL_KEY.to_owned(), level.clone()),
        None => metadata.remove(REQUIRED_LEVEL_KEY),
    };
}

/// The API level that an asset says it needs, where this server does not have it.
pub(crate) fn unserved_level(metadata: &BTreeMap<String, String>) -> Option<&str> {
    let level = metadata.get(REQUIRED_LEVEL_KEY)?;
    (!serves_level(level.as_bytes())).then_some(level)
}

impl StreamConfig {
    /// The API level that the configuration needs.
    pub(crate) fn required_level(&self) -> i64 {
        let ttl = self.allow_msg_ttl || self.subject_delete_marker_ttl_ns > 0;
        let two = self.allow_msg_counter || self.allow_atomic || self.allow_msg_schedules;
        [(self.allow_batched, 4), (two || self.persist_mode == PersistMode::Async, 2), (ttl, 1)]
            .into_iter()
            .find_map(|(needed, level)| needed.then_some(level))
            .unwrap_or(0)
    }
}

/// Header of a request that names the API level which the server must have.
pub(crate) const REQUIRED_LEVEL_HEADER: &[u8] = b"Nats-Required-Api-Level";

/// Status that refuses a request for messages which needs a higher API level.
pub(crate) const LEVEL_STATUS: &str = "412 Required Api Level";

/// Whether a request's `Nats-Required-Api-Level` is one that this server has.
pub(crate) fn serves_level(value: &[u8]) -> bool {
    let level = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    value.is_empty() || level.is_some_and(|level| level <= i64::from(API_LEVEL))
}
