//! The answer to the request for a consumer.

use crate::error::ApiError;
use crate::error::catalogue as errors;
use jetkv_go_compat::json::{self, go_struct};
use std::borrow::Cow;

/// What the answer says, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Answer {
    error: Option<RawError>,
    pub(super) name: String,
    pub(super) config: Option<AnsweredConfig>,
    delivered: Delivered,
}

#[derive(Debug, Default, Clone)]
struct RawError {
    code: u16,
    err_code: u16,
    description: String,
}

#[derive(Debug, Default, Clone)]
pub(super) struct AnsweredConfig {
    pub(super) deliver_subject: String,
    ack_policy: String,
}

#[derive(Debug, Default)]
struct Delivered {
    stream_seq: u64,
}

go_struct! { Answer as "JSApiConsumerCreateResponse" {
    "error" => error, "name" => name, "config" => config, "delivered" => delivered,
} }
go_struct! { RawError as "ApiError" { "code" => code, "err_code" => err_code, "description" => description, } }
go_struct! { AnsweredConfig as "ConsumerConfig" {
    "deliver_subject" => deliver_subject, "ack_policy" => ack_policy,
} }
go_struct! { Delivered as "SequenceInfo" { "stream_seq" => stream_seq, } }

impl Answer {
    /// Reads it; `None` where it is no JSON.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let mut answer = Self::default();
        json::decode_lenient(payload, &mut answer).ok()?;
        Some(answer)
    }

    /// The error that it is, if it is one.
    pub(super) fn error(&self, is_mirror: bool) -> Option<ApiError> {
        if let Some(RawError { code, err_code, description }) = &self.error {
            let description = Cow::Owned(description.clone());
            return Some(ApiError { code: *code, err_code: *err_code, description });
        }
        let failed = if is_mirror {
            errors::MIRROR_CONSUMER_SETUP_FAILED
        } else {
            errors::SOURCE_CONSUMER_SETUP_FAILED
        };
        self.config.is_none().then(|| failed.because("invalid consumer create response"))
    }

    /// Whether the consumer takes answers to flow control for acknowledgements.
    pub(super) fn acknowledges_by_flow(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.ack_policy == "flow_control")
    }

    /// The last sequence that the consumer will not deliver.
    pub(super) fn delivered_seq(&self) -> u64 {
        self.delivered.stream_seq
    }
}
