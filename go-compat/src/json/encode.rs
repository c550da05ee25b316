//! Writes JSON as Go's `json.Marshal` does: compact, and with `<`, `>`, `&`, U+2028 and U+2029 escaped in strings.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// Strings and numbers as in Go, in the layout of another formatter.
struct GoFormatter<F>(F);

/// Hands the layout on.
macro_rules! layout {
    ($($name:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {$(
        fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        }
    )*};
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    layout!(
        begin_array(),
        end_array(),
        begin_array_value(first: bool),
        end_array_value(),
        begin_object(),
        end_object(),
        begin_object_key(first: bool),
        end_object_key(),
        begin_object_value(),
        end_object_value(),
    );

    /// The shortest digits that read back as the same number; with an exponent when it is very small or very large.
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            return write!(writer, "{value}");
        }
        let text = format!("{value:e}");
        match text.split_once('e') {
            // A positive exponent has its sign.
            Some((digits, exponent)) if !exponent.starts_with('-') => write!(writer, "{digits}e+{exponent}"),
            _ => writer.write_all(text.as_bytes()),
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        // Nearly all text has nothing of the kind, and to look for characters costs more than all else about it.
        if !fragment.bytes().fold(false, |found, byte| found | may_be_special(byte)) {
            return writer.write_all(fragment.as_bytes());
        }
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, tail) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = tail.chars();
            if let Some(special) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(special))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

/// Whether a character that Go escapes may begin with this byte.
#[inline]
fn may_be_special(byte: u8) -> bool {
    // The last one is that of U+2028 and U+2029.
    (byte == b'<') | (byte == b'>') | (byte == b'&') | (byte == 0xe2)
}

/// Serializes `value` as Go would.
#[must_use]
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

/// Appends `value` to `out` as Go would write it.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    write_with(CompactFormatter, value, out);
}

/// Serializes `value` as Go's `json.MarshalIndent` with two blanks for each level.
#[must_use]
pub fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = Vec::with_capacity(1024);
    write_with(PrettyFormatter::new(), value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn write_with<T: Serialize + ?Sized>(layout: impl Formatter, value: &T, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(out, GoFormatter(layout));
    // Writing to memory cannot fail, and what is written here has string keys only.
    let result = value.serialize(&mut serializer);
    debug_assert!(result.is_ok(), "{result:?}");
}

/// Serializes `value` as Go would, as text.
#[must_use]
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(to_vec(value)).unwrap_or_default()
}

/// Appends a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write(text, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_go_writes() {
        let value = serde_json::json!({"a<b>&": "\u{2028}\"\\\n\u{1}\u{8}\u{7f}é", "n": [1.0, 1e21, 1.5e-7, -0.25, 100]});
        assert_eq!(
            to_string(&value),
            "{\"a\\u003cb\\u003e\\u0026\":\"\\u2028\\\"\\\\\\n\\u0001\\b\u{7f}é\",\"n\":[1,1e+21,1.5e-7,-0.25,100]}"
        );
        let lines = pretty(&serde_json::json!({"a": {}, "b": [], "c": ["<"]}));
        assert_eq!(lines, "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    \"\\u003c\"\n  ]\n}");
    }
}
