//! The value of `Nats-Stream-Source`: `<stream> <sequence> <filter> <destination> <subject> [<identity>]`.

use super::reply::number;
use jetkv_protocol::subject;

/// Where a source stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last sequence of the origin that was stored, 0 for none.
    pub(crate) seq: u64,
    /// Which of the streams that had that name it was, empty where that is not known.
    pub(crate) identity: String,
}

/// Writes where a message comes from.
pub(super) fn source_header(index_name: &str, seq: u64, original: &[u8], identity: &str) -> Vec<u8> {
    let mut parts = index_name.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let (name, filters, destinations) = (next(), next(), next());
    let mut out = format!("{name} {seq} {filters} {destinations} ").into_bytes();
    out.extend_from_slice(original);
    if !identity.is_empty() {
        out.push(b' ');
        out.extend_from_slice(identity.as_bytes());
    }
    out
}

/// Which source a message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Came {
    /// From the one with this index name.
    Source(String),
    /// As servers before 2.10 wrote it: from any of this stream.
    Stream(String),
}

/// Reads where a message comes from.
pub(super) fn read_source_header(value: &[u8]) -> Option<(Came, Position)> {
    if value.starts_with(b"$JS.ACK.") {
        let at = match subject::token_count(value) {
            9 => 2,
            11.. => 4,
            _ => return None,
        };
        let stream = String::from_utf8_lossy(subject::token_at(value, at)?).into_owned();
        let seq = number(subject::token_at(value, at + 3)?)?;
        return Some((Came::Stream(stream), Position { seq, identity: String::new() }));
    }
    let fields: Vec<&str> = std::str::from_utf8(value).ok()?.split(' ').collect();
    let seq = number(fields.get(1)?.as_bytes()).unwrap_or(0);
    match fields.as_slice() {
        [stream, _] => Some((Came::Stream((*stream).to_owned()), Position { seq, identity: String::new() })),
        [stream, _, filters, destinations, rest @ ..] => {
            let identity = rest.get(1).map(|identity| (*identity).to_owned()).unwrap_or_default();
            Some((Came::Source(format!("{stream} {filters} {destinations}")), Position { seq, identity }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let written = source_header("O:hash a.* b.$1", 17, b"a.x", "ident");
        assert_eq!(written, b"O:hash 17 a.* b.$1 a.x ident");
        let at = Position { seq: 17, identity: "ident".into() };
        assert_eq!(read_source_header(&written), Some((Came::Source("O:hash a.* b.$1".into()), at)));
        let without = source_header("O > >", 1, b"a", "");
        assert_eq!(without, b"O 1 > > a");
        assert!(read_source_header(&without).unwrap().1.identity.is_empty());
    }

    #[test]
    fn older_forms_name_the_stream_alone() {
        let read = |text: &str| read_source_header(text.as_bytes()).map(|(came, at)| (came, at.seq));
        assert_eq!(read("O 5"), Some((Came::Stream("O".into()), 5)));
        assert_eq!(read("$JS.ACK.O.C.1.5.3.99.4"), Some((Came::Stream("O".into()), 5)));
        assert_eq!(read("O"), None);
        assert_eq!(read("O 5 >"), None);
        assert_eq!(read(""), None);
    }
}
