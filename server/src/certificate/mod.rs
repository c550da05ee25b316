//! Certificates, as far as anybody is told by what they say.

mod distinguished;
mod name;
mod roots;

use der::asn1::AnyRef;
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use jetkv_go_compat::GoTime;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

pub(crate) use distinguished::Distinguished;
pub(crate) use name::Name;
pub(crate) use roots::{trusted, trusted_by_system};

/// The extension that has a subject's other names.
const OTHER_NAMES: &str = "2.5.29.17";
/// The extension that says what a handshake with the certificate must have (RFC 7633).
const TLS_FEATURES: &str = "1.3.6.1.5.5.7.1.24";
/// Among these: a response of OCSP along with the certificate.
const STATUS_REQUEST: u8 = 5;

/// A certificate, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    /// Whose it is.
    pub subject: Name,
    /// The subject as it is written there.
    raw_subject: Vec<u8>,
    /// Who signed it, as it is written there.
    raw_issuer: Vec<u8>,
    /// The key with its algorithm, as it is written there.
    key_info: Vec<u8>,
    not_after: Option<GoTime>,
    /// Other names of the subject: addresses of mail.
    pub emails: Vec<String>,
    /// Other names of the subject: those of DNS.
    pub dns_names: Vec<String>,
    /// Other names of the subject: URIs.
    pub uris: Vec<String>,
    /// It is to be shown along with a response of OCSP.
    pub must_staple: bool,
}

/// It is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed certificate")]
pub(crate) struct Malformed;

impl From<der::Error> for Malformed {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// The elements of a sequence or set, each with its bytes.
pub(super) fn elements(content: &[u8]) -> Result<Vec<(AnyRef<'_>, &[u8])>, Malformed> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        let bytes = reader.tlv_bytes()?;
        found.push((AnyRef::from_der(bytes)?, bytes));
    }
    Ok(found)
}

