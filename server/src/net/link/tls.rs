//! TLS over any other link.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection};

use super::{Reader, Writer};
use crate::certificate::{Certificate, PeerCertificates};
use crate::worker;

/// The half that is read from.
pub(crate) struct TlsReader {
    lower: Reader,
    session: Arc<Session>,
    /// What came with the end of the handshake.
    early: Vec<u8>,
}

/// The half that is written to.
pub(crate) struct TlsWriter {
    session: Arc<Session>,
}

/// Both directions, whose records are under one key schedule.
struct Session {
    state: Mutex<State>,
    lower: Arc<Writer>,
}

struct State {
    tls: rustls::Connection,
    /// Bytes of the last write that are in records which did not all leave. The caller comes again with the same bytes,
    /// and is told then that they were taken.
    taken: Option<usize>,
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// As nats-server writes it: `1.3`.
    pub version: &'static str,
    /// The cipher suite, as Go names it.
    pub suite: String,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The link failed, or ended.
    Link(io::Error),
    /// What came made no sense, or was not good enough.
    Tls(rustls::Error),
}

/// A link over TLS whose handshake is done, and who is at the other end.
pub(crate) struct Accepted {
    pub reader: Reader,
    pub writer: Writer,
    pub agreed: Agreed,
    /// What it showed, its own first.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Accepted {
    /// What the client showed, and the way from there to one of `authorities`; `None` for nothing.
    ///
    /// # Errors
    /// It is no certificate, whoever signed it.
    pub(crate) fn peer(
        &self,
        authorities: &[Certificate],
    ) -> Result<Option<Arc<PeerCertificates>>, HandshakeError> {
        if self.certificates.is_empty() {
            return Ok(None);
        }
        let peer = PeerCertificates::new(&self.certificates, authorities);
        let malformed = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        peer.map(Arc::new).map(Some).map_err(|_| HandshakeError::Tls(malformed))
    }
}

/// Writes records to the link below.
struct Below<'w>(&'w Writer);

impl io::Write for Below<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    /// Sends records that wait.
    fn flush(&self, state: &mut State) -> io::Result<()> {
        while state.tls.wants_write() {
            match state.tls.write_tls(&mut Below(&self.lower)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.flush(&mut self.state.lock()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.lower.poll_writable(context))?;
                }
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Deciphers `bytes`, whose content is added to `into`.
    fn decipher(&self, mut bytes: &[u8], into: &mut Vec<u8>) -> Result<Incoming, HandshakeError> {
        let mut state = self.state.lock();
        while !bytes.is_empty() {
            state.tls.read_tls(&mut bytes).map_err(HandshakeError::Link)?;
            let processed = state.tls.process_new_packets();
            let processed = processed.map_err(HandshakeError::Tls);
            if processed.as_ref().is_err_and(HandshakeError::is_probe) {
                // Who speaks no TLS is told nothing in it.
                return processed.map(|_| Incoming::Ended);
            }
            // An alert that says why it ends; whoever does not take it goes without.
            let flushed = self.flush(&mut state);
            processed?;
            match flushed {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(HandshakeError::Link(error));
                }
                _ => {}
            }
            if state.take_plain(into)? == Incoming::Ended {
                return Ok(Incoming::Ended);
            }
        }
        state.take_plain(into)
    }
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Open,
    Ended,
}

impl State {
    fn take_plain(&mut self, into: &mut Vec<u8>) -> Result<Incoming, HandshakeError> {
        loop {
            let count = match io::BufRead::fill_buf(&mut self.tls.reader()) {
                Ok([]) => return Ok(Incoming::Ended),
                Ok(bytes) => {
                    into.extend_from_slice(bytes);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Incoming::Open),
                Err(error) => return Err(HandshakeError::Link(error)),
            };
            io::BufRead::consume(&mut self.tls.reader(), count);
        }
    }

    fn agreed(&self) -> Agreed {
        let version = match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        };
        let suite = self.tls.negotiated_cipher_suite();
        let suite = suite.map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        Agreed { version, suite: suite.replacen("TLS13_", "TLS_", 1) }
    }
}

/// Does the server's part of a handshake, of which `before` was read already.
///
/// # Errors
/// [`HandshakeError`]. Nothing limits the time that it takes.
pub(crate) async fn accept(
    lower: Reader,
    writer: Arc<Writer>,
    config: Arc<ServerConfig>,
    before: Vec<u8>,
) -> Result<Accepted, HandshakeError> {
    let tls = ServerConnection::new(config).map_err(HandshakeError::Tls)?;
    shake_hands(tls.into(), lower, writer, before).await
}

/// Does the client's part of a handshake with a server that has to be `name`. `before` was read already.
///
/// # Errors
/// [`HandshakeError`]. Nothing limits the time that it takes.
pub(crate) async fn connect(
    lower: Reader,
    writer: Arc<Writer>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    before: Vec<u8>,
) -> Result<Accepted, HandshakeError> {
    let tls = ClientConnection::new(config, name).map_err(HandshakeError::Tls)?;
    shake_hands(tls.into(), lower, writer, before).await
}

