//! TLS of the port that clients connect to, and of the monitoring pages.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use jetkv_go_compat::os_text;
use sha2::{Digest, Sha256};

/// TLS as it is configured, with what was read from the files that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// Clients must show a certificate of one of the authorities.
    pub verify: bool,
    /// Time that a handshake may take.
    pub timeout: Duration,
    /// When the handshake comes, if not after INFO.
    pub handshake_first: Option<HandshakeFirst>,
    /// Keys that certificates of clients must have one of, as the SHA-256 of their `SubjectPublicKeyInfo` in hexadecimal.
    /// Empty: any.
    pub pinned_certs: BTreeSet<String>,
    /// Handshakes that may begin in a second; 0 for any number.
    pub connection_rate_limit: i64,
    /// What a handshake works with.
    pub identity: TlsIdentity,
}

impl TlsOptions {
    /// Whether a peer with this certificate may come in, as far as keys are pinned.
    pub(crate) fn accepts(&self, certificate: Option<&CertificateDer<'static>>) -> bool {
        let digest = || certificate.and_then(key_digest);
        self.pinned_certs.is_empty() || digest().is_some_and(|key| self.pinned_certs.contains(&key))
    }
}

/// The SHA-256 of a certificate's `SubjectPublicKeyInfo`, in hexadecimal.
fn key_digest(certificate: &CertificateDer<'static>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let digest = Sha256::digest(parsed.subject_public_key_info());
    Some(digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// How a client that begins with the handshake is told from one that waits for INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// All begin with it.
    Always,
    /// Who sends nothing for that long waits for INFO.
    Within(Duration),
}

/// Certificates, keys and algorithms. Two are the same when they were read from the same bytes.
#[derive(Clone)]
pub struct TlsIdentity {
    source: Arc<TlsSource>,
    clients: Arc<ServerConfig>,
    pages: Arc<ServerConfig>,
}

/// What a [`TlsIdentity`] is made of.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct TlsSource {
    /// PEM of the server's certificate and those above it.
    pub cert: Vec<u8>,
    /// PEM of its key.
    pub key: Vec<u8>,
    /// PEM of the authorities that clients' certificates are from.
    pub authorities: Option<Vec<u8>>,
    pub verify: bool,
    /// Names in [`CIPHER_SUITES`]; empty for all.
    pub cipher_suites: Vec<String>,
    /// Names in [`CURVES`]; empty for all.
    pub curves: Vec<String>,
    pub only_tls13: bool,
}

/// Cipher suites that are served and can be chosen: those of TLS 1.2. All of TLS 1.3 always are, as in Go.
pub(crate) const CIPHER_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Curves that are served, as nats-server names them, and as the library does.
pub(crate) const CURVES: [(&str, rustls::NamedGroup); 3] = [
    ("X25519", rustls::NamedGroup::X25519),
    ("CurveP256", rustls::NamedGroup::secp256r1),
    ("CurveP384", rustls::NamedGroup::secp384r1),
];

const TLS13_ALONE: &[&SupportedProtocolVersion] = &[&version::TLS13];
const TLS12_TOO: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Reads a file that the configuration names. The error is in Go's words.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("open {}: {}", path.display(), os_text(&error));
    std::fs::read(path).map_err(failed)
}

impl TlsIdentity {
    /// Makes sure that certificate, key and authorities fit together. The error is nats-server's text.
    pub(crate) fn new(source: TlsSource) -> Result<Self, String> {
        let provider = Arc::new(source.provider());
        let pages = source.config(&provider, false)?;
        let clients = if source.verify { source.config(&provider, true)? } else { Arc::clone(&pages) };
        Ok(Self { source: Arc::new(source), clients, pages })
    }

    /// For clients.
    pub(crate) fn clients(&self) -> &Arc<ServerConfig> {
        &self.clients
    }

    /// For the monitoring pages, which ask nobody for a certificate.
    pub(crate) fn pages(&self) -> &Arc<ServerConfig> {
        &self.pages
    }
}

impl TlsSource {
    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                let name = format!("{:?}", suite.suite());
                suite.tls13().is_some() || self.cipher_suites.contains(&name)
            });
        }
        if !self.curves.is_empty() {
            let wanted =
                |name: &String| CURVES.iter().find(|(known, _)| known == name).map(|(_, group)| *group);
            let groups: Vec<_> = self.curves.iter().filter_map(wanted).collect();
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
        }
        provider
    }

    fn config(&self, provider: &Arc<CryptoProvider>, verify: bool) -> Result<Arc<ServerConfig>, String> {
        let pair = |error: String| format!("error parsing X509 certificate/key pair: {error}");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|_| pair("tls: failed to find any PEM data in certificate input".to_owned()))?;
        if chain.is_empty() {
            return Err(pair("tls: failed to find any PEM data in certificate input".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| pair("tls: failed to find any PEM data in key input".to_owned()))?;
        let versions = if self.only_tls13 { TLS13_ALONE } else { TLS12_TOO };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = if verify {
            let roots = self.roots()?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                pair("tls: private key does not match public key".to_owned())
            }
            other => pair(other.to_string()),
        })?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let Some(authorities) = &self.authorities else {
            return Err("'verify' without 'ca_file' is not supported by JetKV yet".to_owned());
        };
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_slice_iter(authorities).filter_map(Result::ok);
        if roots.add_parsable_certificates(found).0 == 0 {
            return Err("failed to parse root ca certificate".to_owned());
        }
        Ok(roots)
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// Keys do not reach the log.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity")
    }
}
