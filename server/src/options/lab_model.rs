//! The test lab: controls for tests, off unless asked for.

use std::ffi::OsString;
use std::net::IpAddr;

use super::defaults;
use super::model::Options;
use jetkv_go_compat::quoted;

/// The variable of the environment that turns the lab on.
const SWITCH: &str = "JETKV_LAB";
/// The variable of the environment with the token.
const TOKEN: &str = "JETKV_LAB_TOKEN";
/// Where clients connect to a lab without a token, unless they are told where.
const LOOPBACK: &str = "127.0.0.1";

/// How the test lab is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// What each request must show. Without it the server listens on this machine only.
    pub token: Option<String>,
    /// What the names of users begin with who get an account of their own. Empty: nobody does by name.
    pub isolation_prefix: String,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { token: None, isolation_prefix: defaults::LAB_ISOLATION_PREFIX.to_owned() }
    }
}

/// The lab as the environment asks for it; `var` gives the value of a variable. A token of the configuration counts more.
pub(super) fn from_environment(
    lab: &mut Option<LabOptions>,
    var: impl Fn(&str) -> Option<OsString>,
) -> Result<(), String> {
    let text = |name: &str| var(name).map(|value| value.to_string_lossy().into_owned());
    let is_on = match text(SWITCH).as_deref().map(str::trim) {
        None | Some("" | "0" | "false") => false,
        Some("1" | "true") => true,
        Some(other) => return Err(format!("{SWITCH} is 1 or 0, not {}", quoted(other))),
    };
    if is_on {
        let token = text(TOKEN).filter(|token| !token.is_empty());
        let lab = lab.get_or_insert_default();
        lab.token = lab.token.take().or(token);
    }
    Ok(())
}

/// Sees to it that nobody beyond this machine reaches a lab without a token: the default address becomes that of this
/// machine, another one is refused.
pub(super) fn confine(options: &mut Options) -> Result<(), String> {
    if options.lab.as_ref().is_none_or(|lab| lab.token.is_some()) {
        return Ok(());
    }
    stay_at(options, LOOPBACK).map_err(|host| {
        let host = quoted(&host);
        format!("the test lab listens on {host} only with a token (lab {{ token: ... }}, or {TOKEN})")
    })
}

/// Has everything listen on `host` that is to listen on the default address. Refuses, and names, any other address than that one
/// and those of this machine alone.
pub(crate) fn stay_at(options: &mut Options, host: &str) -> Result<(), String> {
    let mut hosts = vec![&mut options.host, &mut options.monitor.host];
    hosts.extend(options.websocket.iter_mut().map(|websocket| &mut websocket.host));
    hosts.extend(options.unserved_listeners.iter_mut().map(|listener| &mut listener.host));
    for asked in hosts {
        if asked == defaults::HOST {
            host.clone_into(asked);
        }
        if asked != host && !is_loopback(asked) {
            return Err(asked.clone());
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(switch: &str, token: &str) -> Result<Option<LabOptions>, String> {
        let mut lab = None;
        from_environment(&mut lab, |name| Some(if name == SWITCH { switch } else { token }.into()))?;
        Ok(lab)
    }

    #[test]
    fn the_environment_turns_it_on() {
        for off in ["", "0", "false"] {
            assert_eq!(lab(off, "t"), Ok(None));
        }
        assert_eq!(lab("1", ""), Ok(Some(LabOptions::default())));
        assert_eq!(
            lab("true", "t"),
            Ok(Some(LabOptions { token: Some("t".to_owned()), ..LabOptions::default() }))
        );
        assert!(lab("yes", "").is_err());
    }

    #[test]
    fn without_a_token_it_stays_on_this_machine() {
        let confined = |host: &str, lab: Option<LabOptions>| {
            let mut options = Options { host: host.to_owned(), lab, ..Options::default() };
            options.monitor.host.clone_from(&options.host);
            confine(&mut options).map(|()| options.host)
        };
        let open = || Some(LabOptions::default());
        assert_eq!(confined(defaults::HOST, None), Ok(defaults::HOST.to_owned()));
        assert_eq!(confined(defaults::HOST, open()), Ok(LOOPBACK.to_owned()));
        for host in ["localhost", "::1", "127.1.2.3"] {
            assert_eq!(confined(host, open()), Ok(host.to_owned()));
        }
        for host in ["::", "192.0.2.1", "example.org"] {
            assert!(confined(host, open()).is_err(), "{host}");
            let token = Some("t".to_owned());
            assert_eq!(
                confined(host, Some(LabOptions { token, ..LabOptions::default() })),
                Ok(host.to_owned())
            );
        }
    }
}
