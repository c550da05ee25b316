//! Answers and traces that are compressed for whoever asks for that.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

/// How a stream of Snappy's frames begins.
const STREAM_ID: &[u8; 10] = b"\xff\x06\0\0sNaPpY";
/// Kinds of frames.
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
/// Content of one frame, at most.
const FRAME_MAX: usize = 64 * 1024;

/// How a payload is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Snappy,
    Gzip,
    /// What is asked for is not known: it goes as it is, and says so.
    Identity,
}

impl Encoding {
    /// What a header `Accept-Encoding` asks for, if it says anything. Lists are not taken apart, as on nats-server.
    pub(super) fn accepted(header: &[u8]) -> Option<Self> {
        let asked = String::from_utf8_lossy(header).to_lowercase();
        match asked.as_str() {
            "" => None,
            _ if asked.contains("snappy") || asked.contains("s2") => Some(Self::Snappy),
            _ if asked.contains("gzip") => Some(Self::Gzip),
            _ => Some(Self::Identity),
        }
    }

    /// The payload so encoded, and the headers that say so.
    pub(super) fn encode(self, payload: Vec<u8>) -> (&'static [u8], Vec<u8>) {
        let packed = match self {
            Self::Snappy => {
                snappy(&payload).map(|packed| (&b"NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n"[..], packed))
            }
            Self::Gzip => {
                gzip(&payload).ok().map(|packed| (&b"NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n"[..], packed))
            }
            Self::Identity => None,
        };
        packed.unwrap_or((b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n", payload))
    }
}

fn gzip(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(payload)?;
    encoder.finish()
}

/// Frames as Snappy's format has them.
fn snappy(payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = STREAM_ID.to_vec();
    for content in payload.chunks(FRAME_MAX) {
        let packed = minlz::s2::encode_snappy(content);
        let (kind, body) =
            if packed.len() < content.len() { (COMPRESSED, packed.as_slice()) } else { (PLAIN, content) };
        let [a, b, c, 0] = u32::try_from(body.len() + 4).ok()?.to_le_bytes() else { return None };
        out.extend_from_slice(&[kind, a, b, c]);
        out.extend_from_slice(&minlz::crc::crc(content).to_le_bytes());
        out.extend_from_slice(body);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Encoding, STREAM_ID};

    fn unpacked(encoding: Encoding, packed: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        match encoding {
            Encoding::Snappy => drop(minlz::s2::Reader::new(packed).read_to_end(&mut content).unwrap()),
            Encoding::Gzip => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut content).unwrap()),
            Encoding::Identity => content.extend_from_slice(packed),
        }
        content
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for payload in [Vec::new(), b"{}".to_vec(), b"abc".repeat(100_000), noise] {
            for (encoding, name) in
                [(Encoding::Snappy, "snappy"), (Encoding::Gzip, "gzip"), (Encoding::Identity, "identity")]
            {
                let (headers, packed) = encoding.encode(payload.clone());
                assert_eq!(headers, format!("NATS/1.0\r\nContent-Encoding: {name}\r\n\r\n").as_bytes());
                assert!(encoding != Encoding::Snappy || packed.starts_with(STREAM_ID));
                assert!(unpacked(encoding, &packed) == payload, "{name} of {} bytes", payload.len());
            }
        }
    }

    #[test]
    fn what_is_accepted_is_looked_for_in_all_of_the_header() {
        for (header, encoding) in [
            ("", None),
            ("gzip", Some(Encoding::Gzip)),
            ("GZIP, s2", Some(Encoding::Snappy)),
            ("x-snappy;q=0", Some(Encoding::Snappy)),
            ("deflate", Some(Encoding::Identity)),
        ] {
            assert_eq!(Encoding::accepted(header.as_bytes()), encoding, "{header}");
        }
    }
}
