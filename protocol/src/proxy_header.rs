//! The header that proxies and load balancers put in front of a connection to say whose it is: the PROXY protocol, versions
//! 1 and 2, as nats-server v2.15.2 reads it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a connection that was proxied by version 1 begins with.
const PREFIX_V1: &[u8] = b"PROXY ";
/// What version 2 begins with.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes that tell the versions from each other, and from anything else.
const SNIFFED_BYTES: usize = 6;
/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// What of version 2 is always there: the signature, version and command, family and protocol, and a length.
const HEAD_BYTES: usize = 16;

/// What is at the beginning of a connection.
///
/// ```
/// use jetkv_protocol::{ProxyHeader, ProxyHeaderError};
///
/// let header = ProxyHeader::read(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 4222\r\nCONNECT {}\r\n")?;
/// let source = Some("192.0.2.7:4711".parse().unwrap());
/// assert_eq!(header, ProxyHeader::Present { length: 42, source });
/// assert_eq!(ProxyHeader::read(b"PRO")?, ProxyHeader::Incomplete);
/// assert_eq!(ProxyHeader::read(b"CONNECT {}\r\n")?, ProxyHeader::Absent);
/// let error: ProxyHeaderError = ProxyHeader::read(b"PROXY TCP4 here\r\n").unwrap_err();
/// assert_eq!(error.to_string(), "invalid PROXY protocol header: invalid v1 format");
/// # Ok::<(), ProxyHeaderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Not enough to tell.
    Incomplete,
    /// No such header: the client speaks for itself.
    Absent,
    /// A header.
    Present {
        /// How long it is, in bytes.
        length: usize,
        /// Where the client is. `None`: the proxy itself asks how the server is.
        source: Option<SocketAddr>,
    },
}

/// Why a header cannot be taken. `Display` is nats-server's wording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It does not follow the form.
    #[error("invalid PROXY protocol header: {0}")]
    Invalid(String),
    /// It is about something else than TCP.
    #[error("unsupported PROXY protocol feature: {0}")]
    Unsupported(String),
    /// Something else is wrong.
    #[error("{0}")]
    Other(String),
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, ProxyHeaderError> {
    Err(ProxyHeaderError::Invalid(reason.into()))
}

impl ProxyHeader {
    /// Reads the header at the beginning of `bytes`, which are all that came so far.
    ///
    /// # Errors
    /// [`ProxyHeaderError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ProxyHeaderError> {
        let Some(sniffed) = bytes.get(..SNIFFED_BYTES) else { return Ok(Self::Incomplete) };
        if sniffed == PREFIX_V1 {
            return read_line(bytes);
        }
        if Some(sniffed) != SIGNATURE_V2.get(..SNIFFED_BYTES) {
            return Ok(Self::Absent);
        }
        let Some(signature) = bytes.get(..SIGNATURE_V2.len()) else { return Ok(Self::Incomplete) };
        if signature != SIGNATURE_V2 {
            return invalid("invalid signature");
        }
        read_binary(bytes)
    }
}

fn read_line(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let bounded = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = bounded.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= LINE_BYTES_MAX {
            invalid("v1 line too long")
        } else {
            Ok(ProxyHeader::Incomplete)
        };
    };
    let line = String::from_utf8_lossy(bounded.get(SNIFFED_BYTES..end).unwrap_or_default());
    let present = |source| Ok(ProxyHeader::Present { length: end + 2, source });
    let parts: Vec<&str> = line.split_whitespace().collect();
    let [protocol, source, destination, source_port, destination_port] = match *parts.as_slice() {
        ["UNKNOWN", ..] => return present(None),
        [protocol, source, destination, from, to] => [protocol, source, destination, from, to],
        _ => return invalid("invalid v1 format"),
    };
    let (Ok(ip), Ok(_)) = (source.parse::<IpAddr>(), destination.parse::<IpAddr>()) else {
        return invalid("invalid address");
    };
    let port = port(source_port, "source")?;
    self::port(destination_port, "dest")?;
    let are_v6 = [source, destination].map(|address| address.contains(':'));
    match protocol {
        "TCP4" if are_v6 != [false, false] => invalid("TCP4 with IPv6 address"),
        "TCP6" if are_v6 != [true, true] => invalid("TCP6 with IPv4 address"),
        "TCP4" | "TCP6" => present(Some(SocketAddr::new(ip, port))),
        other => invalid(format!("invalid protocol {other}")),
    }
}

fn port(text: &str, which: &str) -> Result<u16, ProxyHeaderError> {
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        let reason = if is_number { "value out of range" } else { "invalid syntax" };
        let text = jetkv_go_compat::quoted(text);
        ProxyHeaderError::Other(format!("invalid {which} port: strconv.ParseUint: parsing {text}: {reason}"))
    })
}

