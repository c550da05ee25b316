//! What holds for any bytes that come before or around the client protocol: frames of a WebSocket, and the header of a proxy.
//! Shared by the fuzz target and the test that replays its corpus.

use jetkv_protocol::websocket::{
    CONTROL_BYTES_MAX, FrameReader, INFLATED_TAIL, Inflater, Piece, accept_key, close_payload, is_key,
};
use jetkv_protocol::{ProxyHeader, ProxyHeaderError};

/// Bytes that an inflated message may have here.
const INFLATED_BYTES_MAX: usize = 1 << 16;

/// Panics when bytes break an invariant.
pub(crate) fn check(data: &[u8]) {
    for masked in [true, false] {
        let whole = frames(data, data.len().max(1), masked);
        assert_eq!(whole, frames(data, 1, masked), "byte by byte");
        assert_eq!(whole, frames(data, 7, masked), "seven bytes at a time");
    }
    inflate(data);
    proxy(data);
    if is_key(data) {
        assert_eq!(accept_key(data).len(), 28);
    }
}

/// The bytes of messages, and everything else in words, read in pieces of `step` bytes.
fn frames(data: &[u8], step: usize, masked: bool) -> (Vec<u8>, Vec<String>) {
    let mut reader = FrameReader::new(masked, true);
    let (mut bytes, mut others) = (Vec::new(), Vec::new());
    for piece in data.to_vec().chunks_mut(step) {
        let mut input = piece;
        loop {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Piece::Data { bytes: part, deflated, ends })) => {
                    bytes.extend_from_slice(part);
                    if ends {
                        others.push(format!("{} bytes, deflated {deflated}", bytes.len()));
                    }
                }
                Ok(Some(Piece::Ping(payload))) => {
                    assert!(payload.len() <= CONTROL_BYTES_MAX);
                    others.push(format!("ping {}", payload.escape_ascii()));
                }
                Ok(Some(Piece::Pong)) => others.push("pong".to_owned()),
                Ok(Some(Piece::Close(answer))) => {
                    assert!(answer.len() <= CONTROL_BYTES_MAX);
                    others.push(format!("close {}", answer.escape_ascii()));
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(close_payload(1002, &text).len() <= CONTROL_BYTES_MAX);
                    others.push(text);
                    return (bytes, others);
                }
            }
        }
    }
    (bytes, others)
}

/// Inflating ends, whatever it is given.
fn inflate(data: &[u8]) {
    let input = [data, INFLATED_TAIL].concat();
    let (mut inflater, mut out, mut at) = (Inflater::default(), Vec::with_capacity(INFLATED_BYTES_MAX), 0);
    while out.len() < INFLATED_BYTES_MAX {
        let before = out.len();
        let Ok((taken, ended)) = inflater.inflate(input.get(at..).unwrap_or_default(), &mut out) else {
            return;
        };
        at += taken;
        assert!(at <= input.len());
        if ended || (taken == 0 && out.len() == before) {
            return;
        }
    }
}

/// A header is the same however much comes behind it, and nothing is decided before enough is here.
fn proxy(data: &[u8]) {
    let whole = ProxyHeader::read(data);
    if let Ok(ProxyHeader::Present { length, .. }) = whole {
        assert!(length <= data.len());
        assert_eq!(ProxyHeader::read(data.get(..length).unwrap_or_default()), whole);
    }
    let first = (0..=data.len()).map(|length| ProxyHeader::read(data.get(..length).unwrap_or_default()));
    let decided = first.into_iter().find(|read| *read != Ok(ProxyHeader::Incomplete));
    let is_kept = |decided: &Result<ProxyHeader, ProxyHeaderError>| *decided == whole;
    assert!(decided.as_ref().is_none_or(is_kept), "{decided:?} became {whole:?}");
}
