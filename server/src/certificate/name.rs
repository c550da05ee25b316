//! Whose a certificate is.

use std::fmt;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Tag, Tagged as _};

use super::{Malformed, elements, hexadecimal};

/// Attributes that Go knows by name, in the order in which it writes them, backwards.
pub(super) const KNOWN: [(&str, &str); 9] = [
    ("2.5.4.6", "C"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
];
/// Attributes of which the last one counts.
const SINGLE: [&str; 2] = ["2.5.4.3", "2.5.4.5"];
/// A component of a domain.
pub(super) const DOMAIN: &str = "0.9.2342.19200300.100.1.25";

/// One thing that is said of the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    /// What is said, as numbers with dots.
    pub(super) id: String,
    /// `None` for what is no text.
    pub(super) value: Option<String>,
}

/// What a certificate says of its subject: sets of attributes, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(super) sets: Vec<Vec<Attribute>>,
}

impl Name {
    pub(super) fn new(content: &[u8]) -> Result<Self, Malformed> {
        let sets = elements(content)?.into_iter().map(|(set, _)| attributes(set.value()));
        Ok(Self { sets: sets.collect::<Result<_, _>>()? })
    }

    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.sets.iter().flatten();
        all.filter_map(|attribute| Some((attribute.id.as_str(), attribute.value.as_deref()?)))
    }

    /// The attributes that Go knows, as it writes them.
    pub(crate) fn known(&self) -> String {
        let mut sets = Vec::new();
        for (id, _) in KNOWN {
            let mut values: Vec<_> = self.texts().filter(|(found, _)| *found == id).collect();
            if SINGLE.contains(&id) {
                values.drain(..values.len().saturating_sub(1));
                values.retain(|(_, value)| !value.is_empty());
            }
            if !values.is_empty() {
                sets.push(values);
            }
        }
        written(&sets)
    }

    /// Its components of a domain, each as `DC=...`, with commas between them.
    pub(crate) fn domain(&self) -> String {
        let parts = self.texts().filter(|(id, _)| *id == DOMAIN);
        parts.map(|(_, value)| format!("DC={value}")).collect::<Vec<_>>().join(",")
    }
}

/// As Go writes it: what it does not know stands at the end.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let is_unknown = |id: &str| !KNOWN.iter().any(|(known, _)| *known == id);
        let others: Vec<_> = self.texts().filter(|(id, _)| is_unknown(id)).map(|one| vec![one]).collect();
        let others = written(&others);
        let comma = if known.is_empty() || others.is_empty() { "" } else { "," };
        write!(f, "{known}{comma}{others}")
    }
}

fn attributes(content: &[u8]) -> Result<Vec<Attribute>, Malformed> {
    let read = |(attribute, _): (AnyRef<'_>, &[u8])| {
        let parts = elements(attribute.value())?;
        let (Some((id, _)), Some((value, _))) = (parts.first(), parts.get(1)) else { return Err(Malformed) };
        Ok(Attribute { id: id.decode_as::<ObjectIdentifier>()?.to_string(), value: text(value) })
    };
    elements(content)?.into_iter().map(read).collect()
}

fn text(value: &AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units: Vec<_> = bytes
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// Sets of attributes, the last one first.
fn written(sets: &[Vec<(&str, &str)>]) -> String {
    let set = |set: &Vec<(&str, &str)>| set.iter().map(|one| pair(*one)).collect::<Vec<_>>().join("+");
    sets.iter().rev().map(set).collect::<Vec<_>>().join(",")
}

fn pair((id, value): (&str, &str)) -> String {
    let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == id) else {
        return format!("{id}=#{}", encoded(value));
    };
    let mut text = format!("{name}=");
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        let is_special = match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if is_special {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// A text in DER, as Go encodes one, in hexadecimal.
fn encoded(value: &str) -> String {
    const UTF8: u8 = 12;
    const PRINTABLE: u8 = 19;
    let is_printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    let tag = if value.bytes().all(is_printable) { PRINTABLE } else { UTF8 };
    let mut bytes = vec![tag];
    let length = value.len();
    match u8::try_from(length) {
        Ok(short @ 0..128) => bytes.push(short),
        _ => {
            let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
            bytes.extend(digits);
        }
    }
    bytes.extend_from_slice(value.as_bytes());
    hexadecimal(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sets: &[&[(&str, &str)]]) -> Name {
        let attribute =
            |(id, value): &(&str, &str)| Attribute { id: (*id).to_owned(), value: Some((*value).to_owned()) };
        Name { sets: sets.iter().map(|set| set.iter().map(attribute).collect()).collect() }
    }

    #[test]
    fn a_subject_is_written_as_go_writes_it() {
        let full = name(&[
            &[("2.5.4.6", "DE")],
            &[("2.5.4.11", "a"), ("2.5.4.11", "b")],
            &[("2.5.4.3", "old")],
            &[("2.5.4.3", " #x, y ")],
        ]);
        assert_eq!(full.to_string(), r"CN=\ #x\, y\ ,OU=a+OU=b,C=DE");
        let domain = name(&[&[(DOMAIN, "org")], &[(DOMAIN, "acme")], &[("2.5.4.3", "n")]]);
        assert_eq!(domain.known(), "CN=n");
        assert_eq!(domain.domain(), "DC=org,DC=acme");
        let text = format!("CN=n,{DOMAIN}=#130461636d65,{DOMAIN}=#13036f7267");
        assert_eq!(domain.to_string(), text);
        assert_eq!(
            name(&[&[("1.2.840.113549.1.9.1", "a@b")]]).to_string(),
            "1.2.840.113549.1.9.1=#0c03614062"
        );
        assert_eq!(name(&[]).to_string(), "");
    }
}
