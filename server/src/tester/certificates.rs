//! What an instance with TLS gets: an authority of its own, and certificates that it signed.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

/// How long certificates hold.
const VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How far they reach back, for clocks that are behind.
const LEEWAY: Duration = Duration::from_secs(60);
/// Names in a server's certificate where none are asked for.
pub(super) const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate and its key, as PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What the servers and the clients of an instance show.
pub(super) struct Material {
    pub(super) authority: String,
    pub(super) server: Identity,
    /// Where clients must show one.
    pub(super) client: Option<Identity>,
}

impl Material {
    /// Makes it. Names that are addresses become addresses of the certificate.
    pub(super) fn make(names: &[String], mutual: bool) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params("test CA", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let authority = params.self_signed(&key)?;
        let signed = |name: &str, names: Vec<String>, purpose| {
            let own_key = KeyPair::generate()?;
            let mut params = self::params(name, names)?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages = vec![purpose];
            let certificate = params.signed_by(&own_key, &authority, &key)?.pem();
            Ok::<_, rcgen::Error>(Identity { certificate, key: own_key.serialize_pem() })
        };
        let server = signed("test server", names.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = mutual.then(|| signed("test client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth));
        Ok(Self { server, client: client.transpose()?, authority: authority.pem() })
    }
}

fn params(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - LEEWAY).into();
    params.not_after = (now + VALIDITY).into();
    Ok(params)
}
