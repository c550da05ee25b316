//! Fills Rust values from JSON by Go's rules and with Go's errors.

use super::scan::{Kind, ScanError, Value, next_value, whole_value};
use crate::{GoTime, quoted};
use std::collections::BTreeMap;

/// Something that JSON can fill in. Fields that the JSON does not name keep their values.
pub trait Decode {
    /// The name of the type in Go, for error texts.
    fn go_type() -> &'static str;
    /// Takes `value`; reports what does not fit to `decoder`.
    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder);
}

/// A struct as Go sees it.
pub trait GoStruct {
    /// The name of the struct in Go.
    const GO_NAME: &'static str;
    /// The field that a key means, if any: exact, or without regard to case where `folded`.
    fn find(key: &str, folded: bool) -> Option<&'static str>;
    /// Fills the field.
    fn set(&mut self, field: &'static str, value: Value<'_>, decoder: &mut Decoder);
}

/// Carries the errors of one decoding, and where it stands.
#[derive(Debug, Default)]
pub struct Decoder {
    strict: bool,
    fatal: Option<String>,
    saved: Option<String>,
    within: &'static str,
    /// The struct that embeds the one whose field comes next.
    embedded_in: Option<&'static str>,
    path: Vec<&'static str>,
}

impl Decoder {
    /// Ends the decoding: what custom decoders of Go do.
    pub fn fail(&mut self, error: String) {
        self.fatal.get_or_insert(error);
    }

    /// Notes the first error and goes on.
    fn save(&mut self, error: String) {
        self.saved.get_or_insert(error);
    }

    /// Ends the decoding because `value` is not of `go_type`.
    pub fn fail_mismatch(&mut self, value: Value<'_>, go_type: &str) {
        let error = self.mismatch_text(kind_name(value), go_type);
        self.fail(error);
    }

    /// Notes that `what` does not fit `go_type`.
    pub fn mismatch(&mut self, what: &str, go_type: &str) {
        let error = self.mismatch_text(what, go_type);
        self.save(error);
    }

    fn mismatch_text(&self, what: &str, go_type: &str) -> String {
        if self.path.is_empty() {
            format!("json: cannot unmarshal {what} into Go value of type {go_type}")
        } else {
            let (within, path) = (self.within, self.path.join("."));
            format!("json: cannot unmarshal {what} into Go struct field {within}.{path} of type {go_type}")
        }
    }

    fn mismatch_value(&mut self, value: Value<'_>, go_type: &str) {
        if value.kind() == Kind::Null {
            return;
        }
        let what = kind_name(value);
        self.mismatch(what, go_type);
    }

    /// Decodes one field of a struct called `within`.
    pub fn field(&mut self, within: &'static str, name: &'static str, decode: impl FnOnce(&mut Self)) {
        let within = self.embedded_in.take().unwrap_or(within);
        let outer = std::mem::replace(&mut self.within, within);
        self.path.push(name);
        decode(self);
        self.path.pop();
        self.within = outer;
    }

    /// Decodes an embedded struct's field, which Go reports under the outer struct.
    pub fn embedded(&mut self, within: &'static str, name: &'static str, decode: impl FnOnce(&mut Self)) {
        self.embedded_in = Some(within);
        self.path.push(name);
        decode(self);
        self.path.pop();
        self.embedded_in = None;
    }

    /// Decodes an object into a struct.
    pub fn object<T: GoStruct>(&mut self, target: &mut T, value: Value<'_>, go_type: &str) {
        if value.kind() != Kind::Object {
            self.mismatch_value(value, go_type);
            return;
        }
        value.for_each_field(|key, field| {
            if self.fatal.is_some() {
                return;
            }
            match T::find(key, false).or_else(|| T::find(key, true)) {
                Some(name) => target.set(name, field, self),
                None if self.strict => {
                    self.save(format!("json: unknown field {}", quoted(key)));
                }
                None => {}
            }
        });
    }

    fn finish(self) -> Result<(), String> {
        self.fatal.or(self.saved).map_or(Ok(()), Err)
    }
}

