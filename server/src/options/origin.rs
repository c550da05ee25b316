//! Origins of web pages (RFC 6454), as requests and the configuration name them.

use jetkv_go_compat::quoted;

/// The parts of a URL that make an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Lower case; empty for a path alone.
    pub scheme: String,
    /// Host, and port if there is one.
    pub authority: String,
}

impl Origin {
    /// Takes a URL apart as far as its origin. The error is Go's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| Err(format!("parse {}: {reason}", quoted(text)));
        if text.is_empty() {
            return refused("empty url");
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            Some(("", _)) => return refused("missing protocol scheme"),
            _ => (String::new(), text),
        };
        if !rest.starts_with('/') {
            // Of `mailto:` and the like, nothing behind the scheme says where it is.
            if scheme.is_empty() || rest.is_empty() {
                return refused("invalid URI for request");
            }
            return Ok(Self { scheme, authority: String::new() });
        }
        let authority = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(rest) => rest.split(['/', '?']).next().unwrap_or_default(),
            None => "",
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.contains([' ', '<', '>', '"']) || host.contains(|c: char| c.is_ascii_control()) {
            return refused("invalid character in host name");
        }
        let port = host.rsplit(']').next().and_then(|rest| rest.find(':').and_then(|at| rest.get(at..)));
        if let Some(port) = port.filter(|port| !port.bytes().skip(1).all(|digit| digit.is_ascii_digit())) {
            return refused(&format!("invalid port {} after host", quoted(port)));
        }
        Ok(Self { scheme, authority: host.to_owned() })
    }

    /// Host in lower case, and port, which the scheme says where there is none. The error is Go's text.
    pub(crate) fn host_and_port(&self) -> Result<(String, String), String> {
        host_and_port(self.scheme == "https", &self.authority)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Host in lower case and port of `authority`; where it names none, that of HTTP with or without TLS. The error is Go's
/// text.
pub(crate) fn host_and_port(is_secure: bool, authority: &str) -> Result<(String, String), String> {
    let address = |reason: &str| Err(format!("address {authority}: {reason}"));
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            // As Go: without a port the brackets stay.
            Some((_, "")) => (authority, None),
            Some((host, after)) => match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return address("missing port in address"),
            },
            None => return address("missing ']' in address"),
        },
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return address("too many colons in address"),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.unwrap_or(if is_secure { "443" } else { "80" });
    Ok((host.to_lowercase(), port.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String, String)> {
        let origin = Origin::parse(text).ok()?;
        let (host, port) = origin.host_and_port().ok()?;
        Some((origin.scheme, host, port))
    }

    #[test]
    fn an_origin_has_a_scheme_a_host_and_a_port() {
        for (text, scheme, host, port) in [
            ("http://Example.com", "http", "example.com", "80"),
            ("HTTPS://example.com", "https", "example.com", "443"),
            ("https://a:8443/path", "https", "a", "8443"),
            ("http://[::1]:99", "http", "::1", "99"),
            ("http://user@a:1", "http", "a", "1"),
            ("/path", "", "", "80"),
        ] {
            let expected = (scheme.to_owned(), host.to_owned(), port.to_owned());
            assert_eq!(parsed(text), Some(expected), "{text}");
        }
        for text in ["", "null", "a b", ":x", "http:", "http://a:1:2", "http://[::1", "http://a b"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(Origin::parse("null").unwrap_err(), "parse \"null\": invalid URI for request");
    }
}
