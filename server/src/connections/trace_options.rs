//! How the log shows the protocol of connections.

use jetkv_go_compat::quoted;

use crate::options::LogOptions;

/// How connections are traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TraceOptions {
    /// Only the headers of a message are shown.
    pub headers_only: bool,
    /// Longest part of a message that is shown, in bytes. 0: all of it.
    pub max_len: usize,
}

impl TraceOptions {
    /// What the options say; `None` when connections are not traced.
    pub(crate) fn new(options: &LogOptions) -> Option<Self> {
        let traced = Self { headers_only: options.trace_headers, max_len: options.max_traced_msg_len };
        options.trace.then_some(traced)
    }

    /// What a line shows of a message, in quotes. `None` where there is nothing to show.
    pub(crate) fn content(self, headers: &[u8], payload: &[u8]) -> Option<String> {
        const BLOCK_END: &[u8] = b"\r\n\r\n";
        let mut shown = if self.headers_only {
            headers.strip_suffix(BLOCK_END).unwrap_or(headers).to_vec()
        } else {
            [headers, payload].concat()
        };
        if shown.is_empty() {
            return None;
        }
        if self.max_len == 0 || shown.len() <= self.max_len {
            return Some(quoted(&shown));
        }
        shown.truncate(self.max_len);
        let mut text = quoted(&shown);
        text.insert_str(text.len().saturating_sub(1), "...");
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_as_far_as_the_options_want() {
        let headers = b"NATS/1.0\r\nA: 1\r\n\r\n";
        let shown = |headers_only, max_len, headers: &[u8], payload: &[u8]| {
            TraceOptions { headers_only, max_len }.content(headers, payload)
        };
        assert_eq!(shown(false, 0, b"", b"a\"b").as_deref(), Some(r#""a\"b""#));
        assert_eq!(shown(false, 2, b"", b"abc").as_deref(), Some(r#""ab...""#));
        assert_eq!(shown(false, 3, b"", b"abc").as_deref(), Some(r#""abc""#));
        assert_eq!(shown(true, 0, headers, b"abc").as_deref(), Some(r#""NATS/1.0\r\nA: 1""#));
        assert_eq!((shown(true, 0, b"", b"abc"), shown(false, 0, b"", b"")), (None, None));
    }
}
