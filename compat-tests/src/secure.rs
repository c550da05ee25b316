//! TLS of connections to the servers under test, with what a client shows of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Result;

/// Whom a client trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the authorities in a PEM, and shows a certificate, where there is one, with its key.
    ///
    /// # Errors
    /// What is no PEM.
    pub fn new(authorities: &str, own: Option<(&str, &str)>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
                builder.with_client_auth_cert(chain.collect::<std::result::Result<_, _>>()?, key)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

/// A socket, bare or under TLS, that one thread reads from while another writes.
#[derive(Clone, Debug)]
pub enum Stream {
    /// As it is.
    Plain(Arc<TcpStream>),
    /// Under TLS.
    Secure(Arc<Secure>),
}

/// Both directions of TLS.
#[derive(Debug)]
pub struct Secure {
    socket: TcpStream,
    session: Mutex<ClientConnection>,
}

impl Stream {
    /// Shakes hands over a socket, with whoever is called `localhost`.
    ///
    /// # Errors
    /// The handshake fails.
    pub fn secure(mut socket: TcpStream, trust: &Trust) -> Result<Self> {
        let name = ServerName::try_from("localhost")?;
        let mut session = ClientConnection::new(Arc::clone(&trust.0), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self::Secure(Arc::new(Secure { socket, session: Mutex::new(session) })))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(secure) => &secure.socket,
        }
    }
}

impl Secure {
    fn read(&self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut raw = vec![0; into.len()];
        loop {
            {
                let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
                match session.reader().read(into) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
            let count = (&self.socket).read(&mut raw)?;
            let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = raw.get(..count).unwrap_or_default();
            loop {
                session.read_tls(&mut bytes)?;
                session.process_new_packets().map_err(std::io::Error::other)?;
                if bytes.is_empty() {
                    break;
                }
            }
            self.flush(&mut session)?;
        }
    }

    fn flush(&self, session: &mut ClientConnection) -> std::io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.as_ref().read(into),
            Self::Secure(secure) => secure.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.as_ref().write(bytes),
            Self::Secure(secure) => {
                let mut session = secure.session.lock().unwrap_or_else(PoisonError::into_inner);
                let count = session.writer().write(bytes)?;
                secure.flush(&mut session)?;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
