//! TLS of the port that clients connect to, and of the monitoring pages.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, WantsVerifier,
    version,
};

use super::client_verifier::ClientVerifier;
use super::own_certificates::OwnCertificates;
use super::remote_tls;
use crate::certificate::Certificate;
use crate::certificate::{self, PeerCertificates};
use jetkv_go_compat::{GoTime, os_text};

/// TLS as it is configured, with what was read from the files that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// Clients must show a certificate of one of the authorities.
    pub verify: bool,
    /// Their certificates say who they are, instead of a name and a password.
    pub map: bool,
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
    pub(crate) fn accepts(&self, peer: Option<&PeerCertificates>) -> Result<(), NotPinned> {
        if self.pinned_certs.is_empty() {
            return Ok(());
        }
        let own = peer.and_then(|peer| peer.shown.first()).ok_or(NotPinned::NoneShown)?;
        let key = own.key_digest();
        if self.pinned_certs.contains(&key) { Ok(()) } else { Err(NotPinned::Key(key)) }
    }
}

/// Why a peer does not come in where keys are pinned, as nats-server's log says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPinned {
    /// It showed no certificate.
    #[error("Failed pinned cert test as client did not provide a certificate")]
    NoneShown,
    /// The key of its certificate is another one.
    #[error("Failed pinned cert test for key id: {0}")]
    Key(String),
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
    authorities: Arc<[Certificate]>,
    not_after: Option<GoTime>,
    must_staple: bool,
}

/// A certificate and its key.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Pair {
    /// PEM of the certificate and those above it.
    pub cert: Vec<u8>,
    /// PEM of the key.
    pub key: Vec<u8>,
    /// Which of several it is, as errors say it, with a blank in front; empty for the only one.
    pub place: String,
}

/// What a [`TlsIdentity`] is made of.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct TlsSource {
    /// The server's certificates. The first goes to whom none fits.
    pub pairs: Vec<Pair>,
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

/// Ciphers, the preferred one first.
const PREFERRED: [&str; 3] = ["AES_128", "AES_256", "CHACHA20"];

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
    /// Whether it knows authorities of its own, which nats-server never takes for the same that it had.
    pub(crate) fn has_authorities(&self) -> bool {
        self.source.authorities.is_some()
    }

    /// Makes sure that certificate, key and authorities fit together. The error is nats-server's text.
    pub(crate) fn new(source: TlsSource) -> Result<Self, String> {
        let provider = Arc::new(source.provider());
        let own = Arc::new(OwnCertificates::new(&source.pairs, &provider)?);
        let builder = source.builder(&provider)?.with_no_client_auth();
        let pages = Arc::new(choosing(builder.with_cert_resolver(Arc::clone(&own) as _)));
        let mut authorities = Vec::new();
        let clients = if source.verify {
            let (roots, found) = source.roots()?;
            // Only those that the configuration names are shown to others.
            // What is no certificate signs nothing.
            authorities = found.iter().flat_map(Certificate::new).collect();
            let verifier = Arc::new(ClientVerifier::new(roots, &provider)?);
            let builder = source.builder(&provider)?.with_client_cert_verifier(verifier);
            Arc::new(choosing(builder.with_cert_resolver(Arc::clone(&own) as _)))
        } else {
            Arc::clone(&pages)
        };
        let (not_after, must_staple) = (own.not_after(), own.must_staple());
        let (source, authorities) = (Arc::new(source), authorities.into());
        Ok(Self { source, clients, pages, authorities, not_after, must_staple })
    }

    /// Those whose signatures of clients' certificates count.
    pub(crate) fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// Whether the server's own certificate is to be shown along with a response of OCSP.
    pub(crate) fn must_staple(&self) -> bool {
        self.must_staple
    }

    /// Until when the server's own certificate is valid.
    pub(crate) fn not_after(&self) -> Option<GoTime> {
        self.not_after
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

/// The server chooses among what a client offers, as Go's does.
fn choosing(mut config: ServerConfig) -> ServerConfig {
    config.ignore_client_order = true;
    config
}

impl TlsSource {
    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        // As Go chooses: the cheaper one before the one with the longer key, and AES, which machines have, before ChaCha20.
        let rank = |name: &str| PREFERRED.iter().position(|part| name.contains(part));
        provider.cipher_suites.sort_by_key(|suite| {
            (suite.tls13().is_none(), rank(&format!("{:?}", suite.suite())).unwrap_or(PREFERRED.len()))
        });
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

    fn builder(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, String> {
        let versions = if self.only_tls13 { TLS13_ALONE } else { TLS12_TOO };
        ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())
    }

    /// For connections that this server opens. Without a certificate of its own it shows none.
    pub(super) fn client_config(&self, insecure: bool) -> Result<ClientConfig, String> {
        let provider = Arc::new(self.provider());
        let versions = if self.only_tls13 { TLS13_ALONE } else { TLS12_TOO };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(remote_tls::verifier(self, insecure, &provider)?);
        if self.pairs.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        Ok(builder.with_client_cert_resolver(Arc::new(OwnCertificates::new(&self.pairs, &provider)?)))
    }

    pub(super) fn roots(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
        let failed = || "failed to parse root ca certificate".to_owned();
        match &self.authorities {
            Some(pem) => certificate::trusted(pem).ok_or_else(failed),
            None => {
                let found = certificate::trusted_by_system().map_err(|error| os_text(&error))?;
                certificate::trusted(&found).ok_or_else(failed)
            }
        }
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
