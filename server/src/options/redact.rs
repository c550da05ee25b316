//! Secrets among the arguments of the command line.

/// What stands in the place of a secret.
pub(super) const REDACTED: &str = "[REDACTED]";
/// Flags whose value is a secret, or names somebody.
const SECRETS: [&str; 3] = ["user", "pass", "auth"];
/// Flags whose value is one URL or several, which may hold a user and a password.
const URLS: [&str; 3] = ["routes", "cluster", "cluster_listen"];

/// The arguments as pages may show them: without the values of flags that hold secrets, whether these stand behind
/// `=` or in an argument of their own. nats-server v2.15.2 hides the same ones.
pub(crate) fn redacted_arguments(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown = Vec::new();
    let mut pending: Option<fn(&str) -> String> = None;
    for argument in arguments {
        if let Some(redact) = pending.take() {
            shown.push(redact(&argument));
            continue;
        }
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (argument.as_str(), None),
        };
        match (redaction(flag), value) {
            (Some(redact), Some(value)) => shown.push(format!("{flag}={}", redact(value))),
            (redact, _) => {
                pending = redact;
                shown.push(argument);
            }
        }
    }
    shown
}

/// How the value of a flag is made fit to be shown, if it has to be.
fn redaction(flag: &str) -> Option<fn(&str) -> String> {
    let name = flag.strip_prefix("--").or_else(|| flag.strip_prefix('-'))?;
    if SECRETS.contains(&name) {
        return Some(|_| REDACTED.to_owned());
    }
    URLS.contains(&name).then_some(|urls| urls.split(',').map(without_user).collect::<Vec<_>>().join(","))
}

/// A URL without its user and password.
fn without_user(url: &str) -> String {
    let authority_at = url.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = url.split_at(authority_at);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{REDACTED}@{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::redacted_arguments;

    fn shown(arguments: &[&str]) -> Vec<String> {
        redacted_arguments(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let hidden = "[REDACTED]";
        assert_eq!(shown(&["x", "--user", "u", "--pass", "s"]), ["x", "--user", hidden, "--pass", hidden]);
        assert_eq!(shown(&["-user=u", "-pass=s=t", "-js"]), ["-user=[REDACTED]", "-pass=[REDACTED]", "-js"]);
        assert_eq!(shown(&["--auth=s", "-auth", "s"]), ["--auth=[REDACTED]", "-auth", hidden]);
        assert_eq!(shown(&["--auth"]), ["--auth"], "a value that is missing");
        assert_eq!(shown(&["--pass", "--pass", "s"]), ["--pass", hidden, "s"], "a value like a flag");
    }

    #[test]
    fn urls_lose_only_their_users() {
        assert_eq!(
            shown(&["--routes", "nats://u:p@a:1,nats://b:2", "--cluster=nats://u:p@c:-1/x@y"]),
            ["--routes", "nats://[REDACTED]@a:1,nats://b:2", "--cluster=nats://[REDACTED]@c:-1/x@y"]
        );
    }

    #[test]
    fn what_is_no_secret_stays() {
        let arguments = ["jetkv", "-c", "a=b", "--passage", "x", "user", "y", "---pass", "z"];
        assert_eq!(shown(&arguments), arguments);
    }
}
