//! What a toxic does, by its type and its attributes.

use std::time::Duration;

use serde_json::Value;

use crate::tester::schema::{TOXICS, ToxicType};

/// What is done to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    /// All is dropped; nobody is told.
    Cut,
    Latency {
        by: Duration,
        jitter: Duration,
    },
    Bandwidth {
        bytes_per_sec: u64,
    },
    SlowClose {
        delay: Duration,
    },
    /// All is dropped; the connection ends when nothing has come for so long, unless that is zero.
    Timeout {
        quiet: Duration,
    },
    ResetPeer {
        after: Duration,
    },
    Slicer {
        average_bytes: usize,
        variation_bytes: usize,
        delay: Duration,
    },
    LimitData {
        bytes: u64,
    },
    /// Segments are lost by chance, and come when they are sent again.
    Lossy {
        loss: f64,
        wait: Duration,
        wait_max: Duration,
    },
}

impl Effect {
    /// Reads attributes that were checked one by one; what two of them say together is checked here.
    pub(super) fn read(name: &str, attributes: &Value) -> Result<Self, String> {
        let kind = TOXICS.iter().find(|kind| kind.name == name).ok_or("type must be given")?;
        let number = |attribute: &str| number(kind, attributes, attribute);
        let millis = |attribute: &str| Duration::from_millis(number(attribute));
        let bytes = |attribute: &str| usize::try_from(number(attribute)).unwrap_or(usize::MAX);
        Ok(match name {
            "cut" => Self::Cut,
            "latency" => Self::Latency { by: millis("latency"), jitter: millis("jitter") },
            "bandwidth" => Self::Bandwidth { bytes_per_sec: number("rate").saturating_mul(1000) },
            "slow_close" => Self::SlowClose { delay: millis("delay") },
            "timeout" => Self::Timeout { quiet: millis("timeout") },
            "reset_peer" => Self::ResetPeer { after: millis("timeout") },
            "limit_data" => Self::LimitData { bytes: number("bytes") },
            "slicer" => {
                let (average_bytes, variation_bytes) = (bytes("average_size"), bytes("size_variation"));
                if variation_bytes >= average_bytes {
                    return Err("attributes.size_variation must be below average_size".to_owned());
                }
                let delay = Duration::from_micros(number("delay"));
                Self::Slicer { average_bytes, variation_bytes, delay }
            }
            _ => {
                let (wait, wait_max) = (millis("rto"), millis("max_rto"));
                if wait_max < wait {
                    return Err("attributes.max_rto must be at least rto".to_owned());
                }
                let loss = attributes["loss"].as_f64().unwrap_or_default();
                Self::Lossy { loss, wait, wait_max }
            }
        })
    }
}

fn number(kind: &ToxicType, attributes: &Value, name: &str) -> u64 {
    let default = || kind.attributes.iter().find(|attribute| attribute.name == name)?.default;
    let given = attributes[name].as_i64().or_else(default).unwrap_or_default();
    u64::try_from(given).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_have_units_and_defaults() {
        let millis = Duration::from_millis;
        for (name, attributes, effect) in [
            ("cut", Value::Null, Effect::Cut),
            ("latency", json!({"latency": 5}), Effect::Latency { by: millis(5), jitter: millis(0) }),
            ("bandwidth", json!({"rate": 2}), Effect::Bandwidth { bytes_per_sec: 2000 }),
            ("timeout", json!({}), Effect::Timeout { quiet: millis(0) }),
            (
                "lossy",
                json!({"loss": 0.5}),
                Effect::Lossy { loss: 0.5, wait: millis(200), wait_max: millis(3200) },
            ),
            (
                "slicer",
                json!({"average_size": 8, "delay": 3}),
                Effect::Slicer { average_bytes: 8, variation_bytes: 0, delay: Duration::from_micros(3) },
            ),
        ] {
            assert_eq!(Effect::read(name, &attributes), Ok(effect), "{name}");
        }
        assert!(Effect::read("slicer", &json!({"average_size": 8, "size_variation": 8})).is_err());
        assert!(Effect::read("lossy", &json!({"loss": 0.5, "rto": 9000})).is_err());
        assert!(Effect::read("", &Value::Null).is_err());
    }
}
