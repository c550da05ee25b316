//! Who decides on the certificates of clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

/// Refuses a certificate that somebody else signed under the name of an authority as one of an unknown authority, as Go
/// does: a client is told the same, whatever the authority of a stranger is called.
#[derive(Debug)]
pub(super) struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// The error is in words.
    pub(super) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self(verifier.build().map_err(|error| error.to_string())?))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                Error::InvalidCertificate(CertificateError::UnknownIssuer)
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
    use rustls::crypto::ring;

    /// An authority; all have the same name.
    fn authority() -> CertifiedKey {
        let key_pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair }
    }

    fn client_of(authority: &CertifiedKey) -> CertificateDer<'static> {
        let key_pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        params.signed_by(&key_pair, &authority.cert, &authority.key_pair).unwrap().der().clone()
    }

    #[test]
    fn who_signs_under_the_name_of_an_authority_is_an_unknown_one() {
        let known = authority();
        let mut roots = RootCertStore::empty();
        roots.add(known.cert.der().clone()).unwrap();
        let verifier = ClientVerifier::new(roots, &Arc::new(ring::default_provider())).unwrap();
        let verified = |authority| verifier.verify_client_cert(&client_of(authority), &[], UnixTime::now());
        assert!(verified(&known).is_ok());
        let refused = verified(&authority()).err();
        assert_eq!(refused, Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    }
}
