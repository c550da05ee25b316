//! Certificates of scenarios: made from what stands in the file, as files beside the configuration.

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, DnValue, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use serde::Deserialize;

use crate::Result;
use crate::secure::{Offers, Trust};

/// What a certificate says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Says {
    /// The subject, in order: `CN`, `O`, `OU`, `C`, `ST`, `L`, or numbers with dots, each with its value.
    subject: Vec<(String, String)>,
    dns: Vec<String>,
    email: Vec<String>,
    uri: Vec<String>,
    ip: Vec<String>,
    /// The year at whose beginning it ended.
    until: Option<i32>,
    /// It says in an extension that whoever shows it has to prove that it is not revoked.
    must_staple: bool,
}

/// The certificates of a case so far.
#[derive(Default)]
pub(super) struct Certificates {
    made: BTreeMap<String, (Certificate, KeyPair)>,
}

impl Certificates {
    /// Takes a line `certificate NAME: {}`, an authority, or `certificate NAME by AUTHORITY: {}`. Returns the files that
    /// it stands for, `NAME.pem` and `NAME.key`; nothing for any other line.
    pub(super) fn take(&mut self, line: &str) -> Result<Option<[(String, String); 2]>> {
        let Some((names, says)) = line.strip_prefix("certificate ").and_then(|rest| rest.split_once(':'))
        else {
            return Ok(None);
        };
        let says: Says =
            serde_json::from_str(says.trim()).map_err(|e| format!("certificate {names}: {e}"))?;
        let (name, by) = names.split_once(" by ").map_or((names, None), |(name, by)| (name, Some(by.trim())));
        let name = name.trim();
        let key = KeyPair::generate()?;
        let params = parameters(&says, by.is_none())?;
        let certificate = match by {
            Some(by) => {
                let (authority, signs) = self.made.get(by).ok_or_else(|| format!("no certificate {by:?}"))?;
                params.signed_by(&key, authority, signs)?
            }
            None => params.self_signed(&key)?,
        };
        let files =
            [(format!("{name}.pem"), certificate.pem()), (format!("{name}.key"), key.serialize_pem())];
        self.made.insert(name.to_string(), (certificate, key));
        Ok(Some(files))
    }
}

fn parameters(says: &Says, is_authority: bool) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(says.dns.clone())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in &says.subject {
        params.distinguished_name.push(attribute(kind)?, DnValue::Utf8String(value.clone()));
    }
    for email in &says.email {
        params.subject_alt_names.push(SanType::Rfc822Name(email.as_str().try_into()?));
    }
    for uri in &says.uri {
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
    }
    for ip in &says.ip {
        params.subject_alt_names.push(SanType::IpAddress(ip.parse()?));
    }
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    if let Some(year) = says.until {
        params.not_after = date_time_ymd(year, 1, 1);
    }
    if says.must_staple {
        // The feature `status_request` of RFC 7633.
        let features =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        params.custom_extensions.push(features);
    }
    Ok(params)
}

fn attribute(kind: &str) -> Result<DnType> {
    Ok(match kind {
        "CN" => DnType::CommonName,
        "O" => DnType::OrganizationName,
        "OU" => DnType::OrganizationalUnitName,
        "C" => DnType::CountryName,
        "ST" => DnType::StateOrProvinceName,
        "L" => DnType::LocalityName,
        "DC" => DnType::from_oid(&[0, 9, 2342, 19_200_300, 100, 1, 25]),
        numbers => {
            let parts: std::result::Result<Vec<u64>, _> = numbers.split('.').map(str::parse).collect();
            DnType::from_oid(&parts.map_err(|e| format!("attribute {kind:?}: {e}"))?)
        }
    })
}

/// Whom a client of a case trusts, which is every authority of it, and what it shows, by the name of a certificate.
pub(super) fn trust(files: &[(String, String)], shows: Option<&str>, offers: &Offers) -> Result<Trust> {
    let content = |name: String| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| text.as_str()).ok_or_else(|| format!("no file {name:?}"))
    };
    let authorities: String = files
        .iter()
        .filter(|(name, _)| name.starts_with("ca") && name.ends_with(".pem"))
        .map(|(_, text)| text.as_str())
        .collect();
    let own = match shows {
        Some(name) => Some((content(format!("{name}.pem"))?, content(format!("{name}.key"))?)),
        None => None,
    };
    Trust::new(&authorities, own, offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_become_files_that_clients_can_show() {
        let mut certificates = Certificates::default();
        let mut files = Vec::new();
        for line in
            ["certificate ca: {}", r#"certificate app by ca: {"subject": [["CN", "a"]], "dns": ["h"]}"#]
        {
            files.extend(certificates.take(line).unwrap().unwrap());
        }
        assert_eq!(files.len(), 4);
        let all = Offers::default();
        assert!(trust(&files, Some("app"), &all).is_ok() && trust(&files, Some("none"), &all).is_err());
        assert!(trust(&files, None, &Offers::parse("TLSv1_2,X25519")).is_ok());
        assert!(trust(&files, None, &Offers::parse("TLSv1_2,X1")).is_err());
        assert!(certificates.take("connect a").unwrap().is_none());
        assert!(certificates.take(r#"certificate x by y: {}"#).is_err());
        assert!(certificates.take(r#"certificate x: {"name": 1}"#).is_err());
    }
}
