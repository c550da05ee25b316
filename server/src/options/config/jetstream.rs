//! The `jetstream` block.

use super::Draft;
use super::report::{Checked, Problem, Report};
use super::typed::{boolean, duration, integer, storage_size, string, text};
use crate::options::defaults;
use crate::options::grammar::{Map, Node, Value};
use crate::options::jetstream_model::{JetStreamLimits, JetStreamOptions, TpmOptions};
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::quoted;
use jetkv_jetstream::Cipher;

/// Disk operations at a time: least and most that may be configured.
const CONCURRENT_IO: std::ops::RangeInclusive<i64> = 4..=8192;

/// Reads the `jetstream` block: on, off, or on with settings.
pub(super) fn read(node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    let options = &mut draft.options.jetstream;
    match &node.value {
        Value::Bool(on) => options.enabled = *on,
        Value::String(word) => match word.to_ascii_lowercase().as_str() {
            "enabled" | "enable" => options.enabled = true,
            "disabled" | "disable" => options.enabled = false,
            _ => {
                let text = format!("Expected 'enabled' or 'disabled' for string value, got '{word}'");
                return Err(Problem::at(node, text));
            }
        },
        Value::Map(entries) => {
            let mut enabled = true;
            for (key, value) in entries.iter() {
                let lower = key.to_ascii_lowercase();
                let setting = Setting { lower: &lower, key, node: value };
                if lower == "enable" || lower == "enabled" {
                    enabled = boolean(value)?;
                } else if lower == "tpm" {
                    tpm(value, node, options, report)?;
                } else if !store(setting, options, report)? && !engine(setting, options, report)? {
                    report.check(unknown(setting));
                }
            }
            options.enabled = enabled;
        }
        other => {
            let text = format!("Expected map, bool or string to define JetStream, got {}", other.kind());
            return Err(Problem::at(node, text));
        }
    }
    Ok(())
}

/// One entry of the block.
#[derive(Clone, Copy)]
struct Setting<'a> {
    /// The key in lower case.
    lower: &'a str,
    /// The key as it was written.
    key: &'a str,
    node: &'a Node,
}

/// A key that nobody knows.
fn unknown(Setting { key, node, .. }: Setting<'_>) -> Checked<()> {
    if node.is_used_variable() { Ok(()) } else { Err(Problem::unknown_field(node, key)) }
}

fn size(what: &str, node: &Node) -> Checked<i64> {
    storage_size(node).map_err(|error| Problem::at(node, format!("{what} {error}")))
}

fn expected(what: &str, key: &str, node: &Node) -> Problem {
    Problem::at(node, format!("Expected {what} {}, got {}", quoted(key), node.value))
}

fn number(key: &str, node: &Node) -> Checked<i64> {
    match node.value {
        Value::Integer(value) => Ok(value),
        _ => Err(expected("a parseable size for", key, node)),
    }
}

/// Where messages are kept, how much, and how safely.
fn store(setting: Setting<'_>, options: &mut JetStreamOptions, report: &mut Report) -> Checked<bool> {
    let Setting { lower, key, node } = setting;
    match lower {
        "store" | "store_dir" | "storedir" => {
            if options.store_dir.is_some() {
                return Err(Problem::at(node, "Duplicate 'store_dir' configuration"));
            }
            options.store_dir = text(node)?.map(Into::into);
        }
        "sync" | "sync_interval" => match &node.value {
            Value::String(word) if word.eq_ignore_ascii_case("always") => {
                options.sync_interval = defaults::SYNC_INTERVAL;
                options.sync_always = true;
            }
            _ => options.sync_interval = duration(node, key, report)?.as_duration(),
        },
        "max_memory_store" | "max_mem_store" | "max_mem" => {
            options.max_memory_bytes = size("max_mem_store", node)?;
        }
        "max_file_store" | "max_file" => options.max_store_bytes = size("max_file_store", node)?,
        "key" | "ek" | "encryption_key" => options.encryption_key = text(node)?,
        "prev_key" | "prev_ek" | "prev_encryption_key" => options.previous_encryption_key = text(node)?,
        "cipher" => options.cipher = cipher(node)?,
        "max_outstanding_catchup" => options.max_outstanding_catchup_bytes = size(lower, node)?,
        "max_buffered_size" => options.max_buffered_bytes = size(lower, node)?,
        "max_buffered_msgs" => options.max_buffered_msgs = number(key, node)?,
        "max_concurrent_io" => match node.value {
            Value::Integer(value) if CONCURRENT_IO.contains(&value) => options.max_concurrent_io = value,
            _ => {
                let text = format!(
                    "Expected an absolute size for {} between 4 and 8192, got {}",
                    quoted(key),
                    node.value
                );
                return Err(Problem::at(node, text));
            }
        },
        _ => return Ok(false),
    }
    Ok(true)
}

