//! What a server of an instance is to be: its names, its ports and the text of its configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jetkv_go_compat::quoted;

use super::request::Refusal;
use super::template::{TemplateError, Value, render};

/// Where pieces of configuration may be put in.
const PLACES: [&str; 9] = [
    "accounts",
    "system_account",
    "authorization",
    "tls",
    "websocket",
    "mqtt",
    "leafnode",
    "jetstream",
    "top",
];
/// Those that listen on a port of their own.
pub(super) const LISTENERS: [&str; 3] = ["websocket", "mqtt", "leafnode"];
/// Accounts that there are unless a caller has others; each has one user, of which the first needs no name.
const ACCOUNTS: usize = 5;
/// Seconds that a TLS handshake may take.
const HANDSHAKE_SECS: f64 = 2.0;
/// The piece of configuration for TLS.
const TLS_FILE: &str = "snippets/_tls_managed.conf";

/// Pieces of configuration of a caller, by their place.
pub(super) type Snippets = BTreeMap<String, String>;

/// Where the certificates of an instance are, and what is asked of its clients.
#[derive(Clone, Debug)]
pub(super) struct TlsPlan {
    pub(super) dir: PathBuf,
    pub(super) mutual: bool,
    pub(super) handshake_first: bool,
    pub(super) timeout_secs: f64,
}

/// All that a configuration is made of. It does not change while the server lives, but for the time of handshakes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) instance: String,
    pub(super) description: String,
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) port: u16,
    /// Ports by listener.
    pub(super) ports: BTreeMap<String, u16>,
    pub(super) jetstream: bool,
    /// The host that clients are told, if they are told one.
    pub(super) advertise: Option<String>,
    /// Host and port of the proxy in front of the server.
    pub(super) proxy: Option<String>,
    pub(super) tls: Option<TlsPlan>,
}

/// The files of a configuration, by their path below the server's folder.
pub(super) type Files = Vec<(PathBuf, String)>;

/// Name of the file with the configuration.
pub(super) const CONFIG_FILE: &str = "server.cfg";

/// Which of these listen on a port of their own.
pub(super) fn listeners(snippets: &Snippets) -> Vec<&'static str> {
    LISTENERS.into_iter().filter(|place| snippets.contains_key(*place)).collect()
}

/// Refuses what has no place, and what says nothing where it stands.
pub(super) fn check_snippets(snippets: &Snippets, jetstream: bool) -> Result<(), Refusal> {
    if let Some(place) = snippets.keys().find(|place| !PLACES.contains(&place.as_str())) {
        let allowed = PLACES.join(", ");
        return Err(Refusal::new(
            "007",
            format!("unknown snippet key {} (allowed: {allowed})", quoted(place)),
        ));
    }
    if snippets.contains_key("jetstream") && !jetstream {
        let text = "jetstream snippet requires JetStream to be enabled on the instance";
        return Err(Refusal::new("011", text));
    }
    Ok(())
}

/// Refuses pieces that name certificates where there are none.
pub(super) fn check_tls_names(snippets: &Snippets, has_tls: bool) -> Result<(), Refusal> {
    match snippets.iter().find(|(_, body)| !has_tls && body.contains(".TLS")) {
        None => Ok(()),
        Some((place, _)) => {
            let place = quoted(place);
            let text = format!(
                "snippet {place} references .TLS.* but generated TLS is not set: add WithGeneratedTLS"
            );
            Err(Refusal::new("007", text))
        }
    }
}

/// Why a configuration cannot be written down.
pub(super) enum RenderError {
    /// Because of a piece of it.
    Snippet(String),
    /// Because of the whole.
    Template(String),
}

impl Plan {
    /// The files of a configuration with these pieces, and of this template if the caller has one.
    pub(super) fn render(&self, snippets: &Snippets, template: &str) -> Result<Files, RenderError> {
        let mut files = Vec::new();
        for (place, body) in snippets {
            let data = Value::Fields(self.data(&Snippets::new()));
            let text = render(&format!("snippet-{place}"), body, &data).map_err(|error| {
                let place = quoted(place);
                RenderError::Snippet(match error {
                    TemplateError::Parse(text) => format!("snippet {place} parse: {text}"),
                    TemplateError::Render(text) => format!("snippet {place} render: {text}"),
                })
            })?;
            files.push((PathBuf::from(snippet_path(place)), text));
        }
        if let Some(tls) = &self.tls {
            files.push((PathBuf::from(TLS_FILE), tls.text()));
        }
        let config = if template.is_empty() {
            self.built_in(snippets)
        } else {
            render("configuration", template, &Value::Fields(self.data(snippets))).map_err(|error| {
                let (TemplateError::Parse(text) | TemplateError::Render(text)) = error;
                RenderError::Template(text)
            })?
        };
        files.push((PathBuf::from(CONFIG_FILE), config));
        Ok(files)
    }

