//! The client's side of WebSocket: the request, frames around what is sent, and what comes out of the server's.
//!
//! As with the protocol inside, the parser is not the one of the server under test.

use std::io::{Read, Write};

use flate2::read::DeflateDecoder;

use crate::Result;

/// Bytes of an answer's head at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What deflated messages lack on the wire.
const TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// Asks for the upgrade, with `headers` (`Name: value`) in the place of the usual ones of the same name; one without a value
/// takes that out. Returns the answer's lines, and its body where the answer is no upgrade.
///
/// # Errors
/// The server closes before it answered.
pub fn ask(stream: &mut (impl Read + Write), line: &str, headers: &[String]) -> Result<Vec<String>> {
    let usual = [
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    let name = |header: &str| header.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let kept = usual.into_iter().filter(|usual| !headers.iter().any(|header| name(header) == name(usual)));
    let given = headers.iter().map(String::as_str).filter(|header| !header.trim_end().ends_with(':'));
    let lines: Vec<&str> = std::iter::once(line).chain(kept).chain(given).collect();
    stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            break;
        }
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_string).collect();
    lines.retain(|line| !line.starts_with("Date: "));
    let length = lines.iter().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    if let Some(length) = length {
        let mut body = vec![0; length.min(HEAD_BYTES_MAX)];
        stream.read_exact(&mut body)?;
        lines.push(String::from_utf8_lossy(&body).trim_end().to_string());
    }
    Ok(lines)
}

/// A masked binary frame around bytes.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0xe2, 0x53, 0x84];
    let mut frame = vec![0x82];
    match bytes.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes the server's frames apart.
#[derive(Debug, Default)]
pub struct Frames {
    unread: Vec<u8>,
    /// A deflated message that goes on.
    deflated: Option<Vec<u8>>,
}

impl Frames {
    /// Adds bytes as they came; returns the bytes of the messages in them, and control frames as lines of their own.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some((first, payload, length)) = whole(&self.unread) {
            match first & 0x0f {
                8 => {
                    let (status, text) = payload.split_at(payload.len().min(2));
                    let status = status.iter().fold(0, |status, byte| status << 8 | u32::from(*byte));
                    let text = String::from_utf8_lossy(text);
                    out.extend_from_slice(format!("(websocket close {status} {text})\r\n").as_bytes());
                }
                10 => {
                    let text = String::from_utf8_lossy(payload);
                    out.extend_from_slice(format!("(websocket pong {text})\r\n").as_bytes());
                }
                _ if first & 0x40 != 0 || self.deflated.is_some() => {
                    let message = self.deflated.get_or_insert_default();
                    message.extend_from_slice(payload);
                    if first & 0x80 != 0 {
                        message.extend_from_slice(&TAIL);
                        let read = DeflateDecoder::new(message.as_slice()).read_to_end(&mut out);
                        if read.is_err() {
                            out.extend_from_slice(b"(websocket message that cannot be inflated)\r\n");
                        }
                        self.deflated = None;
                    }
                }
                _ => out.extend_from_slice(payload),
            }
            self.unread.drain(..length);
        }
        out
    }
}

/// The first byte, the payload and the length of the frame at the start of `bytes`, once it is whole.
fn whole(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let number = |count: usize| {
        let bytes = bytes.get(2..2 + count)?;
        Some(bytes.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte)))
    };
    let (size, start): (usize, usize) = match second & 0x7f {
        126 => (number(2)?, 4),
        127 => (number(8)?, 10),
        short => (usize::from(short), 2),
    };
    Some((first, bytes.get(start..start.checked_add(size)?)?, start + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_of_frames_however_they_are_cut() {
        let sent =
            [&b"\x82\x06PONG\r\n"[..], b"\x01\x02PO", b"\x8a\x01x", b"\x80\x04NG\r\n", b"\x88\x02\x03\xe8"]
                .concat();
        for step in [1, 2, 100] {
            let mut frames = Frames::default();
            let out: Vec<u8> = sent.chunks(step).flat_map(|chunk| frames.take(chunk)).collect();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, "PONG\r\nPO(websocket pong x)\r\nNG\r\n(websocket close 1000 )\r\n");
        }
    }
}
