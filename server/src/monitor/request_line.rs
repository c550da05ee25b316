//! What stands in an address although it should not, made harmless.
//!
//! Go's HTTP server takes a `>` or a quote in an address for what it is, as in `/connz?filter=>`; the library here refuses
//! the request. So such bytes are escaped in the request line before it looks at that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 2048;

/// What the requests begin with whose lines are escaped. Only others have a body, which is left as it is.
const ESCAPED: &[u8] = b"GET ";

/// A connection that escapes bytes in the request line of every GET.
pub(super) struct RequestLines<S> {
    stream: S,
    place: Place,
    /// What was read and escaped, and how much of it was handed on.
    ready: Vec<u8>,
    handed_on: usize,
}

/// Where in a request the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind so many bytes of a request line, or of a body, that begins as lines do that are escaped.
    LineStart(usize),
    /// In the request line of a GET.
    Line,
    /// In another request line, or in a body.
    Other,
    /// At the start of a header line: an empty one ends the request.
    HeaderStart,
    /// In a header line.
    Header,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::HeaderStart, b'\r') => Self::HeaderStart,
            (Self::HeaderStart, b'\n') => Self::LineStart(0),
            (_, b'\n') => Self::HeaderStart,
            (Self::LineStart(at), _) if ESCAPED.get(at) == Some(&byte) && at + 1 == ESCAPED.len() => {
                Self::Line
            }
            (Self::LineStart(at), _) if ESCAPED.get(at) == Some(&byte) => Self::LineStart(at + 1),
            (Self::Line, _) => Self::Line,
            (Self::LineStart(_) | Self::Other, _) => Self::Other,
            (Self::HeaderStart | Self::Header, _) => Self::Header,
        }
    }
}

/// Adds `read` to `out` with what the library refuses escaped.
fn escape(place: &mut Place, read: &[u8], out: &mut Vec<u8>) {
    for byte in read {
        let refused = matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`' | 0x80..);
        if *place == Place::Line && refused {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(*byte);
        }
        *place = place.after(*byte);
    }
}

impl<S> RequestLines<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, place: Place::LineStart(0), ready: Vec::new(), handed_on: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestLines<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.handed_on == this.ready.len() {
            let mut chunk = [0; CHUNK_BYTES];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            this.ready.clear();
            this.handed_on = 0;
            escape(&mut this.place, read.filled(), &mut this.ready);
        }
        let rest = this.ready.get(this.handed_on..).unwrap_or_default();
        let part = rest.get(..rest.len().min(buf.remaining())).unwrap_or_default();
        buf.put_slice(part);
        this.handed_on += part.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestLines<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_request_lines_are_escaped() {
        let text = "GET /a>?x=<\"#` HTTP/1.1\r\nA: <\r\n\r\nGET />é HTTP/1.1\r\n\r\nPOST /x HTTP/1.1\r\n\r\n{\"<\":1}";
        for step in 1..text.len() {
            let (mut place, mut out) = (Place::LineStart(0), Vec::new());
            for part in text.as_bytes().chunks(step) {
                escape(&mut place, part, &mut out);
            }
            let expected = "GET /a%3E?x=%3C%22%23%60 HTTP/1.1\r\nA: <\r\n\r\nGET /%3E%C3%A9 HTTP/1.1\r\n\r\nPOST /x HTTP/1.1\r\n\r\n{\"<\":1}";
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{step}");
        }
    }
}
