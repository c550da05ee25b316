//! Subjects of JetStream with and without the name of its domain.
//!
//! What a client publishes is renamed before anything else looks at it, permissions included (nats-server v2.15.2,
//! observed). Buckets and object stores have subjects of their own, which stand behind the prefix of the API when the
//! domain is named.

/// Prefix of the API without a domain.
const API: &[u8] = b"$JS.API.";
/// What follows that prefix, up to the last token.
const API_GROUPS: [&[u8]; 6] = [b"STREAM.", b"CONSUMER.", b"DIRECT.", b"META.", b"SERVER.", b"ACCOUNT."];
/// Prefixes of subjects that are not part of the API.
const VIEWS: [&[u8]; 2] = [b"$KV.", b"$OBJ."];

/// How an account names domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domains {
    /// Prefix of the API in the server's own domain; taken away. Empty: none.
    own: Vec<u8>,
    /// Prefix of the API in the domain of clients that name none; added. Empty: none.
    default: Vec<u8>,
}

impl Domains {
    /// Of the server, and of clients that name none. `None` where nothing is renamed.
    pub(crate) fn new(own: Option<&str>, default: Option<&str>) -> Option<Self> {
        let prefix = |domain: Option<&str>| match domain {
            None | Some("") => Vec::new(),
            Some(domain) => format!("$JS.{domain}.API.").into_bytes(),
        };
        let domains = Self { own: prefix(own), default: prefix(default) };
        (!domains.own.is_empty() || !domains.default.is_empty()).then_some(domains)
    }

    /// The patterns that are renamed, with their new names, as pages list them.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let groups = API_GROUPS.iter().map(|group| [group, b">".as_slice()].concat());
        let in_api = groups.chain([b"INFO".to_vec()]);
        let api: Vec<(Vec<u8>, Vec<u8>)> = in_api.map(|rest| ([API, &rest].concat(), rest)).collect();
        let views = VIEWS.iter().map(|view| [view, b">".as_slice()].concat());
        let all: Vec<_> = api.into_iter().chain(views.map(|view| (view.clone(), view))).collect();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut list = Vec::new();
        for (plain, rest) in all {
            for (prefix, is_own) in [(&self.own, true), (&self.default, false)] {
                if !prefix.is_empty() {
                    let (named, plain) = (text([prefix, &rest[..]].concat()), text(plain.clone()));
                    list.push(if is_own { (named, plain) } else { (plain, named) });
                }
            }
        }
        list
    }

    /// Puts the other name of `subject` into `renamed`, which is empty before; tells whether there is one.
    pub(crate) fn rename(&self, subject: &[u8], renamed: &mut Vec<u8>) -> bool {
        if !self.own.is_empty()
            && let Some(rest) = subject.strip_prefix(self.own.as_slice())
        {
            if is_view(rest) {
                renamed.extend_from_slice(rest);
            } else if is_api(rest) {
                renamed.extend_from_slice(API);
                renamed.extend_from_slice(rest);
            }
        } else if !self.default.is_empty() {
            let rest = if is_view(subject) {
                Some(subject)
            } else {
                subject.strip_prefix(API).filter(|rest| is_api(rest))
            };
            if let Some(rest) = rest {
                renamed.extend_from_slice(&self.default);
                renamed.extend_from_slice(rest);
            }
        }
        !renamed.is_empty()
    }
}

fn is_view(subject: &[u8]) -> bool {
    VIEWS.iter().any(|prefix| subject.len() > prefix.len() && subject.starts_with(prefix))
}

fn is_api(rest: &[u8]) -> bool {
    rest == b"INFO" || API_GROUPS.iter().any(|group| rest.len() > group.len() && rest.starts_with(group))
}

#[cfg(test)]
mod tests {
    use super::Domains;

    fn renamed(domains: &Option<Domains>, subject: &str) -> Option<String> {
        let mut renamed = Vec::new();
        let found = domains.as_ref().is_some_and(|domains| domains.rename(subject.as_bytes(), &mut renamed));
        found.then(|| String::from_utf8(renamed).unwrap())
    }

    #[test]
    fn the_own_domain_is_taken_away() {
        let domains = Domains::new(Some("hub"), None);
        let without = |subject: &str| renamed(&domains, subject);
        assert_eq!(without("$JS.hub.API.STREAM.INFO.S").as_deref(), Some("$JS.API.STREAM.INFO.S"));
        assert_eq!(without("$JS.hub.API.INFO").as_deref(), Some("$JS.API.INFO"));
        assert_eq!(without("$JS.hub.API.$KV.b.k").as_deref(), Some("$KV.b.k"));
        for subject in
            ["$JS.hub.API.FOO", "$JS.hub.API.STREAM.", "$JS.other.API.INFO", "$JS.API.INFO", "$KV.b.k"]
        {
            assert_eq!(without(subject), None, "{subject}");
        }
    }

    #[test]
    fn the_default_domain_is_added() {
        let domains = Domains::new(None, Some("hub"));
        let with = |subject: &str| renamed(&domains, subject);
        assert_eq!(
            with("$JS.API.CONSUMER.MSG.NEXT.S.C").as_deref(),
            Some("$JS.hub.API.CONSUMER.MSG.NEXT.S.C")
        );
        assert_eq!(with("$OBJ.b.C.x").as_deref(), Some("$JS.hub.API.$OBJ.b.C.x"));
        assert_eq!((with("$JS.API.FOO"), with("$KV."), with("foo")), (None, None, None));
        assert_eq!(Domains::new(Some(""), None), None);
    }
}
