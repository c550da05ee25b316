//! Quoting as nats-server writes it: subjects in its errors are in the double-quoted form of a Go string.

use std::fmt::Write;

/// `bytes` in double quotes, with escapes for what does not print: nats-server's form in errors and log lines.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    push_quoted(&mut out, bytes);
    out
}

/// Appends `bytes` in double quotes to `out`.
pub(crate) fn push_quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_char(out, c);
        }
        for byte in chunk.invalid() {
            push_escape(out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
}

fn push_char(out: &mut String, c: char) {
    let code = u32::from(c);
    match c {
        '"' => out.push_str("\\\""),
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
        _ if c.is_control() || c.is_whitespace() || c.escape_debug().len() > 1 => {
            if code < 0x1_0000 {
                push_escape(out, format_args!("\\u{code:04x}"));
            } else {
                push_escape(out, format_args!("\\U{code:08x}"));
            }
        }
        _ => out.push(c),
    }
}

fn push_escape(out: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a String has no way to fail.
    let _ = out.write_fmt(escape);
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted(b"foo.*"), r#""foo.*""#);
        assert_eq!(quoted(b"a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted(b"\x00\x07\x0b\x7f\xff"), r#""\x00\a\v\x7f\xff""#);
        assert_eq!(quoted("käse\u{2028}\u{a0}".as_bytes()), r#""käse\u2028\u00a0""#);
    }
}
