//! TLS towards servers that this one connects to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::defaults;
use super::tls_model::TlsSource;

/// How this server puts a connection under TLS that it opens. Two are the same when they were read from the same bytes.
#[derive(Clone)]
pub struct RemoteTls {
    /// Time that a handshake may take.
    pub timeout: Duration,
    /// The handshake comes before INFO.
    pub handshake_first: bool,
    /// Whoever is there need not prove who it is.
    pub insecure: bool,
    source: Arc<TlsSource>,
    config: Arc<ClientConfig>,
}

impl RemoteTls {
    /// Makes sure that certificate, key and authorities fit together. The error is nats-server's text.
    pub(crate) fn new(
        source: TlsSource,
        insecure: bool,
        timeout: Duration,
        handshake_first: bool,
    ) -> Result<Self, String> {
        let config = Arc::new(source.client_config(insecure)?);
        Ok(Self { timeout, handshake_first, insecure, source: Arc::new(source), config })
    }

    /// What holds without a block, where the other server wants TLS.
    pub(crate) fn usual() -> Result<Self, String> {
        Self::new(TlsSource::default(), false, defaults::TLS_TIMEOUT, false)
    }

    /// Whether the authorities are others than those of the system.
    pub(super) fn names_authorities(&self) -> bool {
        self.source.authorities.is_some()
    }

    /// What handshakes work with.
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl PartialEq for RemoteTls {
    fn eq(&self, other: &Self) -> bool {
        (self.timeout, self.handshake_first, self.insecure)
            == (other.timeout, other.handshake_first, other.insecure)
            && self.source == other.source
    }
}

/// Keys do not reach the log.
impl fmt::Debug for RemoteTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RemoteTls({:?}, first: {}, insecure: {})",
            self.timeout, self.handshake_first, self.insecure
        )
    }
}

/// Who decides on the certificates of servers.
pub(super) fn verifier(
    source: &TlsSource,
    insecure: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if insecure {
        return Ok(Arc::new(Anybody(Arc::clone(provider))));
    }
    let (roots, _) = source.roots()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| error.to_string())?)
}

/// Takes any certificate whose key the other side has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
