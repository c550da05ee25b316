//! What stream information says of an origin.

use crate::config::{ExternalStream, SubjectTransform};
use crate::error::ApiError;
use serde::Serialize;

/// What stream information says of a mirror or source, in nats-server's order of fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceInfo {
    /// Name of the origin.
    pub name: String,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStream>,
    /// Messages that are still to come.
    pub lag: u64,
    /// The last sequence of the origin that is stored here; of sources.
    #[serde(skip_serializing_if = "is_zero")]
    pub seq: u64,
    /// Nanoseconds since it was last heard of, -1 where it never was.
    #[serde(rename = "active")]
    pub active_ns: i64,
    /// Why nothing comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// The subjects that are wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// The subjects that are wanted, and what they become.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
