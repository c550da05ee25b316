//! Distinguished names, by which users are found whose name is one.

use super::name::{Attribute, DOMAIN, KNOWN, Name};

/// What a backslash takes the meaning from.
const SPECIAL: &[u8] = b" \"#+,;<=>\\";

/// A name that says what somebody is, from the person up, as RFC 4514 writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distinguished {
    parts: Vec<Part>,
}

/// Attributes that belong together: types in capitals, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part(Vec<(Vec<u8>, Vec<u8>)>);

impl Part {
    fn equals(&self, other: &Self) -> bool {
        let has_all = |these: &Self, those: &Self| those.0.iter().all(|one| these.0.contains(one));
        self.0.len() == other.0.len() && has_all(self, other) && has_all(other, self)
    }
}

impl Distinguished {
    /// That of a certificate's subject; `None` where it says something that such a name does not.
    pub(crate) fn of(name: &Name) -> Option<Self> {
        let attribute = |attribute: &Attribute| {
            let mut names = KNOWN.iter().chain(&[(DOMAIN, "DC")]);
            let (_, known) = names.find(|(id, _)| *id == attribute.id)?;
            Some((known.as_bytes().to_vec(), attribute.value.clone()?.into_bytes()))
        };
        let sets = name.sets.iter().rev().filter(|set| !set.is_empty());
        let part = |set: &Vec<Attribute>| set.iter().rev().map(attribute).collect::<Option<_>>().map(Part);
        Some(Self { parts: sets.map(part).collect::<Option<_>>()? })
    }

    /// Reads one; `None` for what is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut parts, mut part) = (Vec::new(), Part::default());
        let (mut kind, mut word) = (Vec::new(), Word::default());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => {
                    let Some(first) = bytes.next() else { break };
                    word.push(if SPECIAL.contains(&first) { first } else { octet(first, bytes.next()?)? });
                }
                b'=' => {
                    kind = word.take();
                    // What is written in hexadecimal as a whole is not read.
                    if bytes.peek() == Some(&b'#') {
                        return None;
                    }
                }
                b',' | b'+' => {
                    part.0.push((named(&mut kind)?, word.take()));
                    if byte == b',' {
                        parts.push(std::mem::take(&mut part));
                    }
                }
                b' ' if word.bytes.is_empty() => {}
                b' ' => word.push_blank(),
                other => word.push(other),
            }
        }
        if !word.bytes.is_empty() {
            part.0.push((named(&mut kind)?, word.take()));
            parts.push(part);
        }
        Some(Self { parts })
    }

    /// Whether both say the same in the same order.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(|(one, other)| one.equals(other))
    }

    /// Whether both say the same in any order.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let mut left: Vec<&Part> = other.parts.iter().collect();
        let mut take = |part: &Part| left.iter().position(|one| part.equals(one)).map(|at| left.remove(at));
        self.parts.iter().all(|part| take(part).is_some()) && left.is_empty()
    }
}

/// What is being read, with blanks at its end that only count if something follows.
#[derive(Default)]
struct Word {
    bytes: Vec<u8>,
    blanks: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        self.blanks = 0;
        self.bytes.push(byte);
    }

    fn push_blank(&mut self) {
        self.blanks += 1;
        self.bytes.push(b' ');
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(bytes.len() - std::mem::take(&mut self.blanks));
        bytes
    }
}

/// The type of an attribute, in capitals; `None` where there is none.
fn named(kind: &mut Vec<u8>) -> Option<Vec<u8>> {
    let kind = std::mem::take(kind);
    (!kind.is_empty()).then(|| kind.to_ascii_uppercase())
}

fn octet(first: u8, second: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(first)? << 4 | digit(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Distinguished {
        Distinguished::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn names_are_equal_whatever_case_their_types_have_and_wherever_blanks_are() {
        assert!(parse("CN=a b , o=Acme\\, Inc.").equals(&parse("cn=a b,O=Acme\\2C Inc.")));
        assert!(parse("CN=a+OU=b").equals(&parse("OU=b+CN=a")));
        for other in ["CN=A,O=b", "O=b,CN=a", "CN=a", "CN=a+O=b", "CN=a,O=b,C=c"] {
            assert!(!parse("CN=a,O=b").equals(&parse(other)), "{other}");
        }
    }

    #[test]
    fn names_match_in_any_order_but_only_as_a_whole() {
        assert!(parse("CN=a,DC=b,DC=c").matches(&parse("DC=c,CN=a,DC=b")));
        assert!(!parse("DC=b,DC=b,CN=a").matches(&parse("DC=b,DC=c,CN=a")));
        assert!(!parse("CN=a").matches(&parse("CN=a,DC=b")));
    }

    #[test]
    fn what_is_no_name_is_told() {
        for text in ["plain", "=a", "a,b", "CN=#0401", "CN=\\x", "CN=a\\2", "CN=a,plain"] {
            assert_eq!(Distinguished::parse(text), None, "{text}");
        }
        assert_eq!(Distinguished::parse(""), Some(Distinguished::default()));
    }
}
