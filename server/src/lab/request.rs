//! What is asked for.

use jetkv_go_compat::{GoDuration, GoTime};
use jetkv_jetstream::Moved;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};

use super::answer::LabError;
use super::fault::{self, FaultRule};
use super::journal::{Awaited, Wanted};
use crate::journal::Filter;
use crate::state::Restart;

/// Something that stays when the rest is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// The clock.
    Clock,
    /// The rules of faults.
    Faults,
    /// The journal.
    Journal,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    TimeGet,
    TimeAdvance { to: To, what: Moved },
    TimeFreeze,
    TimeResume,
    TimeNext { account: Option<String>, stream: Option<String> },
    StateReset { account: Option<String>, keep: Vec<Kept> },
    FaultAdd(FaultRule),
    Restart(Restart),
    FaultList,
    FaultClear { id: Option<u64> },
    StateSave { name: String },
    StateLoad { name: String },
    StateList,
    StateDrop { name: Option<String> },
    AccountIsolate { name: Option<String> },
    AccountRelease { name: String },
    AccountList,
    JournalList(Wanted),
    JournalCount(Filter),
    JournalClear(Filter),
    JournalRecord(Filter),
    JournalWait(Awaited),
}

/// Where the clock goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// So much further.
    By(u64),
    /// To that time of day.
    Wall(i64),
    /// To where the next thing falls due.
    Next,
}

impl Request {
    /// Reads the request whose subject ends in `group` and `verb`. The body is JSON; none is an empty object.
    pub(super) fn parse(group: &str, verb: &str, body: &[u8]) -> Result<Self, LabError> {
        let name = (group.to_ascii_uppercase(), verb.to_ascii_uppercase());
        Ok(match (name.0.as_str(), name.1.as_str()) {
            ("TIME", "GET") => nothing(body, Self::TimeGet)?,
            ("TIME", "FREEZE") => nothing(body, Self::TimeFreeze)?,
            ("TIME", "RESUME") => nothing(body, Self::TimeResume)?,
            ("TIME", "ADVANCE") => read::<Advance>(body)?.request()?,
            ("TIME", "NEXT") => {
                let Next { account, stream } = read(body)?;
                Self::TimeNext { account, stream }
            }
            ("STATE", "RESET") => {
                let Reset { account, keep } = read(body)?;
                Self::StateReset { account, keep }
            }
            ("STATE", "SAVE") => Self::StateSave { name: read::<Named>(body)?.given()? },
            ("STATE", "LOAD") => Self::StateLoad { name: read::<Named>(body)?.given()? },
            ("STATE", "LIST") => nothing(body, Self::StateList)?,
            ("STATE", "DROP") => Self::StateDrop { name: read::<Named>(body)?.name },
            ("ACCOUNT", "ISOLATE") => Self::AccountIsolate { name: read::<Named>(body)?.name },
            ("ACCOUNT", "RELEASE") => Self::AccountRelease { name: read::<Named>(body)?.given()? },
            ("ACCOUNT", "LIST") => nothing(body, Self::AccountList)?,
            ("FAULT", "ADD") => match fault::restart(body)? {
                Some(how) => Self::Restart(how),
                None => Self::FaultAdd(FaultRule::read(body)?),
            },
            ("FAULT", "LIST") => nothing(body, Self::FaultList)?,
            ("FAULT", "CLEAR") => {
                let Clear { id } = read(body)?;
                Self::FaultClear { id }
            }
            ("JOURNAL", "LIST") => Self::JournalList(Wanted::read(body)?),
            ("JOURNAL", "COUNT") => Self::JournalCount(Wanted::read_filter(body)?),
            ("JOURNAL", "CLEAR") => Self::JournalClear(Wanted::read_filter(body)?),
            ("JOURNAL", "RECORD") => Self::JournalRecord(Wanted::read_filter(body)?),
            ("JOURNAL", "WAIT") => Self::JournalWait(Awaited::read(body)?),
            _ => return Err(LabError::not_found(format!("no such verb: {group}.{verb}"))),
        })
    }

    /// Its name in the type of the answer.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::TimeGet => "time_get",
            Self::TimeAdvance { .. } => "time_advance",
            Self::TimeFreeze => "time_freeze",
            Self::TimeResume => "time_resume",
            Self::TimeNext { .. } => "time_next",
            Self::StateReset { .. } => "state_reset",
            Self::StateSave { .. } => "state_save",
            Self::StateLoad { .. } => "state_load",
            Self::StateList => "state_list",
            Self::StateDrop { .. } => "state_drop",
            Self::AccountIsolate { .. } => "account_isolate",
            Self::AccountRelease { .. } => "account_release",
            Self::AccountList => "account_list",
            Self::FaultAdd(_) | Self::Restart(_) => "fault_add",
            Self::FaultList => "fault_list",
            Self::FaultClear { .. } => "fault_clear",
            Self::JournalList(_) => "journal_list",
            Self::JournalCount(_) => "journal_count",
            Self::JournalClear(_) => "journal_clear",
            Self::JournalRecord(_) => "journal_record",
            Self::JournalWait(_) => "journal_wait",
        }
    }

    /// Whether it leaves everything as it is.
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::TimeGet | Self::TimeNext { .. } | Self::FaultList => true,
            Self::StateList | Self::AccountList => true,
            Self::StateSave { .. } | Self::StateLoad { .. } | Self::StateDrop { .. } => false,
            Self::AccountIsolate { .. } | Self::AccountRelease { .. } => false,
            Self::JournalList(_) | Self::JournalCount(_) | Self::JournalRecord(_) => true,
            Self::TimeAdvance { .. } | Self::TimeFreeze | Self::TimeResume | Self::StateReset { .. } => false,
            Self::FaultAdd(_) | Self::Restart(_) | Self::FaultClear { .. } => false,
            Self::JournalClear(_) | Self::JournalWait(_) => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(default)]
    by: Option<Length>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    what: Option<What>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    stream: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    keep: Vec<Kept>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default)]
    name: Option<String>,
}

