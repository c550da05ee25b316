//! Rules of faults as requests have them.

use std::fmt;

use jetkv_go_compat::json;
use jetkv_protocol::subject;
use serde::{Deserialize, Serialize};

use super::answer::LabError;
use super::request::read;
use crate::faults::{Aim, Fault, Rule};

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
    seed: u64,
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
    seed: u64,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    err_code: Option<u16>,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ApiError,
    AckLost,
    NoResponders,
    Disconnect,
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

/// An answer of the API that is an error.
#[derive(Serialize)]
struct ErrorAnswer {
    r#type: &'static str,
    error: ErrorPart,
}

#[derive(Serialize)]
struct ErrorPart {
    code: u16,
    err_code: u16,
    description: String,
}

impl FaultRule {
    pub(super) fn read(body: &[u8]) -> Result<Self, LabError> {
        let body: Body = read(body)?;
        let probability = body.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err(LabError::bad_request("a probability is between 0 and 1"));
        }
        let (kind, fault) = match body.kind {
            Kind::ApiError => {
                let Some(err_code) = body.err_code else {
                    return Err(LabError::bad_request("an api_error needs an err_code"));
                };
                let description =
                    body.description.clone().unwrap_or_else(|| "fault of the test lab".to_owned());
                let error = ErrorPart { code: body.code.unwrap_or(CODE), err_code, description };
                let answer = ErrorAnswer { r#type: "io.nats.jetstream.api.v1.error_response", error };
                ("api_error", Fault::Answer(json::to_vec(&answer)))
            }
            Kind::AckLost => ("ack_lost", Fault::LoseAnswer),
            Kind::NoResponders => ("no_responders", Fault::NoResponders),
            Kind::Disconnect => ("disconnect", Fault::Disconnect),
        };
        let says_error = body.code.is_some() || body.err_code.is_some() || body.description.is_some();
        if says_error && kind != "api_error" {
            return Err(LabError::bad_request(format!("{kind} has no error")));
        }
        let Where { subject, api, client, account } = body.r#where;
        let subject = match (subject, api) {
            (Some(_), Some(_)) => return Err(LabError::bad_request("one of subject and api says which")),
            (subject, api) => subject.or(api.map(|api| format!("{API}{api}"))),
        };
        if let Some(pattern) = subject.as_ref().filter(|pattern| !subject::is_valid(pattern.as_bytes())) {
            return Err(LabError::bad_request(format!("{pattern} is no subject")));
        }
        let aim = Aim { subject, client, account };
        Ok(Self { kind, aim, fault, times: body.times, probability, seed: body.seed })
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
    fn a_rule_that_makes_no_sense_is_refused() {
        let read = |body: &str| FaultRule::read(body.as_bytes());
        let api =
            read(r#"{"kind":"api_error","where":{"api":"STREAM.CREATE.*"},"err_code":10047,"times":2}"#)
                .unwrap();
        assert_eq!(api.aim.subject.as_deref(), Some("$JS.API.STREAM.CREATE.*"));
        let Fault::Answer(body) = &api.fault else { panic!("no answer") };
        assert!(String::from_utf8_lossy(body).contains(r#""err_code":10047"#));
        for wrong in [
            "{}",
            r#"{"kind":"flood"}"#,
            r#"{"kind":"api_error"}"#,
            r#"{"kind":"ack_lost","err_code":1}"#,
            r#"{"kind":"ack_lost","probability":1.5}"#,
            r#"{"kind":"ack_lost","where":{"subject":"a..b"}}"#,
            r#"{"kind":"ack_lost","where":{"subject":"a","api":"b"}}"#,
            r#"{"kind":"ack_lost","where":{"user":"a"}}"#,
        ] {
            assert_eq!(read(wrong).map_err(|error| error.code), Err(400), "{wrong}");
        }
    }
}
