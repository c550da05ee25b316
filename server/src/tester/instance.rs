//! An instance: a server that was asked for, and all that belongs to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::certificates::{Material, NAMES};
use super::node::{Node, NodeError, write};
use super::plan::{Plan, RenderError, Snippets, TlsPlan, join, listeners};
use super::ports::{Ports, Reserved};
use super::request::Refusal;
use super::toxics::Toxics;

/// What a caller wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Empty where the caller gives none.
    pub(super) name: String,
    pub(super) description: String,
    pub(super) jetstream: bool,
    pub(super) snippets: Snippets,
    pub(super) template: String,
    pub(super) tls: Option<WantedTls>,
    pub(super) toxics: bool,
}

/// How a caller wants TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct WantedTls {
    pub(super) mutual: bool,
    pub(super) names: Vec<String>,
    pub(super) handshake_first: bool,
    pub(super) timeout_secs: f64,
}

/// What a server is called unless it is given a name.
const NAME: &str = "n1";

/// Whether a server goes by that name. Clients name servers without their instances, so only one does at a time.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<AtomicBool>);

/// The name, as long as a server has it.
struct PlainName(Names);

impl Names {
    fn take(&self) -> Option<PlainName> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| PlainName(self.clone()))
    }
}

impl Drop for PlainName {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// Where instances are made.
pub(super) struct Site {
    /// The folder in which each gets one of its own.
    pub(super) dir: PathBuf,
    /// Where servers listen.
    pub(super) host: IpAddr,
    /// The host that clients are told.
    pub(super) advertise: Option<String>,
    pub(super) ports: Arc<Ports>,
    pub(super) runtime: Handle,
    pub(super) names: Names,
}

/// Ports that return to their range.
struct Given {
    ports: Arc<Ports>,
    numbers: Vec<u16>,
}

impl Given {
    fn take(&mut self) -> Result<Reserved, String> {
        let reserved = self.ports.reserve()?;
        self.numbers.push(reserved.number);
        Ok(reserved)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.numbers.iter().for_each(|number| self.ports.give_back(*number));
    }
}

/// Why there is no instance.
pub(super) enum CreateError {
    /// Somebody else has one of the ports by now: others may do.
    Listen(Refusal),
    Refused(Refusal),
}

impl From<Refusal> for CreateError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A server that was asked for. All of it is gone when it is dropped.
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) created: String,
    pub(super) jetstream: bool,
    pub(super) name: String,
    /// The port that clients are told, and those of other listeners.
    port: u16,
    ports: Map<String, Value>,
    advertise: Option<String>,
    pub(super) toxics: Option<Toxics>,
    /// None once it is to be gone.
    pub(super) node: Mutex<Option<Node>>,
    plain_name: Mutex<Option<PlainName>>,
    // Dropped behind the server, which has them.
    dir: Dir,
    _given: Given,
}

/// A folder that goes.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The ports of an instance, as long as nobody listens there.
struct Doors {
    client: Reserved,
    listeners: Vec<(&'static str, Reserved)>,
    front: Option<Reserved>,
}

impl Doors {
    fn take(given: &mut Given, wanted: &Wanted) -> Result<Self, Refusal> {
        let no_port = |text| Refusal::new("006", format!("could not get free port: {text}"));
        let client = given.take().map_err(no_port)?;
        let mut held = Vec::new();
        for name in listeners(&wanted.snippets) {
            let named = |text| Refusal::new("006", format!("listener {name:?}: {text}"));
            held.push((name, given.take().map_err(named)?));
        }
        let front = wanted.toxics.then(|| given.take().map_err(no_port)).transpose()?;
        Ok(Self { client, listeners: held, front })
    }
}

impl Instance {
    /// Makes one. Gives it with what a client needs for TLS.
    pub(super) fn create(
        site: &Site,
        id: &str,
        created: String,
        wanted: &Wanted,
    ) -> Result<(Self, Option<Value>), CreateError> {
        let mut given = Given { ports: Arc::clone(&site.ports), numbers: Vec::new() };
        let doors = Doors::take(&mut given, wanted)?;
        let dir = Dir(site.dir.join(id));
        let plain_name = wanted.name.is_empty().then(|| site.names.take()).flatten();
        let name = match (&*wanted.name, &plain_name) {
            ("", Some(_)) => NAME.to_owned(),
            ("", None) => format!("{}-{NAME}", id.get(id.len().saturating_sub(8)..).unwrap_or(id)),
            (name, _) => name.to_owned(),
        };
        let advertise =
            site.advertise.clone().or_else(|| wanted.tls.is_some().then(|| "localhost".to_owned()));
        let tls = wanted.tls.as_ref().map(|tls| make_certificates(&dir.0, tls, advertise.as_deref()));
        let (tls, material) = tls.transpose()?.unzip();
        let front_host = advertise.as_deref().unwrap_or("localhost");
        let told_of = |(name, port): &(&str, Reserved)| ((*name).to_owned(), port.number);
        let plan = Plan {
            instance: id.to_owned(),
            description: wanted.description.clone(),
            name: name.clone(),
            dir: dir.0.join("n1"),
            port: doors.client.number,
            ports: doors.listeners.iter().map(told_of).collect(),
            jetstream: wanted.jetstream,
            advertise: advertise.clone(),
            proxy: doors.front.as_ref().map(|front| join(front_host, front.number)),
            tls,
        };
        let ports = plan.ports.iter().map(|(name, port)| (name.clone(), json!(port))).collect();
        let proxy = plan.proxy.clone().unwrap_or_default();
        write_down(&plan, wanted)?;
        doors.client.let_go();
        doors.listeners.into_iter().for_each(|(_, port)| port.let_go());
        let node = start_node(plan, site, wanted)?;
        let (port, toxics) = match doors.front {
            None => (node.port, None),
            Some(front) => (front.number, Some(start_toxics(site, &node, front, proxy)?)),
        };
        let instance = Self {
            id: id.to_owned(),
            description: wanted.description.clone(),
            created,
            jetstream: wanted.jetstream,
            name,
            port,
            ports,
            advertise,
            toxics,
            node: Mutex::new(Some(node)),
            plain_name: Mutex::new(plain_name),
            dir,
            _given: given,
        };
        Ok((instance, material))
    }

