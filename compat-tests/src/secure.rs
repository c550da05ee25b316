//! TLS of connections to the servers under test, with what a client shows of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::Result;

/// Whom a client trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the authorities in a PEM, and shows a certificate, where there is one, with its key.
    ///
    /// # Errors
    /// What is no PEM.
    pub fn new(authorities: &str, own: Option<(&str, &str)>, offers: &Offers) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(offers.provider()?))
            .with_protocol_versions(&offers.versions())?;
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

/// What a client offers to agree on: versions (`TLSv1_3`), suites (`TLS13_AES_128_GCM_SHA256`) and groups (`X25519`), as the
/// library names them. Everything there is of a kind of which it names none.
#[derive(Clone, Debug, Default)]
pub struct Offers(Vec<String>);

impl Offers {
    /// Reads names with commas between them.
    pub fn parse(names: &str) -> Self {
        Self(names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    }

    /// Whether it names anything.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }

    fn provider(&self) -> Result<CryptoProvider> {
        let mut provider = ring::default_provider();
        let mut known = self.retain(&mut ALL_VERSIONS.to_vec(), |version| format!("{:?}", version.version));
        known += self.retain(&mut provider.cipher_suites, |suite| format!("{:?}", suite.suite()));
        known += self.retain(&mut provider.kx_groups, |group| format!("{:?}", group.name()));
        if known < self.0.len() {
            return Err(format!("nobody can offer all of {}", self.0.join(",")).into());
        }
        Ok(provider)
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let mut versions = ALL_VERSIONS.to_vec();
        self.retain(&mut versions, |version| format!("{:?}", version.version));
        versions
    }

    /// Keeps what is named, in the order in which it is, and returns how much that is.
    fn retain<T: Clone>(&self, all: &mut Vec<T>, name: impl Fn(&T) -> String) -> usize {
        let find = |wanted: &String| all.iter().find(|one| name(one) == *wanted).cloned();
        let named: Vec<T> = self.0.iter().filter_map(find).collect();
        let count = named.len();
        if count > 0 {
            *all = named;
        }
        count
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

    /// What both sides agreed on.
    pub fn agreed(&self) -> Option<String> {
        let Self::Secure(secure) = self else { return None };
        let session = secure.session.lock().unwrap_or_else(PoisonError::into_inner);
        let suite = session.negotiated_cipher_suite()?.suite();
        let group = session.negotiated_key_exchange_group()?.name();
        Some(format!("{:?} {suite:?} {group:?}", session.protocol_version()?))
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