    /// The service's own configuration.
    fn built_in(&self, snippets: &Snippets) -> String {
        let mut text = String::new();
        let include = |place: &str| {
            snippets.contains_key(place).then(|| format!("include {}\n", quoted(snippet_path(place))))
        };
        let or = |place: &str, other: String| include(place).unwrap_or(other);
        text.push_str(&include("top").unwrap_or_default());
        let _ = writeln!(text, "server_name: {}\nport: {}", quoted(&self.name), self.port);
        let advertised =
            self.proxy.clone().or_else(|| self.advertise.as_ref().map(|host| join(host, self.port)));
        if let Some(advertised) = advertised {
            let _ = writeln!(text, "client_advertise: {}", quoted(advertised));
        }
        let _ = writeln!(text, "log_file: {}", quoted(shown(&self.dir.join("server.log"))));
        if self.jetstream {
            let own = include("jetstream").unwrap_or_default();
            let _ = writeln!(
                text,
                "jetstream {{\nenabled: true\nstore_dir: {}\n{own}}}",
                quoted(shown(&self.dir))
            );
        }
        text.push_str(&include("tls").unwrap_or_default());
        if self.tls.is_some() {
            let _ = writeln!(text, "include {}", quoted(TLS_FILE));
        }
        for place in LISTENERS {
            text.push_str(&include(place).unwrap_or_default());
        }
        text.push_str(&or("system_account", "system_account: \"$SYS\"\n".to_owned()));
        text.push_str(&or("authorization", "no_auth_user: user1\n".to_owned()));
        text.push_str(&or("accounts", self.accounts()));
        text
    }

    fn accounts(&self) -> String {
        let mut text = "accounts {\n".to_owned();
        for number in 1..=ACCOUNTS {
            let _ = writeln!(
                text,
                "USERS{number} {{ users: [{{ user: user{number}, pass: password }}], jetstream: {} }}",
                self.jetstream
            );
        }
        text.push_str("$SYS { users: [{ user: system, pass: password }] }\n}\n");
        text
    }

    /// What templates may name.
    fn data(&self, snippets: &Snippets) -> BTreeMap<&'static str, Value> {
        let text = |text: &str| Value::Text(text.to_owned());
        let integer = |number: i64| Value::Integer(number);
        let ports = self.ports.iter().map(|(name, port)| (name.clone(), integer((*port).into()))).collect();
        let paths = snippets.keys().map(|place| (place.clone(), text(&snippet_path(place)))).collect();
        let tls = self.tls.as_ref().map_or(Value::Nil, |tls| {
            let file = |name: &str| text(&shown(&tls.dir.join(name)));
            Value::Fields(BTreeMap::from([
                ("CAFile", file("ca.pem")),
                ("CertFile", file("server.crt")),
                ("KeyFile", file("server.key")),
            ]))
        });
        BTreeMap::from([
            ("ServerName", text(&self.name)),
            ("ShortID", text(self.instance.get(self.instance.len().saturating_sub(8)..).unwrap_or_default())),
            ("InstanceID", text(&self.instance)),
            ("ServerIndex", integer(1)),
            ("ServerDir", text(&shown(&self.dir))),
            ("StoreDir", text(&shown(&self.dir))),
            ("LogFile", text(&shown(&self.dir.join("server.log")))),
            ("Host", text("localhost")),
            ("AdvertiseHost", text(self.advertise.as_deref().unwrap_or_default())),
            ("ClientPort", integer(self.port.into())),
            ("JetStream", Value::Bool(self.jetstream)),
            ("ClusterName", text("")),
            ("ClusterIndex", integer(0)),
            ("ClusterPort", integer(-1)),
            ("ClusterSize", integer(0)),
            ("Routes", Value::List(Vec::new())),
            ("Clusters", Value::List(Vec::new())),
            ("GatewayPort", integer(0)),
            ("Gateways", Value::Map(BTreeMap::new(), Box::new(Value::List(Vec::new())))),
            ("Description", text(&self.description)),
            ("Kind", text("server")),
            ("Ports", Value::Map(ports, Box::new(integer(0)))),
            ("Snippets", Value::Map(paths, Box::new(text("")))),
            ("TLSInclude", text(if self.tls.is_some() { TLS_FILE } else { "" })),
            ("TLS", tls),
            ("ClientAdvertise", text(self.proxy.as_deref().unwrap_or_default())),
            ("ClusterAdvertise", text("")),
            ("GatewayAdvertise", text("")),
        ])
    }
}