fn kind_name(value: Value<'_>) -> &'static str {
    match value.kind() {
        Kind::Null => "null",
        Kind::Bool => "bool",
        Kind::Number => "number",
        Kind::String => "string",
        Kind::Array => "array",
        Kind::Object => "object",
    }
}

/// Whether a key stands for a field whose name is ASCII, as Go folds both: without regard to case, and the two letters
/// outside of ASCII that fold to ASCII ones are these.
#[must_use]
pub fn is_same_folded(name: &str, key: &str) -> bool {
    let folded = key.chars().map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    name.chars().map(|c| c.to_ascii_lowercase()).eq(folded)
}

/// Decodes like Go's `json.Unmarshal`.
///
/// # Errors
/// Go's text.
pub fn decode_lenient<T: Decode>(data: &[u8], target: &mut T) -> Result<(), String> {
    decode_value(whole_value(data), target)
}

/// Decodes the first value like the first `Decode` of Go's `json.Decoder`: nobody looks at what comes behind it.
///
/// # Errors
/// Go's text.
///
/// # Examples
///
/// ```
/// let mut number = 0_u64;
/// jetkv_go_compat::json::decode_first(b"5 and more", &mut number).unwrap();
/// assert_eq!(number, 5);
/// ```
pub fn decode_first<T: Decode>(data: &[u8], target: &mut T) -> Result<(), String> {
    let first = next_value(data, 0).and_then(|next| next.ok_or(ScanError::End));
    decode_value(first.map(|(value, _)| value), target)
}

fn decode_value<T: Decode>(value: Result<Value<'_>, ScanError>, target: &mut T) -> Result<(), String> {
    let value = value.map_err(|error| match error {
        ScanError::End => "unexpected end of JSON input".to_owned(),
        ScanError::Syntax { text, .. } => text,
    })?;
    let mut decoder = Decoder::default();
    target.decode(value, &mut decoder);
    decoder.finish()
}

/// Decodes like nats-server in strict mode: unknown fields are errors, several values after one another are all
/// taken, and no value at all is no error.
///
/// # Errors
/// Go's text, with the offset that nats-server adds to syntax errors.
pub fn decode_strict<T: Decode>(data: &[u8], target: &mut T) -> Result<(), String> {
    let mut at = 0;
    loop {
        let next = next_value(data, at).map_err(|error| match error {
            ScanError::End => "unexpected EOF".to_owned(),
            ScanError::Syntax { text, offset } => format!("{text} at offset {offset}"),
        })?;
        let Some((value, end)) = next else { return Ok(()) };
        let mut decoder = Decoder { strict: true, ..Decoder::default() };
        target.decode(value, &mut decoder);
        decoder.finish()?;
        at = end;
    }
}

impl Decode for String {
    fn go_type() -> &'static str {
        "string"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::String => *self = value.string().into_owned(),
            _ => decoder.mismatch_value(value, Self::go_type()),
        }
    }
}

impl Decode for bool {
    fn go_type() -> &'static str {
        "bool"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Bool => *self = value.raw() == b"true",
            _ => decoder.mismatch_value(value, Self::go_type()),
        }
    }
}

fn decode_number<N: std::str::FromStr>(
    target: &mut N,
    value: Value<'_>,
    decoder: &mut Decoder,
    go_type: &'static str,
) {
    if value.kind() != Kind::Number {
        decoder.mismatch_value(value, go_type);
        return;
    }
    match value.number().parse() {
        Ok(number) => *target = number,
        Err(_) => decoder.mismatch(&format!("number {}", value.number()), go_type),
    }
}

macro_rules! decode_number {
    ($($type:ty as $name:literal),+) => {$(
        impl Decode for $type {
            fn go_type() -> &'static str {
                $name
            }

            fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
                decode_number(self, value, decoder, $name);
            }
        }
    )+};
}

decode_number!(i64 as "int64", i32 as "int32", u64 as "uint64", u16 as "uint16", u8 as "uint8", f64 as "float64");

/// Decodes Go's `int`.
#[derive(Debug)]
pub struct Int;

impl Int {
    /// Fills `target`.
    pub fn decode(target: &mut i64, value: Value<'_>, decoder: &mut Decoder) {
        decode_number(target, value, decoder, "int");
    }
}

/// Decodes Go's `time.Duration`, nanoseconds.
#[derive(Debug)]
pub struct Duration;

impl Duration {
    /// Fills `target`.
    pub fn decode(target: &mut i64, value: Value<'_>, decoder: &mut Decoder) {
        decode_number(target, value, decoder, "time.Duration");
    }
}

/// Decodes a list of Go's `time.Duration`, nanoseconds.
#[derive(Debug)]
pub struct Durations;

