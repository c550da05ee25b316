//! What flags say of a cluster: they win over the block `cluster`, and may do no more than it.

use super::config::ListenerDraft;
use super::listener_model::Unserved;
use jetkv_go_compat::quoted;

/// The flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterFlags {
    /// URL to listen on for others of the cluster. Empty: there is to be no listener.
    pub(crate) listen: Option<String>,
    /// Name of the cluster.
    pub(crate) name: Option<String>,
    /// `host:port` that others of the cluster would be told of.
    pub(crate) advertise: Option<String>,
    /// URLs of others to connect to, separated by commas.
    pub(crate) routes: String,
}

impl ClusterFlags {
    /// Lets the flags win over what was read of the block. The error is nats-server's text, but for what JetKV cannot do.
    pub(super) fn apply(self, listeners: &mut Vec<ListenerDraft>) -> Result<(), String> {
        let at = listeners.iter().position(|listener| listener.feature == Unserved::Cluster);
        let had_one = at.is_some();
        let mut cluster =
            at.map_or_else(|| ListenerDraft::new(Unserved::Cluster), |at| listeners.swap_remove(at));
        match self.listen.as_deref() {
            None => {}
            Some("") => cluster.port = 0,
            Some(url) => {
                (cluster.host, cluster.port) = listen_url(url)?;
                cluster.by_flag = true;
            }
        }
        if let Some(name) = self.name {
            if name.contains(' ') {
                return Err("cluster name cannot contain spaces".to_owned());
            }
            cluster.name = name;
        }
        if let Some(advertise) = self.advertise {
            cluster.advertise = advertise;
        }
        if !self.routes.is_empty() {
            let has_listener = had_one || self.listen.is_some_and(|url| !url.is_empty());
            return Err(if has_listener {
                "option --routes is not supported by JetKV yet".to_owned()
            } else {
                "solicited routes require cluster capabilities, e.g. --cluster".to_owned()
            });
        }
        listeners.push(cluster);
        Ok(())
    }
}

/// Host and port of the URL of a listener; port -1 is any free one. The error is Go's text.
fn listen_url(text: &str) -> Result<(String, i64), String> {
    // A URL cannot have that port.
    let any_port = text.strip_suffix(":-1").map(|rest| format!("{rest}:0"));
    let url = any_port.as_deref().unwrap_or(text);
    let refused = |reason: &str| format!("parse {}: {reason}", quoted(url));
    let (user, address) = authority(url).map_err(|reason| refused(&reason))?;
    check_host(address).map_err(|reason| refused(&reason))?;
    let (host, port) = split(address)?;
    if user.is_some_and(|user| !user.contains(':')) {
        return Err("expected cluster password to be set".to_owned());
    }
    let port = match port {
        _ if any_port.is_some() => -1,
        "" => return Err("EOF".to_owned()),
        digits => digits.parse().map_err(|_| "integer overflow on token ".to_owned() + digits)?,
    };
    Ok((host.to_owned(), port))
}

/// The user, if there is one, and the address of a URL, each as it stands there.
fn authority(url: &str) -> Result<(Option<&str>, &str), String> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let is_of_scheme = |at: usize, letter: char| {
        letter.is_ascii_alphabetic() || (at > 0 && (letter.is_ascii_digit() || "+-.".contains(letter)))
    };
    let end = url.char_indices().find(|(at, letter)| !is_of_scheme(*at, *letter));
    let (has_scheme, rest) = match end {
        Some((0, ':')) => return Err("missing protocol scheme".to_owned()),
        Some((at, ':')) => (true, url.get(at + 1..).unwrap_or_default()),
        _ => (false, url),
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let Some(rest) = rest.strip_prefix("//") else {
        let first = rest.split('/').next().unwrap_or_default();
        if !has_scheme && first.contains(':') {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        return Ok((None, ""));
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let Some((user, address)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(letter);
    if !user.chars().all(fits) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    check_escapes(user)?;
    Ok((Some(user), address))
}

/// Whether the host of a URL is one, and its port a number.
fn check_host(address: &str) -> Result<(), String> {
    let port_at = match address.strip_prefix('[') {
        Some(_) => Some(address.rfind(']').ok_or("missing ']' in host")? + 1),
        None => address.rfind(':'),
    };
    let (host, port) = port_at.map_or((address, ""), |at| address.split_at(at));
    if !port.is_empty()
        && !port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!("invalid port {} after host", quoted(port)));
    }
    check_escapes(host)?;
    let is_wrong = |letter: &char| {
        letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:[]<>\"%".contains(*letter)
    };
    match host.chars().find(is_wrong) {
        Some(letter) => Err(format!("invalid character {} in host name", quoted(letter.to_string()))),
        None => Ok(()),
    }
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            let escape: String = text
                .chars()
                .skip(text.get(..at).map_or(0, |before| before.chars().count()))
                .take(3)
                .collect();
            return Err(format!("invalid URL escape {}", quoted(&escape)));
        }
    }
    Ok(())
}

/// An address by its parts.
fn split(address: &str) -> Result<(&str, &str), String> {
    if address.is_empty() {
        return Err("missing port in address".to_owned());
    }
    let refused = |reason: &str| Err(format!("address {address}: {reason}"));
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, port),
            None => return refused("missing port in address"),
        },
        None => match address.split_once(':') {
            Some((_, port)) if port.contains(':') => return refused("too many colons in address"),
            Some(parts) => parts,
            None => return refused("missing port in address"),
        },
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::listen_url;

    #[test]
    fn a_listener_is_named_by_a_url() {
        for (url, host, port) in [
            ("nats://127.0.0.1:-1", "127.0.0.1", -1),
            ("nats://u:p@h:6222/path", "h", 6222),
            ("//h:1?x#y:z", "h", 1),
            ("tls://[::1]:-1", "::1", -1),
            ("nats://:6222", "", 6222),
            ("nats://h:0", "h", 0),
            ("nats://h:99999", "h", 99999),
        ] {
            assert_eq!(listen_url(url), Ok((host.to_owned(), port)), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_in_words_of_go() {
        for (url, reason) in [
            ("127.0.0.1:6222", "parse \"127.0.0.1:6222\": first path segment in URL cannot contain colon"),
            ("1nats://h:-1", "parse \"1nats://h:0\": first path segment in URL cannot contain colon"),
            ("localhost:-1", "missing port in address"),
            ("foo", "missing port in address"),
            ("-1", "missing port in address"),
            (":-1", "parse \":0\": missing protocol scheme"),
            ("nats://u@h:-1", "expected cluster password to be set"),
            ("nats://h", "address h: missing port in address"),
            ("nats://h:", "EOF"),
            ("nats://h:abc", "parse \"nats://h:abc\": invalid port \":abc\" after host"),
            ("nats://h:-1/path", "parse \"nats://h:-1/path\": invalid port \":-1\" after host"),
            ("nats://:::-1", "address :::0: too many colons in address"),
            ("nats://[::1", "parse \"nats://[::1\": missing ']' in host"),
            ("nats://a%zz:-1", "parse \"nats://a%zz:0\": invalid URL escape \"%zz\""),
            ("nats://a b:-1", "parse \"nats://a b:0\": invalid character \" \" in host name"),
            ("nats://a:p q@b:-1", "parse \"nats://a:p q@b:0\": net/url: invalid userinfo"),
        ] {
            assert_eq!(listen_url(url), Err(reason.to_owned()), "{url}");
        }
    }
}
