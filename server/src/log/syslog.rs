//! Lines for syslog, of this machine or of another, in the form that nats-server v2.15.2 sends.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::line::Label;
use super::queue::Line;
use super::zone;
use jetkv_go_compat::quoted;

/// Where syslog listens on this machine.
const LOCAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// The facility of programs without a terminal, which lines for this machine's own syslog carry. Those for an address have none.
const DAEMON: u8 = 3 << 3;
/// Longest time that a line may take to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// That of this machine.
    Local,
    /// One behind a socket of this machine that takes streams, not datagrams, as nats-server has it.
    Unix(PathBuf),
    /// `host:port`, by UDP.
    Udp(String),
    /// `host:port`, by TCP.
    Tcp(String),
}

impl Address {
    /// Reads `udp://host:port`, `tcp://host:port` or `unix:///path`.
    ///
    /// # Errors
    /// It is something else; the text is nats-server's.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (network, rest) = text.split_once("://").unwrap_or(("", text));
        let host = rest.split('/').next().unwrap_or_default().to_owned();
        match network.to_ascii_lowercase().as_str() {
            "udp" => Ok(Self::Udp(host)),
            "tcp" => Ok(Self::Tcp(host)),
            "unix" => Ok(Self::Unix(rest.into())),
            other => Err(format!("error invalid network type: {}", quoted(other))),
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let stream = |path: &Path| {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
            Ok(Connection::Unix(stream))
        };
        let datagram = |path: &Path| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
            Ok(Connection::UnixDatagram(socket))
        };
        match self {
            Self::Local => LOCAL_SOCKETS
                .iter()
                .map(Path::new)
                .find_map(|path| datagram(path).or_else(|_: io::Error| stream(path)).ok())
                .ok_or_else(|| io::Error::other("Unix syslog delivery error")),
            Self::Unix(path) => stream(path),
            Self::Udp(host) => {
                let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in host.to_socket_addrs()? {
                    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
                        Ok(socket) => return Ok(Connection::Udp(socket)),
                        Err(error) => refused = error,
                    }
                }
                Err(refused)
            }
            Self::Tcp(host) => {
                let stream = TcpStream::connect(host)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Connection::Tcp(stream))
            }
        }
    }

    /// Whether what is sent stays on this machine.
    fn is_local(&self) -> bool {
        matches!(self, Self::Local | Self::Unix(_))
    }
}

#[derive(Debug)]
enum Connection {
    UnixDatagram(UnixDatagram),
    Unix(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::UnixDatagram(socket) => socket.send(bytes).map(|_| ()),
            Self::Udp(socket) => socket.send(bytes).map(|_| ()),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

/// A connection to syslog.
#[derive(Debug)]
pub(super) struct Syslog {
    address: Address,
    connection: Connection,
    host: String,
    /// The program's name as it was called.
    tag: String,
    zone: TimeZone,
}

impl Syslog {
    pub(super) fn connect(address: Address) -> io::Result<Self> {
        let connection = address.connect()?;
        let program = std::env::args_os().next().unwrap_or_default();
        let tag = PathBuf::from(program).file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            address,
            connection,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            tag: tag.unwrap_or_default(),
            zone: zone::local(),
        })
    }

    /// Sends a line. What cannot be sent after a second try is lost, as the log is not worth stopping for.
    pub(super) fn write(&mut self, line: &Line) {
        let bytes = self.framed(line);
        if self.connection.send(&bytes).is_ok() {
            return;
        }
        if let Ok(connection) = self.address.connect() {
            self.connection = connection;
            let _ = self.connection.send(&bytes);
        }
    }

    fn framed(&self, line: &Line) -> Vec<u8> {
        let severity = match line.label {
            Label::Fatal => 2,
            Label::Error => 3,
            Label::Warn => 4,
            Label::Info | Label::Trace => 5,
            Label::Debug => 7,
        };
        let at = line.at.to_zoned(self.zone.clone());
        let (tag, pid) = (&self.tag, std::process::id());
        let priority = if self.address == Address::Local { DAEMON | severity } else { severity };
        let head = if self.address.is_local() {
            format!("<{priority}>{} {tag}[{pid}]: ", at.strftime("%b %e %H:%M:%S"))
        } else {
            let zone = if at.offset().is_zero() { "Z".to_owned() } else { at.strftime("%:z").to_string() };
            format!("<{priority}>{}{zone} {} {tag}[{pid}]: ", at.strftime("%Y-%m-%dT%H:%M:%S"), self.host)
        };
        let end = if line.text.ends_with('\n') { "" } else { "\n" };
        [head.as_bytes(), line.text.as_bytes(), end.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;

    fn line(label: Label) -> Line {
        let at = Timestamp::from_second(1_795_384_174).unwrap();
        Line { at, label, text: "text".to_owned() }
    }

    #[test]
    fn addresses_are_those_of_nats_server() {
        assert_eq!(Address::parse("udp://127.0.0.1:514"), Ok(Address::Udp("127.0.0.1:514".to_owned())));
        assert_eq!(Address::parse("TCP://h:1/x"), Ok(Address::Tcp("h:1".to_owned())));
        assert_eq!(Address::parse("unix:///run/x"), Ok(Address::Unix("/run/x".into())));
        assert_eq!(Address::parse("x"), Err("error invalid network type: \"\"".to_owned()));
        assert_eq!(Address::parse("http://h"), Err("error invalid network type: \"http\"".to_owned()));
    }

    #[test]
    fn lines_reach_another_machine_with_severity_time_host_and_program() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap().to_string();
        let mut syslog = Syslog::connect(Address::Udp(address)).unwrap();
        (syslog.zone, syslog.host, syslog.tag) = (TimeZone::UTC, "h".to_owned(), "nats-server".to_owned());
        let pid = std::process::id();
        for (label, severity) in [(Label::Info, 5), (Label::Debug, 7), (Label::Error, 3), (Label::Trace, 5)] {
            syslog.write(&line(label));
            let mut bytes = [0; 200];
            let count = receiver.recv(&mut bytes).unwrap();
            let expected = format!("<{severity}>2026-11-22T21:49:34Z h nats-server[{pid}]: text\n");
            assert_eq!(String::from_utf8_lossy(&bytes[..count]), expected);
        }
    }

    #[test]
    fn lines_for_this_machine_have_a_short_time_and_a_facility_where_no_address_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog::connect(Address::Unix(path)).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        (syslog.zone, syslog.tag) = (TimeZone::UTC, "jetkv".to_owned());
        for (at, address) in [syslog.address.clone(), Address::Local].into_iter().enumerate() {
            syslog.address = address;
            syslog.write(&line(Label::Warn));
            let priority = ["4", "28"][at];
            let expected = format!("<{priority}>Nov 22 21:49:34 jetkv[{}]: text\n", std::process::id());
            let mut bytes = vec![0; expected.len()];
            receiver.read_exact(&mut bytes).unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        }
    }

    #[test]
    fn an_address_of_a_socket_for_datagrams_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        let refused = Syslog::connect(Address::Unix(path)).unwrap_err();
        assert_eq!(jetkv_go_compat::os_text(&refused), "protocol wrong type for socket");
    }
}