impl Named {
    fn given(self) -> Result<String, LabError> {
        self.name.ok_or_else(|| LabError::bad_request("a name is needed"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Both,
    Wall,
    Elapsed,
}

/// A length of time: Go's text, or nanoseconds.
pub(super) struct Length(pub(super) GoDuration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Ns(i64),
        }
        match Form::deserialize(deserializer)
            .map_err(|_| D::Error::custom("a duration is text or nanoseconds"))?
        {
            Form::Text(text) => GoDuration::parse(&text).map(Self).map_err(D::Error::custom),
            Form::Ns(ns) => Ok(Self(GoDuration(ns))),
        }
    }
}

impl Advance {
    fn request(self) -> Result<Request, LabError> {
        let what = match self.what {
            None | Some(What::Both) => Moved::Both,
            Some(What::Wall) => Moved::Wall,
            Some(What::Elapsed) => Moved::Elapsed,
        };
        let to = match (self.by, self.to.as_deref()) {
            (Some(Length(by)), None) => {
                let by = u64::try_from(by.0);
                To::By(by.map_err(|_| LabError::bad_request("time does not go backwards: by is negative"))?)
            }
            (None, Some("next")) => To::Next,
            (None, Some(time)) => To::Wall(GoTime::parse(time).map_err(LabError::bad_request)?.ns()),
            _ => return Err(LabError::bad_request("one of by and to says how far")),
        };
        if what == Moved::Elapsed && matches!(to, To::Wall(_)) {
            return Err(LabError::bad_request("elapsed time has no moments to go to"));
        }
        Ok(Request::TimeAdvance { to, what })
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, LabError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    // An array would fill the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(LabError::bad_request("wrong body: it is no object"));
    }
    serde_json::from_slice(body).map_err(|error| LabError::bad_request(format!("wrong body: {error}")))
}

fn nothing(body: &[u8], request: Request) -> Result<Request, LabError> {
    read(body).map(|Nothing {}| request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(body: &str) -> Result<Request, LabError> {
        Request::parse("time", "advance", body.as_bytes())
    }

    #[test]
    fn the_ways_to_say_how_far() {
        let by = |ns, what| Ok(Request::TimeAdvance { to: To::By(ns), what });
        assert_eq!(advance(r#"{"by":"1h"}"#), by(3_600_000_000_000, Moved::Both));
        assert_eq!(advance(r#"{"by":5,"what":"wall"}"#), by(5, Moved::Wall));
        assert_eq!(advance(r#"{"to":"next"}"#), Ok(Request::TimeAdvance { to: To::Next, what: Moved::Both }));
        let to = To::Wall(1_000_000_000);
        assert_eq!(
            advance(r#"{"to":"1970-01-01T00:00:01Z","what":"both"}"#),
            Ok(Request::TimeAdvance { to, what: Moved::Both })
        );
        for wrong in [
            "",
            "{}",
            "[]",
            "nothing",
            r#"{"by":"1h","to":"next"}"#,
            r#"{"by":"-1h"}"#,
            r#"{"by":-1}"#,
            r#"{"by":1.5}"#,
            r#"{"by":"soon"}"#,
            r#"{"to":"soon"}"#,
            r#"{"by":"1h","more":1}"#,
            r#"{"by":"1h","what":"none"}"#,
            r#"{"to":"1970-01-01T00:00:01Z","what":"elapsed"}"#,
        ] {
            assert_eq!(advance(wrong).map_err(|error| error.code), Err(400), "{wrong}");
        }
    }

    #[test]
    fn a_body_says_nothing_more_than_it_may() {
        assert_eq!(Request::parse("TIME", "GET", b" "), Ok(Request::TimeGet));
        for wrong in [&b"[]"[..], b"null", b"\"\"", b"{", b"{}{}", b"\xff"] {
            assert_eq!(Request::parse("TIME", "GET", wrong).map_err(|error| error.code), Err(400));
        }
        assert!(Request::parse("TIME", "GET", br#"{"by":"1h"}"#).is_err());
        let reset = Request::parse("STATE", "RESET", br#"{"account":"A","keep":["clock"]}"#);
        let account = Some("A".to_owned());
        assert_eq!(reset, Ok(Request::StateReset { account, keep: vec![Kept::Clock] }));
        assert_eq!(Request::parse("TIME", "TRAVEL", b"").map_err(|error| error.code), Err(404));
    }
}
