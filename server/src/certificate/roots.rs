//! Authorities whose signatures count.

use std::io;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Those in a PEM, and each by itself. `None`: there are none in it.
pub(crate) fn trusted(pem: &[u8]) -> Option<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.iter().cloned());
    (added > 0).then_some((roots, found))
}

/// Those that the system trusts, in PEM, where Linux systems have them (Go looks there, too).
///
/// # Errors
/// There are none.
pub(crate) fn trusted_by_system() -> io::Result<Vec<u8>> {
    const PLACES: [&str; 5] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let named = std::env::var_os("SSL_CERT_FILE");
    if let Some(named) = named {
        return std::fs::read(named);
    }
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES {
        match std::fs::read(place) {
            Ok(found) => return Ok(found),
            Err(cause) => error = cause,
        }
    }
    Err(error)
}
