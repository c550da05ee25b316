//! Users whom certificates name.

use std::collections::BTreeSet;

use crate::certificate::{Certificate, Distinguished, PeerCertificates};
use jetkv_go_compat::quoted;

/// The names that a certificate may have in it, and that of its user.
#[derive(Debug, Default)]
pub(super) struct CertificateUsers {
    names: BTreeSet<String>,
    /// Those that are distinguished names, as such.
    distinguished: Vec<(Distinguished, String)>,
}

impl CertificateUsers {
    pub(super) fn new(names: BTreeSet<String>) -> Self {
        let distinguished = names.iter().filter_map(|name| Some((Distinguished::parse(name)?, name.clone())));
        Self { distinguished: distinguished.collect(), names }
    }

    /// The user whom the first of these certificates names: by an address of mail, a name in DNS, a URI, or its subject.
    /// `log` is told how it was found.
    pub(super) fn find(&self, peer: Option<&PeerCertificates>, log: &mut dyn FnMut(String)) -> Option<&str> {
        let Some(peer) = peer else {
            log("User required in cert, no TLS connection state".to_owned());
            return None;
        };
        let Some(own) = peer.shown.first() else {
            log("User required in cert, no peer certificates found".to_owned());
            return None;
        };
        if peer.shown.len() > 1 {
            log("Multiple peer certificates found, selecting first".to_owned());
        }
        if !own.names_somebody() {
            log("User required in cert, none found".to_owned());
            return None;
        }
        let others = [("email", &own.emails), ("SAN", &own.dns_names), ("URI", &own.uris)];
        for (kind, names) in others {
            if let Some(user) = names.iter().find_map(|name| self.names.get(name)) {
                log(format!("Using {kind} found in cert for auth [{}]", quoted(user)));
                return Some(user);
            }
        }
        self.find_subject(own, log)
    }

    fn find_subject(&self, own: &Certificate, log: &mut dyn FnMut(String)) -> Option<&str> {
        let written = own.subject.known();
        if let Some(name) = Distinguished::of(&own.subject) {
            if let Some(user) = self.find_distinguished(&name) {
                log(format!("Using DistinguishedNameMatch for auth [{}]", quoted(user)));
                return Some(user);
            }
            log(format!("DistinguishedNameMatch could not be used for auth [{}]", quoted(&written)));
        }
        let domain = own.subject.domain();
        if !domain.is_empty() {
            let whole = format!("{written},{domain}");
            if let Some(user) = self.names.get(&whole) {
                log(format!("Using RDNSequence for auth [{}]", quoted(user)));
                return Some(user);
            }
            log(format!("RDNSequence could not be used for auth [{}]", quoted(&whole)));
        }
        if let Some(user) = self.names.get(&written) {
            log(format!("Using certificate subject for auth [{}]", quoted(user)));
            return Some(user);
        }
        log(format!("User in cert [{}], not found", quoted(&written)));
        None
    }

    fn find_distinguished(&self, name: &Distinguished) -> Option<&String> {
        let equal = self.distinguished.iter().find(|(known, _)| known.equals(name));
        let found = equal.or_else(|| self.distinguished.iter().find(|(known, _)| known.matches(name)));
        found.map(|(_, user)| user)
    }
}