impl Durations {
    /// Fills `target`.
    pub fn decode(target: &mut Vec<i64>, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Null => target.clear(),
            Kind::Array => {
                target.clear();
                value.for_each_element(|element| {
                    let mut item = 0;
                    Duration::decode(&mut item, element, decoder);
                    target.push(item);
                });
            }
            _ => decoder.mismatch_value(value, "[]time.Duration"),
        }
    }
}

impl<T: Decode + Default> Decode for Option<T> {
    fn go_type() -> &'static str {
        T::go_type()
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        if value.kind() == Kind::Null {
            *self = None;
        } else {
            self.get_or_insert_with(T::default).decode(value, decoder);
        }
    }
}

impl<T: Decode + Default> Decode for Vec<T> {
    fn go_type() -> &'static str {
        // Go names the element type; lists of strings, durations and numbers are what requests hold.
        match T::go_type() {
            "string" => "[]string",
            "uint64" => "[]uint64",
            "time.Duration" => "[]time.Duration",
            "server.StreamSource" => "[]*server.StreamSource",
            "server.SubjectTransformConfig" => "[]server.SubjectTransformConfig",
            other => other,
        }
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::Array => {
                self.clear();
                value.for_each_element(|element| {
                    let mut item = T::default();
                    item.decode(element, decoder);
                    self.push(item);
                });
            }
            _ => decoder.mismatch_value(value, Self::go_type()),
        }
    }
}

impl Decode for BTreeMap<String, String> {
    fn go_type() -> &'static str {
        "map[string]string"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::Object => value.for_each_field(|key, field| {
                let mut text = String::new();
                text.decode(field, decoder);
                self.insert(key.to_owned(), text);
            }),
            _ => decoder.mismatch_value(value, Self::go_type()),
        }
    }
}

impl Decode for GoTime {
    fn go_type() -> &'static str {
        "time.Time"
    }

    fn decode(&mut self, value: Value<'_>, decoder: &mut Decoder) {
        match value.kind() {
            Kind::Null => {}
            Kind::String => {
                let inner = value.raw().get(1..value.raw().len().saturating_sub(1)).unwrap_or_default();
                match GoTime::parse(&String::from_utf8_lossy(inner)) {
                    Ok(time) => *self = time,
                    Err(error) => decoder.fail(error),
                }
            }
            _ => decoder.fail("Time.UnmarshalJSON: input is not a JSON string".to_owned()),
        }
    }
}

/// Says how JSON fills a struct: `go_struct! { Type as "GoName" { "key" => field, "key" => field as Duration, } }`,
/// with `embed "GoName" => field: Type,` before the fields for an embedded struct.
#[macro_export]
macro_rules! go_struct {
    ($type:ty as $go:literal { $(embed $embed:literal => $inner:ident: $inner_type:ty,)?
        $($key:literal => $field:ident $(as $codec:ident)?,)* }) => {
        impl $crate::json::GoStruct for $type {
            const GO_NAME: &'static str = $go;

            fn find(key: &str, folded: bool) -> Option<&'static str> {
                let same = |name: &str| if folded { $crate::json::is_same_folded(name, key) } else { name == key };
                $(if same($key) { return Some($key); })*
                $(if let Some(name) = <$inner_type as $crate::json::GoStruct>::find(key, folded) { return Some(name); })?
                let _ = same;
                None
            }

            fn set(
                &mut self,
                field: &'static str,
                value: $crate::json::Value<'_>,
                decoder: &mut $crate::json::Decoder,
            ) {
                match field {
                    $($key => decoder.field($go, $key, |decoder| {
                        $crate::json::go_struct!(@decode self, $field, value, decoder $(, $codec)?);
                    }),)*
                    _ => { $(decoder.embedded($go, $embed, |decoder| {
                        $crate::json::GoStruct::set(&mut self.$inner, field, value, decoder);
                    }))? }
                }
            }
        }

        impl $crate::json::Decode for $type {
            fn go_type() -> &'static str {
                concat!("server.", $go)
            }

            fn decode(&mut self, value: $crate::json::Value<'_>, decoder: &mut $crate::json::Decoder) {
                decoder.object(self, value, concat!("server.", $go));
            }
        }
    };
    (@decode $self:ident, $field:ident, $value:ident, $decoder:ident) => {
        $crate::json::Decode::decode(&mut $self.$field, $value, $decoder)
    };
    (@decode $self:ident, $field:ident, $value:ident, $decoder:ident, $codec:ident) => {
        $crate::json::$codec::decode(&mut $self.$field, $value, $decoder)
    };
}