fn read_binary(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let Some(&[version, family, high, low]) =
        bytes.get(SIGNATURE_V2.len()..HEAD_BYTES).and_then(|head| head.first_chunk())
    else {
        return Ok(ProxyHeader::Incomplete);
    };
    if version & 0xf0 != 0x20 {
        return invalid(format!("invalid version 0x{:02x}", version & 0xf0));
    }
    let size = u16::from_be_bytes([high, low]);
    let length = HEAD_BYTES + usize::from(size);
    let is_local = match version & 0x0f {
        0 => true,
        1 => false,
        command => {
            return Err(ProxyHeaderError::Other(format!("unknown PROXY protocol command: 0x{command:02x}")));
        }
    };
    if !is_local {
        if family & 0x0f != 1 {
            return Err(ProxyHeaderError::Unsupported("only STREAM protocol supported".to_owned()));
        }
        let short =
            |name: &str| Err(ProxyHeaderError::Other(format!("{name} address data too short: {size} bytes")));
        match family & 0xf0 {
            0x00 => {}
            0x10 if size < 12 => return short("IPv4"),
            0x20 if size < 36 => return short("IPv6"),
            0x10 | 0x20 => {}
            family => {
                let text = format!("unsupported address family 0x{family:02x}");
                return Err(ProxyHeaderError::Unsupported(text));
            }
        }
    }
    let Some(addresses) = bytes.get(HEAD_BYTES..length) else { return Ok(ProxyHeader::Incomplete) };
    let source = match family & 0xf0 {
        _ if is_local => None,
        0x10 => addresses
            .first_chunk()
            .zip(port_at(addresses, 8))
            .map(|(ip, port)| SocketAddr::new(Ipv4Addr::from(*ip).into(), port)),
        0x20 => addresses
            .first_chunk()
            .zip(port_at(addresses, 32))
            .map(|(ip, port)| SocketAddr::new(Ipv6Addr::from(*ip).into(), port)),
        _ => None,
    };
    Ok(ProxyHeader::Present { length, source })
}

fn port_at(addresses: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*addresses.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(bytes: &[u8], source: Option<&str>) {
        let expected =
            ProxyHeader::Present { length: bytes.len(), source: source.map(|s| s.parse().unwrap()) };
        for rest in [b"".as_slice(), b"CONNECT {}\r\n"] {
            assert_eq!(ProxyHeader::read(&[bytes, rest].concat()), Ok(expected), "{}", bytes.escape_ascii());
        }
        for length in 0..bytes.len() {
            assert_eq!(ProxyHeader::read(&bytes[..length]), Ok(ProxyHeader::Incomplete), "{length}");
        }
    }

    fn binary(version: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let size = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[version, family], &size, addresses].concat()
    }

    #[test]
    fn addresses_are_those_of_the_client() {
        present(b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 4222\r\n", Some("192.0.2.1:1234"));
        present(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some("[2001:db8::1]:1"));
        present(b"PROXY UNKNOWN\r\n", None);
        present(b"PROXY UNKNOWN x y z\r\n", None);
        let v4 = [192, 0, 2, 9, 10, 0, 0, 1, 0x12, 0x34, 0, 1];
        present(&binary(0x21, 0x11, &v4), Some("192.0.2.9:4660"));
        present(&binary(0x21, 0x11, &[v4.as_slice(), &[7; 300]].concat()), Some("192.0.2.9:4660"));
        let v6 = [[0; 15].as_slice(), &[1], &[2; 16], &[0, 99], &[0, 1]].concat();
        present(&binary(0x21, 0x21, &v6), Some("[::1]:99"));
        present(&binary(0x20, 0x11, &v4), None);
        present(&binary(0x20, 0, b""), None);
        present(&binary(0x21, 0x01, &[1, 2, 3]), None);
    }

    #[test]
    fn who_sends_none_speaks_for_itself() {
        for bytes in [b"CONNECT {}".as_slice(), b"PING\r\n\r\n", b"\x16\x03\x01\0\0\0\0", b"proxy TCP4"] {
            assert_eq!(ProxyHeader::read(bytes), Ok(ProxyHeader::Absent));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let invalid = |reason: &str| format!("invalid PROXY protocol header: {reason}");
        for (bytes, error) in [
            (b"PROXY \r\n".to_vec(), invalid("invalid v1 format")),
            (b"PROXY TCP4 a b 1 2\r\n".to_vec(), invalid("invalid address")),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), invalid("TCP4 with IPv6 address")),
            (b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n".to_vec(), invalid("TCP6 with IPv4 address")),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), invalid("invalid protocol UDP4")),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), invalid("invalid v1 format")),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 70000 2\r\n".to_vec(),
                "invalid source port: strconv.ParseUint: parsing \"70000\": value out of range".to_owned(),
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n".to_vec(),
                "invalid dest port: strconv.ParseUint: parsing \"+2\": invalid syntax".to_owned(),
            ),
            ([b"PROXY ".as_slice(), &[b'x'; 101]].concat(), invalid("v1 line too long")),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), invalid("invalid signature")),
            (binary(0x11, 0x11, b""), invalid("invalid version 0x10")),
            (binary(0x22, 0x11, b""), "unknown PROXY protocol command: 0x02".to_owned()),
            (
                binary(0x21, 0x12, b""),
                "unsupported PROXY protocol feature: only STREAM protocol supported".to_owned(),
            ),
            (
                binary(0x21, 0x31, b""),
                "unsupported PROXY protocol feature: unsupported address family 0x30".to_owned(),
            ),
            (binary(0x21, 0x11, &[1; 11]), "IPv4 address data too short: 11 bytes".to_owned()),
            (binary(0x21, 0x21, &[1; 35]), "IPv6 address data too short: 35 bytes".to_owned()),
        ] {
            assert_eq!(ProxyHeader::read(&bytes).unwrap_err().to_string(), error);
        }
    }
}
