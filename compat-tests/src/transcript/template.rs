//! Text of a step to the bytes it stands for: variables first, then escapes.

use std::collections::BTreeMap;

use crate::Result;

/// Variables that steps have captured, and those of the harness (`dir`, `port`, `url`, ...).
pub type Variables = BTreeMap<String, String>;

/// Replaces `${name}` by its value, and `${x*1000}` by a thousand times `x`.
///
/// # Errors
/// When a variable is unknown.
pub fn expand(text: &str, variables: &Variables) -> Result<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        result.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| format!("no }} after ${{ in {text:?}"))?;
        if let Some(value) = variables.get(name) {
            result.push_str(value);
        } else if let Some((what, count)) = name.rsplit_once('*') {
            result.push_str(&what.repeat(count.parse()?));
        } else {
            return Err(format!("unknown variable {name:?}").into());
        }
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

/// Decodes `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH`; any other backslash stays as it is.
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match tail {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'\\', 0),
            },
            _ => (b'\\', 0),
        };
        bytes.push(byte);
        rest = tail.get(used..).unwrap_or_default();
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Bytes as printable text, the reverse of [`decode`].
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_is_undone_by_decode() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), bytes);
    }

    #[test]
    fn repetition_and_variables_are_replaced() {
        let variables = Variables::from([("a.b".to_string(), "1".to_string())]);
        assert_eq!(expand("${a.b}-${xy*2}", &variables).unwrap(), "1-xyxy");
        assert!(expand("${nothing}", &variables).is_err());
    }
}