    /// The server as a response shows it.
    pub(super) fn shown(&self, name: &str, is_running: bool) -> Map<String, Value> {
        let mut shown = Map::new();
        shown.insert("name".to_owned(), json!(name));
        shown.insert("cluster".to_owned(), json!(""));
        shown.insert("port".to_owned(), json!(self.port));
        if !self.ports.is_empty() {
            shown.insert("ports".to_owned(), Value::Object(self.ports.clone()));
        }
        if let Some(advertise) = &self.advertise {
            shown.insert("advertise".to_owned(), json!(advertise));
        }
        shown.insert("running".to_owned(), json!(is_running));
        shown
    }

    /// Takes it away, once nobody works on it any more.
    pub(super) fn tear_down(&self) {
        drop(self.node.lock().take());
        drop(self.plain_name.lock().take());
        let _ = fs::remove_dir_all(&self.dir.0);
    }
}

fn write_down(plan: &Plan, wanted: &Wanted) -> Result<(), Refusal> {
    let files = plan.render(&wanted.snippets, &wanted.template).map_err(|error| {
        let text = match error {
            RenderError::Snippet(text) => format!("Snippet failure: {text}"),
            RenderError::Template(text) => format!("Template parse failure: {text}"),
        };
        Refusal::new("002", text)
    })?;
    write(&plan.dir, &files)
        .map_err(|error| Refusal::new("002", format!("Failed to create server directory: {error}")))
}

fn start_node(plan: Plan, site: &Site, wanted: &Wanted) -> Result<Node, CreateError> {
    let name = plan.name.clone();
    Node::start_new(plan, &site.host.to_string()).map_err(|error| {
        let failed = Refusal::new("003", format!("Server creation failed: {}", error.text()));
        match error {
            NodeError::Listen(_) => CreateError::Listen(failed),
            NodeError::Config(text) if wanted.toxics => {
                Refusal::new("007", format!("toxics needs a config that parses: node {name}: {text}")).into()
            }
            NodeError::Config(_) | NodeError::Other(_) => failed.into(),
        }
    })
}

fn start_toxics(site: &Site, node: &Node, front: Reserved, proxy: String) -> Result<Toxics, CreateError> {
    check_name(node)?;
    let port = front.number;
    front.let_go();
    let upstream = SocketAddr::from((reached(site.host), node.port));
    Toxics::start(&site.runtime, &node.plan.name, (site.host, port), proxy, upstream)
        .map_err(|error| CreateError::Listen(Refusal::new("012", format!("trace setup failed: {error}"))))
}

/// What toxics know a server by is what it must call itself.
pub(super) fn check_name(node: &Node) -> Result<(), Refusal> {
    let wanted = &node.plan.name;
    if node.name == *wanted {
        return Ok(());
    }
    let text = format!(
        "toxics requires each node to set server_name to its node name: node {wanted} sets server_name {:?}, want {wanted:?}",
        node.name
    );
    Err(Refusal::new("007", text))
}

/// Where something on this machine reaches what listens there.
fn reached(host: IpAddr) -> IpAddr {
    if host.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { host }
}

fn make_certificates(
    dir: &std::path::Path,
    wanted: &WantedTls,
    advertise: Option<&str>,
) -> Result<(TlsPlan, Value), Refusal> {
    let failed = |error: String| Refusal::new("008", format!("TLS setup failed: {error}"));
    let mut names = wanted.names.clone();
    if names.is_empty() {
        names.extend(NAMES.map(str::to_owned));
    }
    if let Some(host) = advertise.filter(|host| !names.iter().any(|name| name == host)) {
        names.push(host.to_owned());
    }
    let material = Material::make(&names, wanted.mutual).map_err(|error| failed(error.to_string()))?;
    let dir = dir.join("tls");
    let files = vec![
        (PathBuf::from("ca.pem"), material.authority.clone()),
        (PathBuf::from("server.crt"), material.server.certificate),
        (PathBuf::from("server.key"), material.server.key),
    ];
    write(&dir, &files).map_err(|error| failed(error.to_string()))?;
    let mut shown = json!({"ca_pem": material.authority});
    if let Some(client) = material.client {
        shown["client_cert_pem"] = json!(client.certificate);
        shown["client_key_pem"] = json!(client.key);
    }
    let plan = TlsPlan {
        dir,
        mutual: wanted.mutual,
        handshake_first: wanted.handshake_first,
        timeout_secs: wanted.timeout_secs,
    };
    Ok((plan, shown))
}
