//! Rules of faults as requests have them.

use std::fmt;

use jetkv_protocol::subject;
use serde::Deserialize;

use super::answer::LabError;
use super::request::{Length, read};
use crate::faults::{Aim, Delay, DiskFault, ErrorPart, Fault, Rule};
use crate::state::Restart;

/// What stands before the subjects of the API.
const API: &str = "$JS.API.";
/// The code of an error whose rule says none.
const CODE: u16 = 500;

/// A rule, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FaultRule {
    kind: &'static str,
    aim: Aim,
    fault: Fault,
    times: Option<u64>,
    probability: f64,
    seed: Option<u64>,
}

impl Eq for FaultRule {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    kind: Kind,
    #[serde(default)]
    r#where: Where,
    #[serde(default)]
    times: Option<u64>,
    #[serde(default)]
    probability: Option<f64>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    err_code: Option<u16>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    by: Option<Length>,
    #[serde(default)]
    jitter: Option<Length>,
    #[serde(default)]
    bytes_per_sec: Option<u64>,
    #[serde(default)]
    what: Option<Doubled>,
}

/// What comes twice.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Doubled {
    /// What a client publishes.
    Message,
    /// What a stream delivers.
    Delivery,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ApiError,
    AckLost,
    AckDelay,
    NoResponders,
    Disconnect,
    Latency,
    Bandwidth,
    SlowReader,
    Duplicate,
    DiskFull,
    SyncFailure,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ApiError => "api_error",
            Self::AckLost => "ack_lost",
            Self::AckDelay => "ack_delay",
            Self::NoResponders => "no_responders",
            Self::Disconnect => "disconnect",
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
            Self::SlowReader => "slow_reader",
            Self::Duplicate => "duplicate",
            Self::DiskFull => "disk_full",
            Self::SyncFailure => "sync_failure",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    api: Option<String>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    account: Option<String>,
}

/// A fault that is no rule: the server starts again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartBody {
    #[expect(dead_code, reason = "it was looked at before")]
    kind: String,
    #[serde(default)]
    signal: SignalName,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SignalName {
    #[default]
    Term,
    Kill,
}

/// How the server is to start again, where a body asks for that.
pub(super) fn restart(body: &[u8]) -> Result<Option<Restart>, LabError> {
    #[derive(Deserialize)]
    struct Kinds {
        #[serde(default)]
        kind: Option<serde_json::Value>,
    }
    // What is wrong with another body is said where it is read.
    let kind = read::<Kinds>(body).ok().and_then(|body| body.kind);
    if kind.is_none_or(|kind| kind != "restart") {
        return Ok(None);
    }
    let RestartBody { signal, .. } = read(body)?;
    Ok(Some(match signal {
        SignalName::Term => Restart::Orderly,
        SignalName::Kill => Restart::Killed,
    }))
}

impl Body {
    fn fault(&self) -> Result<Fault, LabError> {
        let kind = self.kind.name();
        let says_error = self.code.is_some() || self.err_code.is_some() || self.description.is_some();
        let odd = [
            ("an error", says_error, matches!(self.kind, Kind::ApiError)),
            ("by", self.by.is_some(), matches!(self.kind, Kind::AckDelay | Kind::Latency)),
            ("jitter", self.jitter.is_some(), matches!(self.kind, Kind::AckDelay | Kind::Latency)),
            ("bytes_per_sec", self.bytes_per_sec.is_some(), matches!(self.kind, Kind::Bandwidth)),
            ("what", self.what.is_some(), matches!(self.kind, Kind::Duplicate)),
        ];
        if let Some((what, ..)) = odd.iter().find(|(_, is_said, may_be)| *is_said && !may_be) {
            return Err(LabError::bad_request(format!("{kind} has no {}", what.trim_start_matches("an "))));
        }
        Ok(match self.kind {
            Kind::ApiError => {
                let Some(err_code) = self.err_code else {
                    return Err(LabError::bad_request("an api_error needs an err_code"));
                };
                let description =
                    self.description.clone().unwrap_or_else(|| "fault of the test lab".to_owned());
                Fault::Answer(ErrorPart { code: self.code.unwrap_or(CODE), err_code, description })
            }
            Kind::AckLost => Fault::LoseAnswer,
            Kind::AckDelay => Fault::DelayAnswer(self.delay()?),
            Kind::NoResponders => Fault::NoResponders,
            Kind::Disconnect => Fault::Disconnect,
            Kind::Latency => Fault::Hold(self.delay()?),
            Kind::Bandwidth => match self.bytes_per_sec {
                None | Some(0) => return Err(LabError::bad_request("a bandwidth needs bytes_per_sec")),
                Some(bytes_per_sec) => Fault::Narrow { rule: 0, bytes_per_sec },
            },
            Kind::SlowReader => Fault::StopReading,
            Kind::Duplicate if self.what == Some(Doubled::Delivery) => Fault::DeliverTwice,
            Kind::Duplicate => Fault::Twice,
            Kind::DiskFull => Fault::FailDisk(DiskFault::Full),
            Kind::SyncFailure => Fault::FailDisk(DiskFault::Sync),
        })
    }

