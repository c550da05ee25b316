//! Quoting as Go's `%q` does: names and subjects in errors and log lines of nats-server are in this form.

use std::fmt::Write;

/// `text`, which need not be UTF-8, in double quotes, with escapes for what does not print: nats-server's form in errors and log lines.
#[must_use]
pub fn quoted(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let mut out = String::with_capacity(bytes.len() + 2);
    push_quoted(&mut out, bytes);
    out
}

/// Appends `bytes` in double quotes to `out`.
pub fn push_quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '"' {
                out.push_str("\\\"");
            } else {
                push_char(out, c);
            }
        }
        for byte in chunk.invalid() {
            push_escape(out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
}

/// One byte in single quotes, as Go's JSON syntax errors show it.
#[must_use]
pub fn quoted_byte(byte: u8) -> String {
    let mut out = String::from("'");
    if byte == b'\'' {
        out.push_str("\\'");
    } else {
        push_char(&mut out, char::from(byte));
    }
    out.push('\'');
    out
}

fn push_char(out: &mut String, c: char) {
    let code = u32::from(c);
    match c {
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        _ if code < 0x20 || code == 0x7f => push_escape(out, format_args!("\\x{code:02x}")),
        _ if !prints(c) => {
            if code < 0x1_0000 {
                push_escape(out, format_args!("\\u{code:04x}"));
            } else {
                push_escape(out, format_args!("\\U{code:08x}"));
            }
        }
        _ => out.push(c),
    }
}

/// Whether Go takes it for printable: letters, marks, numbers, punctuation, symbols, and of the blanks only the plain one.
fn prints(c: char) -> bool {
    // Behind another character a mark prints as itself in Rust, too.
    let mut behind = ['a', c].iter().collect::<String>();
    behind = behind.escape_debug().skip(1).collect();
    !c.is_control() && !c.is_whitespace() && behind.chars().nth(1).is_none()
}

fn push_escape(out: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a String has no way to fail.
    let _ = out.write_fmt(escape);
}

#[cfg(test)]
mod tests {
    use super::{quoted, quoted_byte};

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted(b"foo.*"), r#""foo.*""#);
        assert_eq!(quoted(b"a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted(b"\x00\x07\x0b\x7f\xff"), r#""\x00\a\v\x7f\xff""#);
        assert_eq!(quoted("käse\u{2028}\u{a0}\u{ad}\u{feff}'"), r#""käse\u2028\u00a0\u00ad\ufeff'""#);
        assert_eq!(quoted("e\u{301}"), "\"e\u{301}\"");
        assert_eq!(
            [b'\'', b'"', b'\\', 0, 0xe4].map(quoted_byte),
            [r"'\''", "'\"'", r"'\\'", r"'\x00'", "'ä'"]
        );
    }
}
