//! Reading JSON objects by the rules of the Go server: names match without regard to case, unknown ones
//! are skipped, null leaves a field as it was, a repeated name overwrites, and a wrong type is an error.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A struct whose fields can be set by name.
pub(crate) trait Object {
    /// Reads the value for `name`, which is in lower case; false when there is no such field, in which case
    /// no value was read.
    fn read_field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// A field that takes its value from JSON.
pub(crate) trait Field {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error>;
}

macro_rules! plain_fields {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
                if let Some(value) = map.next_value::<Option<$kind>>()? {
                    *self = value;
                }
                Ok(())
            }
        }
    )*};
}

plain_fields!(bool, String, u8, u64, i32, i64);

impl Field for Vec<String> {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        let values = map.next_value::<Option<Vec<Option<String>>>>()?.unwrap_or_default();
        *self = values.into_iter().map(Option::unwrap_or_default).collect();
        Ok(())
    }
}

impl<T: for<'a> Deserialize<'a>> Field for Option<T> {
    fn read<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        *self = map.next_value()?;
        Ok(())
    }
}

/// Implements [`Object`] for a struct whose fields are named as in JSON.
macro_rules! object {
    ($kind:ty { $($name:ident),* $(,)? }) => {
        impl $crate::json::Object for $kind {
            fn read_field<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match name {
                    $(stringify!($name) => $crate::json::Field::read(&mut self.$name, map)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}
pub(crate) use object;

/// Reads an object onto what a struct holds already.
pub(crate) struct Onto<'a, T>(pub(crate) &'a mut T);

impl<'de, T: Object> DeserializeSeed<'de> for Onto<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for Onto<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(mut name) = map.next_key::<String>()? {
            fold(&mut name);
            if !self.0.read_field(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Lower case as Go folds it: ASCII, and the two letters outside of it that fold to ASCII ones.
fn fold(name: &mut String) {
    if name.is_ascii() {
        name.make_ascii_lowercase();
        return;
    }
    *name = name
        .chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect();
}

/// Go's limit of arrays and objects within each other.
const DEPTH_MAX: usize = 10_000;

/// Whether a text has more arrays and objects within each other than Go reads. Of a text that is no JSON, the answer
/// may be wrong.
fn is_too_deep(json: &[u8]) -> bool {
    // Most texts are too short for that.
    if json.len() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut bytes) = (0_usize, false, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// Reads `json` onto `target`. What has no field there is skipped without a call for each level of its nesting, so the
/// depth of calls is that of the target's type.
pub(crate) fn read_onto<T: Object>(target: &mut T, json: &[u8]) -> Result<(), serde_json::Error> {
    if is_too_deep(json) {
        return Err(serde::de::Error::custom("exceeded max depth"));
    }
    let text = repaired(json);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    Onto(target).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Puts U+FFFD where Go's reader does: for bytes that are not UTF-8 and for escaped halves of surrogate pairs.
fn repaired(json: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(json);
    if memchr::memmem::find(text.as_bytes(), br"\ud").is_none()
        && memchr::memmem::find(text.as_bytes(), br"\uD").is_none()
    {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push('\u{fffd}');
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(whole);
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The UTF-16 unit that `text` starts with, as a `\u` escape.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// Whether a field has its zero value and is left out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
