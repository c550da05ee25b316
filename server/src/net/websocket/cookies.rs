//! Cookies of an upgrade, as Go reads them.

use crate::net::client::Cookies;
use crate::options::CookieNames;

impl Cookies {
    /// Takes the cookies of a `Cookie` header that have these names; the last of a name counts.
    pub(super) fn take(&mut self, header: &str, names: &CookieNames) {
        for part in header.split(';') {
            let Some((name, value)) = part.trim().split_once('=') else { continue };
            let Some(value) = value_of(value) else { continue };
            let named = |wanted: &Option<String>| wanted.as_deref() == Some(name);
            let field = if named(&names.jwt) {
                &mut self.jwt
            } else if named(&names.user) {
                &mut self.user
            } else if named(&names.password) {
                &mut self.password
            } else if named(&names.token) {
                &mut self.token
            } else {
                continue;
            };
            value.clone_into(field);
        }
    }
}

/// The value without its quotes; `None` where it is none.
fn value_of(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let value = quoted.unwrap_or(text);
    let is_allowed = |byte: u8| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b';' | b'\\');
    value.bytes().all(is_allowed).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_with_the_names_of_the_configuration_count() {
        let name = |text: &str| Some(text.to_owned());
        let names = CookieNames { user: name("u"), password: name("p"), token: None, jwt: name("j") };
        let mut cookies = Cookies::default();
        cookies.take("u=first; other=1; u=me;p=\"a b=c\";;j", &names);
        cookies.take("j=\"x", &names);
        cookies.take("=;\u{e9}=1; t=2", &names);
        let expected = Cookies { user: "me".into(), password: "a b=c".into(), ..Cookies::default() };
        assert!(cookies == expected);
        cookies.take("j=a\u{e9}", &names);
        assert!(cookies == expected, "what is no ASCII is no value");
    }
}