async fn shake_hands(
    tls: rustls::Connection,
    mut lower: Reader,
    writer: Arc<Writer>,
    before: Vec<u8>,
) -> Result<Accepted, HandshakeError> {
    let session = Arc::new(Session { state: Mutex::new(State { tls, taken: None }), lower: writer });
    let (mut bytes, mut early) = (before, Vec::new());
    loop {
        session.decipher(&bytes, &mut early)?;
        poll_fn(|context| session.poll_flush(context)).await.map_err(HandshakeError::Link)?;
        if !session.state.lock().tls.is_handshaking() {
            break;
        }
        bytes.clear();
        bytes.reserve(HELLO_BYTES);
        let read = poll_fn(|context| lower.poll_read(context, &mut bytes)).await;
        if read.map_err(HandshakeError::Link)? == 0 {
            return Err(HandshakeError::Link(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let (agreed, certificates) = {
        let state = session.state.lock();
        let certificates = state.tls.peer_certificates().unwrap_or_default();
        (state.agreed(), certificates.iter().map(|certificate| certificate.clone().into_owned()).collect())
    };
    let reader = Reader::Tls(Box::new(TlsReader { lower, session: Arc::clone(&session), early }));
    Ok(Accepted { reader, writer: Writer::Tls(TlsWriter { session }), agreed, certificates })
}

/// Bytes that one read of a handshake takes at most.
const HELLO_BYTES: usize = 4 * 1024;

impl TlsReader {
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            into.extend_from_slice(&early);
            return Poll::Ready(Ok(early.len()));
        }
        let before = into.len();
        let mut cipher = worker::with(|worker| worker.buffers.take_cipher());
        let polled = loop {
            cipher.clear();
            match self.lower.poll_read(context, &mut cipher) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Ok(0)),
                Poll::Ready(Ok(_)) => match self.session.decipher(&cipher, into) {
                    Ok(Incoming::Open) if into.len() == before => {}
                    Ok(_) => break Poll::Ready(Ok(into.len() - before)),
                    Err(error) => break Poll::Ready(Err(io::Error::other(error.to_string()))),
                },
                other => break other,
            }
        };
        worker::with(|worker| worker.buffers.give_cipher(cipher));
        polled
    }

    pub(super) fn end_with_reset(&self) {
        self.lower.end_with_reset();
    }
}

impl TlsWriter {
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.session.state.lock();
        let taken = match state.taken {
            Some(taken) => taken,
            None => io::Write::write(&mut state.tls.writer(), bytes)?,
        };
        state.taken = Some(taken);
        self.session.flush(&mut state)?;
        state.taken = None;
        Ok(taken)
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.lower.poll_writable(context)
    }
}

impl Drop for TlsWriter {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        state.tls.send_close_notify();
        // Who does not take it sees the link end without it.
        let _ = self.session.flush(&mut state);
    }
}

impl fmt::Debug for TlsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsWriter")
    }
}

/// In Go's words, as far as what happened is the same.
impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};
        let text = match self {
            Self::Link(error) if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            Self::Link(error) => jetkv_go_compat::os_text(error),
            Self::Tls(error) => match error {
                Error::InvalidMessage(InvalidMessage::InvalidContentType) => NOT_TLS.to_owned(),
                Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                        .to_owned()
                }
                Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ) => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
                    .to_owned(),
                Error::InvalidCertificate(reason) => {
                    format!("tls: failed to verify certificate: x509: {reason}")
                }
                Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
                Error::PeerIncompatible(
                    PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
                ) => "tls: client offered only unsupported versions: []".to_owned(),
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
                    "tls: no cipher suite supported by both client and server".to_owned()
                }
                other => format!("tls: {other}"),
            },
        };
        f.write_str(&text)
    }
}

const NOT_TLS: &str = "tls: first record does not look like a TLS handshake";

impl HandshakeError {
    /// Whether whoever came did not speak TLS at all, as probes and load balancers do.
    pub(crate) fn is_probe(&self) -> bool {
        use rustls::{Error, InvalidMessage};
        matches!(self, Self::Tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
    }
}

/// What an alert says, in Go's words.
fn alert_text(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    let text = match alert {
        Alert::BadCertificate => "bad certificate",
        Alert::UnsupportedCertificate => "unsupported certificate",
        Alert::CertificateRevoked => "revoked certificate",
        Alert::CertificateExpired => "expired certificate",
        Alert::CertificateUnknown => "unknown certificate",
        Alert::UnknownCA => "unknown certificate authority",
        Alert::HandshakeFailure => "handshake failure",
        Alert::ProtocolVersion => "protocol version not supported",
        Alert::CertificateRequired => "certificate required",
        other => return format!("{other:?}"),
    };
    text.to_owned()
}