impl Certificate {
    /// Takes a certificate apart.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn new(der: &CertificateDer<'_>) -> Result<Self, Malformed> {
        let whole = elements(AnyRef::from_der(der)?.value())?;
        let (signed, _) = whole.first().ok_or(Malformed)?;
        let mut parts = elements(signed.value())?.into_iter().peekable();
        // The version, which may be left out.
        parts.next_if(|(part, _)| is_context(part.tag(), 0));
        // Serial number and algorithm go before.
        let mut parts = parts.skip(2);
        let mut part = || parts.next().ok_or(Malformed);
        let (issuer, validity, subject, key_info) = (part()?, part()?, part()?, part()?);
        let mut certificate = Self {
            der: der.clone().into_owned(),
            subject: Name::new(subject.0.value())?,
            raw_subject: subject.1.to_vec(),
            raw_issuer: issuer.1.to_vec(),
            key_info: key_info.1.to_vec(),
            not_after: elements(validity.0.value())?.get(1).and_then(|(time, _)| moment(time)),
            emails: Vec::new(),
            dns_names: Vec::new(),
            uris: Vec::new(),
            must_staple: false,
        };
        for (part, _) in parts.filter(|(part, _)| is_context(part.tag(), 3)) {
            let list = AnyRef::from_der(part.value())?;
            for (extension, _) in elements(list.value())? {
                certificate.take_extension(extension.value())?;
            }
        }
        Ok(certificate)
    }

    fn take_extension(&mut self, content: &[u8]) -> Result<(), Malformed> {
        let parts = elements(content)?;
        let (Some((id, _)), Some((value, _))) = (parts.first(), parts.last()) else { return Err(Malformed) };
        match id.decode_as::<der::asn1::ObjectIdentifier>()?.to_string().as_str() {
            OTHER_NAMES => {}
            TLS_FEATURES => {
                let features = AnyRef::from_der(value.value())
                    .map_err(Malformed::from)
                    .and_then(|list| elements(list.value()));
                // What cannot be read asks for nothing, as on nats-server.
                self.must_staple =
                    features.is_ok_and(|all| all.iter().any(|(one, _)| one.value() == [STATUS_REQUEST]));
                return Ok(());
            }
            _ => return Ok(()),
        }
        for (name, _) in elements(AnyRef::from_der(value.value())?.value())? {
            let text = || String::from_utf8_lossy(name.value()).into_owned();
            match name.tag() {
                tag if is_context(tag, 1) => self.emails.push(text()),
                tag if is_context(tag, 2) => self.dns_names.push(text()),
                tag if is_context(tag, 6) => self.uris.push(text()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Until when it is valid, where that can be said.
    pub(crate) fn not_after(&self) -> Option<GoTime> {
        self.not_after
    }

    /// Whether it says anything of whose it is.
    pub(crate) fn names_somebody(&self) -> bool {
        let others = [&self.emails, &self.dns_names, &self.uris];
        others.iter().any(|names| !names.is_empty()) || !self.subject.to_string().is_empty()
    }

    /// The SHA-256 of its key with its algorithm, in hexadecimal.
    pub(crate) fn key_digest(&self) -> String {
        hexadecimal(&Sha256::digest(&self.key_info))
    }

    /// The SHA-256 of the whole, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        hexadecimal(&Sha256::digest(&self.der))
    }

    /// It in PEM, as Go writes it.
    pub(crate) fn to_pem(&self) -> String {
        const LINE: usize = 64;
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

fn is_context(tag: Tag, number: u8) -> bool {
    matches!(tag, Tag::ContextSpecific { number: found, .. } if found.value() == number)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn moment(time: &AnyRef<'_>) -> Option<GoTime> {
    let since = match time.tag() {
        Tag::UtcTime => time.decode_as::<der::asn1::UtcTime>().ok()?.to_unix_duration(),
        _ => time.decode_as::<der::asn1::GeneralizedTime>().ok()?.to_unix_duration(),
    };
    i64::try_from(since.as_secs()).ok().map(GoTime::from_secs)
}

/// What a peer under TLS showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerCertificates {
    /// As they came, its own first.
    pub shown: Vec<Certificate>,
    /// From its own to an authority's, where these were looked at.
    pub chain: Vec<Certificate>,
}

impl PeerCertificates {
    /// Takes apart what a peer showed, and finds the way from there to one of `authorities`.
    ///
    /// # Errors
    /// One of them is malformed.
    pub(crate) fn new(shown: &[CertificateDer<'_>], authorities: &[Certificate]) -> Result<Self, Malformed> {
        let shown: Vec<_> = shown.iter().map(Certificate::new).collect::<Result<_, _>>()?;
        let chain = shown.first().map(|own| way_up(own, &shown, authorities)).unwrap_or_default();
        Ok(Self { shown, chain })
    }
}

/// From a certificate that was verified to the authority, by the names of who signed whom.
fn way_up(own: &Certificate, shown: &[Certificate], roots: &[Certificate]) -> Vec<Certificate> {
    let mut chain = vec![own.clone()];
    while let Some(last) = chain.last() {
        let signs = |one: &&Certificate| one.raw_subject == last.raw_issuer;
        if let Some(root) = roots.iter().find(signs) {
            if root != last {
                chain.push(root.clone());
            }
            return chain;
        }
        let Some(next) = shown.iter().find(signs).filter(|next| !chain.contains(next)) else { break };
        chain.push(next.clone());
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};

    fn authority() -> rcgen::CertifiedKey {
        let key_pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        rcgen::CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair }
    }

    fn signed(by: &rcgen::CertifiedKey, params: CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &by.cert, &by.key_pair).unwrap().der().clone()
    }

    #[test]
    fn names_of_all_kinds_are_found() {
        let mut params = CertificateParams::new(vec!["a.org".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name("a@a.org".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "own, name");
        params.distinguished_name.push(DnType::CountryName, "DE");
        let der = signed(&authority(), params);
        let certificate = Certificate::new(&der).unwrap();
        assert_eq!(certificate.dns_names, ["a.org"]);
        assert_eq!(certificate.emails, ["a@a.org"]);
        assert_eq!(certificate.uris, ["spiffe://a/b"]);
        assert_eq!(certificate.subject.to_string(), r"CN=own\, name,C=DE");
        assert!(certificate.names_somebody() && certificate.not_after().is_some());
        let pem = certificate.to_pem();
        let read: CertificateDer<'_> =
            rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(read, der);
    }

    #[test]
    fn the_way_to_the_authority_is_found_by_names() {
        let root = authority();
        let der = signed(&root, CertificateParams::new(vec!["a.org".to_owned()]).unwrap());
        let found =
            PeerCertificates::new(std::slice::from_ref(&der), &[Certificate::new(root.cert.der()).unwrap()])
                .unwrap();
        assert_eq!(found.chain.len(), 2);
        assert_eq!(found.chain.last().unwrap().der, *root.cert.der());
        assert_eq!(PeerCertificates::new(&[der], &[]).unwrap().chain, []);
    }

    #[test]
    fn what_is_no_certificate_is_refused_wherever_it_ends() {
        let der = signed(&authority(), CertificateParams::new(vec!["a.org".to_owned()]).unwrap());
        for length in 0..der.len() {
            assert_eq!(Certificate::new(&CertificateDer::from(&der[..length])), Err(Malformed), "{length}");
        }
        for at in 0..der.len() {
            let mut flipped = der.to_vec();
            flipped[at] ^= 0x55;
            // Whatever comes of it.
            let _ = Certificate::new(&CertificateDer::from(flipped));
        }
    }
}
