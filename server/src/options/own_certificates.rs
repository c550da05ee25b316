//! The certificates that a server shows, and which of them to whom.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::tls_model::Pair;
use crate::certificate::Certificate;
use jetkv_go_compat::GoTime;

/// What a server shows of itself; there is one at least.
#[derive(Debug)]
pub(super) struct OwnCertificates(Vec<Arc<CertifiedKey>>);

impl OwnCertificates {
    /// Makes sure that each certificate has its key. The error is nats-server's text.
    pub(super) fn new(pairs: &[Pair], provider: &CryptoProvider) -> Result<Self, String> {
        let one = |pair: &Pair| {
            let place = &pair.place;
            certified(pair, provider)
                .map(Arc::new)
                .map_err(|error| format!("error parsing X509 certificate/key pair{place}: {error}"))
        };
        Ok(Self(pairs.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// Until when the first is valid.
    pub(super) fn not_after(&self) -> Option<GoTime> {
        self.first()?.not_after()
    }

    /// Whether the first, the only one that nats-server looks at for this, is to be shown along with a response of OCSP.
    pub(super) fn must_staple(&self) -> bool {
        self.first().is_some_and(|first| first.must_staple)
    }

    fn first(&self) -> Option<Certificate> {
        Certificate::new(self.0.first()?.cert.first()?).ok()
    }
}

fn certified(pair: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    const NO_CERTIFICATE: &str = "tls: failed to find any PEM data in certificate input";
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pair.cert)
        .collect::<Result<_, _>>()
        .map_err(|_| NO_CERTIFICATE.to_owned())?;
    if chain.is_empty() {
        return Err(NO_CERTIFICATE.to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|_| "tls: failed to find any PEM data in key input".to_owned())?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "tls: private key does not match public key".to_owned(),
        other => other.to_string(),
    })
}

/// Whether a client that wants to speak to `name` takes this.
fn fits(certified: &CertifiedKey, name: Option<&str>, hello: &ClientHello<'_>) -> bool {
    let is_for = |name: &str| {
        let parsed = certified.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
        let name = ServerName::try_from(name).ok();
        parsed.zip(name).is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok())
    };
    name.is_none_or(is_for) && certified.key.choose_scheme(hello.signature_schemes()).is_some()
}

impl ResolvesServerCert for OwnCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = self.0.as_slice() {
            return Some(Arc::clone(only));
        }
        let fitting = self.0.iter().find(|one| fits(one, hello.server_name(), &hello));
        fitting.or(self.0.first()).cloned()
    }
}

/// What this server shows where it is the one that connects: as Go, the first that the other side can check.
impl ResolvesClientCert for OwnCertificates {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|one| one.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}
