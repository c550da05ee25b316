//! The part of an address behind the question mark.

use std::num::IntErrorKind;

use jetkv_go_compat::quoted;

/// Parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    /// They came in a request of the system account, not in an address.
    requested: bool,
}

impl Query {
    pub(crate) fn new(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        // Go leaves out what it cannot decode, and what holds a semicolon.
        let pairs = pairs.filter(|pair| !pair.contains(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        Self { pairs: pairs.collect(), requested: false }
    }

    /// Parameters that were not written as text.
    pub(super) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, requested: true }
    }

    /// A parameter's first value; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, String> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {}: invalid syntax",
                quoted(other)
            )),
        }
    }

    /// As [`text`](Self::text), for a parameter that only requests of the system account have.
    pub(super) fn requested(&self, name: &str) -> &str {
        if self.requested { self.text(name) } else { "" }
    }

    /// Whether subscriptions are to be listed, and whether in detail.
    pub(super) fn subscriptions(&self) -> Result<(bool, bool), String> {
        let detailed = self.text("subs").eq_ignore_ascii_case("detail");
        Ok((!detailed && self.boolean("subs")?, detailed))
    }

    pub(super) fn integer(&self, name: &str) -> Result<i64, String> {
        self.number(name, "int", "Atoi")
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<u64, String> {
        self.number(name, "uint64", "ParseUint")
    }

    fn number<T>(&self, name: &str, kind: &str, function: &str) -> Result<T, String>
    where
        T: std::str::FromStr<Err = std::num::ParseIntError> + Default,
    {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(T::default());
        }
        text.parse().map_err(|error: std::num::ParseIntError| {
            let reason = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            format!(
                "Error decoding {kind} for '{name}': strconv.{function}: parsing {}: {reason}",
                quoted(text)
            )
        })
    }
}

/// `%41` and `+` as what they stand for; `None` where `%` is followed by something else.
fn decoded(text: &str) -> Option<String> {
    unescape(&text.replace('+', " "))
}

/// `%41` as what it stands for; `None` where `%` is followed by something else.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*byte);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