    fn delay(&self) -> Result<Delay, LabError> {
        let Some(by) = &self.by else {
            return Err(LabError::bad_request(format!("{} needs by", self.kind.name())));
        };
        let ns = |length: &Length| {
            u64::try_from(length.0.0).map_err(|_| LabError::bad_request("a delay is not negative"))
        };
        Ok(Delay { by_ns: ns(by)?, jitter_ns: self.jitter.as_ref().map(ns).transpose()?.unwrap_or(0) })
    }
}

impl FaultRule {
    pub(super) fn read(body: &[u8]) -> Result<Self, LabError> {
        let body: Body = read(body)?;
        let probability = body.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err(LabError::bad_request("a probability is between 0 and 1"));
        }
        let fault = body.fault()?;
        let Where { subject, api, client, account } = body.r#where;
        let subject = match (subject, api) {
            (Some(_), Some(_)) => return Err(LabError::bad_request("one of subject and api says which")),
            (subject, api) => subject.or(api.map(|api| format!("{API}{api}"))),
        };
        if let Some(pattern) = subject.as_ref().filter(|pattern| !subject::is_valid(pattern.as_bytes())) {
            return Err(LabError::bad_request(format!("{pattern} is no subject")));
        }
        let kind = body.kind.name();
        let is_odd = match body.kind {
            Kind::SlowReader => subject.is_some(),
            Kind::DiskFull | Kind::SyncFailure => subject.is_some() || client.is_some(),
            // Who receives it is not known where it is delivered.
            Kind::Duplicate => fault == Fault::DeliverTwice && client.is_some(),
            _ => false,
        };
        if is_odd {
            return Err(LabError::bad_request(format!("where says what a {kind} is not about")));
        }
        let aim = Aim { subject, client, account };
        Ok(Self { kind, aim, fault, times: body.times, probability, seed: body.seed })
    }

    /// Whether it is about those who are sent something.
    pub(super) fn stops_readers(&self) -> bool {
        self.fault == Fault::StopReading
    }

    pub(super) fn to_rule(&self) -> Rule {
        let rule = Rule::new(self.kind, self.aim.clone(), self.fault.clone(), self.seed);
        rule.limited(self.times, self.probability)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.kind, self.aim.subject.as_deref().unwrap_or("every subject"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_no_rule() {
        let read = |body: &str| restart(body.as_bytes());
        assert_eq!(read(r#"{"kind":"restart"}"#), Ok(Some(Restart::Orderly)));
        assert_eq!(read(r#"{"kind":"restart","signal":"kill"}"#), Ok(Some(Restart::Killed)));
        for wrong in [r#"{"kind":"restart","signal":"hup"}"#, r#"{"kind":"restart","times":1}"#] {
            assert_eq!(read(wrong).map_err(|error| error.code), Err(400), "{wrong}");
        }
        for other in ["", "{", r#"{"kind":"ack_lost"}"#, r#"{"kind":1}"#] {
            assert_eq!(read(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        let read = |body: &str| FaultRule::read(body.as_bytes());
        let api =
            read(r#"{"kind":"api_error","where":{"api":"STREAM.CREATE.*"},"err_code":10047,"times":2}"#)
                .unwrap();
        assert_eq!(api.aim.subject.as_deref(), Some("$JS.API.STREAM.CREATE.*"));
        let Fault::Answer(error) = &api.fault else { panic!("no answer") };
        assert!(String::from_utf8_lossy(&error.body()).contains(r#""err_code":10047"#));
        for wrong in [
            "{}",
            r#"{"kind":"flood"}"#,
            r#"{"kind":"api_error"}"#,
            r#"{"kind":"ack_lost","err_code":1}"#,
            r#"{"kind":"ack_lost","probability":1.5}"#,
            r#"{"kind":"ack_lost","where":{"subject":"a..b"}}"#,
            r#"{"kind":"ack_lost","where":{"subject":"a","api":"b"}}"#,
            r#"{"kind":"ack_lost","where":{"user":"a"}}"#,
            r#"{"kind":"ack_lost","by":"1s"}"#,
            r#"{"kind":"ack_delay"}"#,
            r#"{"kind":"latency","by":"-1s"}"#,
            r#"{"kind":"latency","by":"1s","jitter":-1}"#,
            r#"{"kind":"bandwidth"}"#,
            r#"{"kind":"bandwidth","bytes_per_sec":0}"#,
            r#"{"kind":"duplicate","bytes_per_sec":1}"#,
            r#"{"kind":"duplicate","what":"delivery","where":{"client":"a"}}"#,
            r#"{"kind":"duplicate","what":"answer"}"#,
            r#"{"kind":"latency","by":"1s","what":"message"}"#,
            r#"{"kind":"slow_reader","where":{"subject":"a"}}"#,
            r#"{"kind":"disk_full","where":{"client":"a"}}"#,
            r#"{"kind":"sync_failure","where":{"api":"INFO"}}"#,
        ] {
            assert_eq!(read(wrong).map_err(|error| error.code), Err(400), "{wrong}");
        }
    }
}