fn cipher(node: &Node) -> Checked<Cipher> {
    let name = string(node)?;
    match name.to_lowercase().as_str() {
        "chacha" | "chachapoly" => Ok(Cipher::ChaCha),
        "aes" => Ok(Cipher::Aes),
        _ => Err(Problem::at(node, format!("Unknown cipher type: {}", quoted(name)))),
    }
}

/// As nats-server, it finds values of another type in the whole `block`.
fn tpm(node: &Node, block: &Node, options: &mut JetStreamOptions, report: &mut Report) -> Checked<()> {
    let Value::Map(entries) = &node.value else {
        let text = format!("Expected a map to define JetStreamLimits, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let of_block = |problem: Problem| problem.placed_at(block);
    options.tpm = TpmOptions::default();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "keys_file" => options.tpm.keys_file = text(value).map_err(of_block)?,
            "encryption_password" => options.tpm.key_password = text(value).map_err(of_block)?,
            "srk_password" => options.tpm.root_password = text(value).map_err(of_block)?,
            "pcr" => options.tpm.register = integer(value).map_err(of_block)?,
            "cipher" => {
                string(value).map_err(of_block)?;
                options.cipher = cipher(value)?;
            }
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(())
}

/// What requests may do.
fn engine(setting: Setting<'_>, options: &mut JetStreamOptions, report: &mut Report) -> Checked<bool> {
    let Setting { lower, key, node } = setting;
    match lower {
        "strict" => match node.value {
            Value::Bool(value) => options.strict = value,
            _ => {
                let text = format!("Expected 'true' or 'false' for bool value, got '{}'", node.value);
                return Err(Problem::at(node, text));
            }
        },
        "domain" => options.domain = text(node)?,
        "extension_hint" => options.extension_hint = text(node)?,
        "unique_tag" => {
            let tag = string(node)?.trim().to_lowercase();
            options.unique_tag = (!tag.is_empty()).then_some(tag);
        }
        "limits" => options.limits = limits(node, report)?,
        "request_queue_limit" => {
            let limit = number(key, node)?;
            options.request_queue_limit =
                if limit > 0 { limit } else { defaults::JETSTREAM_REQUEST_QUEUE_LIMIT };
        }
        "info_queue_limit" => options.info_queue_limit = number(key, node)?.max(0),
        // These compact the log that several servers share; alone there is none.
        "meta_compact" => match node.value {
            Value::Integer(0..) => {}
            _ => return Err(expected("an absolute size for", key, node)),
        },
        "meta_compact_size" => {
            if size(lower, node)? < 0 {
                return Err(expected("an absolute size for", key, node));
            }
        }
        "meta_compact_sync" => drop(boolean(node)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn limits(node: &Node, report: &mut Report) -> Checked<JetStreamLimits> {
    let Value::Map(entries) = &node.value else {
        let text = format!("Expected a map to define JetStreamLimits, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let mut limits = JetStreamLimits::default();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "max_ack_pending" => limits.max_ack_pending = integer(value)?,
            "max_ha_assets" => limits.max_ha_assets = integer(value)?,
            "max_request_batch" => limits.max_request_batch = integer(value)?,
            "default_max_consumers" => {
                let max = integer(value)?;
                limits.default_max_consumers =
                    if max == 0 { defaults::JETSTREAM_MAX_CONSUMERS_PER_STREAM } else { max };
            }
            "duplicate_window" => {
                if let Some(window) = report.check(bare_duration(value)) {
                    limits.duplicate_window = window.as_duration();
                }
            }
            "batch" => batch(value, &mut limits, report)?,
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(limits)
}

/// A length of time whose error has no place, as on nats-server.
fn bare_duration(node: &Node) -> Checked<GoDuration> {
    GoDuration::parse(string(node)?).map_err(Problem::general)
}

fn batch(node: &Node, limits: &mut JetStreamLimits, report: &mut Report) -> Checked<()> {
    let entries: &Map = match &node.value {
        Value::Map(entries) => entries,
        other => {
            let text = format!("Expected a map to define batch limits, got {}", other.kind());
            return Err(Problem::at(node, text));
        }
    };
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "max_inflight_per_stream" => limits.max_batch_inflight_per_stream = integer(value)?,
            "max_inflight_total" => limits.max_batch_inflight_total = integer(value)?,
            "max_msgs" => limits.max_batch_size = integer(value)?,
            "timeout" => {
                if let Some(timeout) = report.check(bare_duration(value)) {
                    limits.max_batch_timeout = timeout.as_duration();
                }
            }
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(())
}