impl TlsPlan {
    fn text(&self) -> String {
        let file = |name: &str| quoted(shown(&self.dir.join(name)));
        let timeout = if self.timeout_secs > 0.0 { self.timeout_secs } else { HANDSHAKE_SECS };
        let first = if self.handshake_first { "handshake_first: true\n" } else { "" };
        format!(
            "tls {{\ncert_file: {}\nkey_file: {}\nca_file: {}\nverify: {}\ntimeout: {timeout}\n{first}}}\n",
            file("server.crt"),
            file("server.key"),
            file("ca.pem"),
            self.mutual,
        )
    }
}

fn snippet_path(place: &str) -> String {
    format!("snippets/{place}.conf")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Host and port, with brackets around what has colons of its own.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn plan() -> Plan {
        Plan {
            instance: "INSTANCE0123456789".to_owned(),
            description: String::new(),
            name: "n1".to_owned(),
            dir: PathBuf::from("/dir"),
            port: 4333,
            ports: BTreeMap::from([("websocket".to_owned(), 5)]),
            jetstream: true,
            advertise: None,
            proxy: None,
            tls: None,
        }
    }

    fn config(plan: &Plan, snippets: &[(&str, &str)], template: &str) -> String {
        let snippets =
            snippets.iter().map(|(place, body)| ((*place).to_owned(), (*body).to_owned())).collect();
        let Ok(files) = plan.render(&snippets, template) else { panic!("{snippets:?}") };
        // What is included stands where it is included.
        let (last, pieces) = files.split_last().unwrap();
        pieces.iter().fold(last.1.clone(), |text, (path, piece)| {
            text.replace(&format!("include {}", quoted(shown(path))), piece)
        })
    }

    #[test]
    fn the_built_in_configuration_has_five_users_and_takes_pieces() {
        let options = Options::from_config_text(&config(&plan(), &[], "")).unwrap();
        assert_eq!((options.port, options.jetstream.enabled), (4333, true));
        assert_eq!((options.accounts.len(), options.auth.users.len()), (6, 6));
        let pieces = [
            ("top", "max_payload: {{ .ClientPort }}"),
            ("jetstream", "domain: {{ .ServerName }}"),
            ("authorization", "no_auth_user: a"),
            ("system_account", "system_account: S"),
            ("accounts", "accounts { A { users: [{user: a, pass: p}] }, S { users: [{user: s, pass: p}] } }"),
            ("websocket", "websocket { port: {{ .Ports.websocket }}\nno_tls: true }"),
        ];
        let options = Options::from_config_text(&config(&plan(), &pieces, "")).unwrap();
        assert_eq!(options.limits.max_payload_bytes, Some(4333));
        assert_eq!(options.jetstream.domain.as_deref(), Some("n1"));
        assert_eq!((options.accounts.len(), options.websocket.unwrap().port), (2, 5));
        let options = Options::from_config_text(&config(&plan(), &[], "port: {{ .ClientPort }}")).unwrap();
        assert_eq!((options.port, options.accounts.len()), (4333, 0));
    }

    #[test]
    fn what_clients_are_told_is_the_proxy_before_the_host() {
        let plan = Plan { advertise: Some("::1".to_owned()), ..plan() };
        assert!(config(&plan, &[], "").contains("client_advertise: \"[::1]:4333\""));
        let plan = Plan { proxy: Some("h:1".to_owned()), ..plan };
        assert!(config(&plan, &[], "").contains("client_advertise: \"h:1\""));
    }

    #[test]
    fn what_stands_nowhere_is_refused() {
        let code = |place: &str, body: &str, jetstream, has_tls| {
            let snippets = Snippets::from([(place.to_owned(), body.to_owned())]);
            check_snippets(&snippets, jetstream).and_then(|()| check_tls_names(&snippets, has_tls)).err()
        };
        assert_eq!(code("../x", "", true, false).unwrap().code, "007");
        assert_eq!(code("jetstream", "", false, false).unwrap().code, "011");
        assert_eq!(code("top", "{{ .TLS.CAFile }}", true, false).unwrap().code, "007");
        assert_eq!(code("top", "{{ .TLS.CAFile }}", true, true), None);
    }
}
