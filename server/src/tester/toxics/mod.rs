//! Toxics: what is wrong with the line between clients and a server, on purpose.

mod effect;
mod line;
mod selector;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::discovery::moment;
use super::request::Refusal;
use effect::Effect;

/// Longest name of a toxic.
const NAME_LEN_MAX: usize = 64;

/// A toxic in place.
#[derive(Debug)]
struct Toxic {
    name: String,
    /// As it was asked for.
    asked: Map<String, Value>,
    effect: Effect,
    /// Whether it acts on what goes to the server, and on what comes from there.
    to: bool,
    from: bool,
    toxicity: f64,
    since: String,
}

type List = Arc<Vec<Arc<Toxic>>>;

/// The proxy in front of a server, and its toxics.
pub(super) struct Toxics {
    server: String,
    /// Where clients connect, as it is told.
    proxy: String,
    upstream: watch::Sender<SocketAddr>,
    toxics: watch::Sender<List>,
    /// Held while the list is changed.
    changing: Mutex<()>,
    accepting: JoinHandle<()>,
}

impl Toxics {
    /// Opens a port, from which connections go on to `upstream`. `proxy` is how the port is told to others.
    pub(super) fn start(
        runtime: &Handle,
        server: &str,
        listen: (IpAddr, u16),
        proxy: String,
        upstream: SocketAddr,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let _context = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let (upstream, toxics) = (watch::Sender::new(upstream), watch::Sender::new(List::default()));
        let accepting = runtime.spawn(accept(listener, upstream.subscribe(), toxics.subscribe()));
        let server = server.to_owned();
        Ok(Self { server, proxy, upstream, toxics, changing: Mutex::new(()), accepting })
    }

    /// Has connections go on to another port from now on.
    pub(super) fn set_upstream(&self, port: u16) {
        self.upstream.send_modify(|upstream| upstream.set_port(port));
    }

    fn link_name(&self) -> String {
        format!("client:{}", self.server)
    }

    /// The links, as a created instance shows them.
    pub(super) fn links(&self) -> Vec<Value> {
        let upstream = self.upstream.borrow().to_string();
        vec![json!({
            "name": self.link_name(),
            "kind": "client",
            "to": self.server,
            "proxy": self.proxy,
            "upstream": upstream,
        })]
    }

    /// Puts a toxic in place, whose form was checked; gives it as it acts now.
    pub(super) fn add(&self, asked: &Value) -> Result<Value, Refusal> {
        let toxic = self.read(asked).map_err(|text| {
            let name = jetkv_go_compat::quoted(asked["name"].as_str().unwrap_or_default());
            Refusal::new("021", format!("invalid toxic {name}: {text}"))
        })?;
        let shown = self.shown(&toxic);
        let _changing = self.changing.lock();
        let list = List::clone(&self.toxics.borrow());
        if list.iter().any(|known| known.name == toxic.name) {
            let name = jetkv_go_compat::quoted(&toxic.name);
            return Err(Refusal::new("021", format!("invalid toxic {name}: name is in use")));
        }
        let mut list = Vec::clone(&list);
        list.push(Arc::new(toxic));
        self.toxics.send_replace(Arc::new(list));
        Ok(shown)
    }

    fn read(&self, asked: &Value) -> Result<Toxic, String> {
        let text = |field: &str| asked[field].as_str().unwrap_or_default();
        let name = text("name");
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(fits) {
            return Err("name must be 1 to 64 letters, digits, '.', '_' or '-'".to_owned());
        }
        let toxicity = asked.get("toxicity").and_then(Value::as_f64).unwrap_or(1.0);
        if !(0.0..=1.0).contains(&toxicity) {
            return Err("toxicity must be from 0 to 1".to_owned());
        }
        let effect = Effect::read(text("type"), &asked["attributes"])?;
        let (to, from) = selector::directions(&asked["selector"], &self.server)?;
        if effect == Effect::Cut && !(to && from) {
            return Err("selector.direction: a cut acts both ways".to_owned());
        }
        if effect == Effect::Cut && toxicity < 1.0 {
            return Err("toxicity: a cut takes no other than 1".to_owned());
        }
        let asked = asked.as_object().cloned().unwrap_or_default();
        let since = moment(SystemTime::now());
        Ok(Toxic { name: name.to_owned(), asked, effect, to, from, toxicity, since })
    }

    /// Takes one away.
    pub(super) fn remove(&self, name: &str) -> Result<(), Refusal> {
        let _changing = self.changing.lock();
        let mut list = Vec::clone(&self.toxics.borrow());
        let before = list.len();
        list.retain(|toxic| toxic.name != name);
        if list.len() == before {
            let name = jetkv_go_compat::quoted(name);
            return Err(Refusal::new("021", format!("invalid toxic {name}: there is none of this name")));
        }
        self.toxics.send_replace(Arc::new(list));
        Ok(())
    }

    /// Takes all away; gives their names.
    pub(super) fn clear(&self) -> Vec<String> {
        let _changing = self.changing.lock();
        self.toxics.send_replace(List::default()).iter().map(|toxic| toxic.name.clone()).collect()
    }

    /// All toxics, in the order in which they came.
    pub(super) fn active(&self) -> Vec<Value> {
        let list = List::clone(&self.toxics.borrow());
        list.iter().map(|toxic| self.shown(toxic)).collect()
    }

    /// The links, with the toxics on each.
    pub(super) fn report(&self) -> Vec<Value> {
        let list = List::clone(&self.toxics.borrow());
        let on_link: Vec<Value> = list.iter().map(|toxic| toxic.on_link()).collect();
        let mut links = self.links();
        if !on_link.is_empty() {
            for link in &mut links {
                link["toxics"] = json!(on_link);
            }
        }
        links
    }

    fn shown(&self, toxic: &Toxic) -> Value {
        let mut shown = toxic.headed();
        shown.insert("links".to_owned(), json!([self.link_name()]));
        shown.insert("since".to_owned(), json!(toxic.since));
        Value::Object(shown)
    }
}

impl Drop for Toxics {
    fn drop(&mut self) {
        // Its connections go with it.
        self.accepting.abort();
    }
}

impl Toxic {
    fn headed(&self) -> Map<String, Value> {
        let asked = |field: &str| self.asked.get(field).cloned();
        let mut shown = Map::new();
        shown.insert("name".to_owned(), json!(self.name));
        shown.insert("selector".to_owned(), asked("selector").unwrap_or_else(|| json!({})));
        shown.insert("type".to_owned(), asked("type").unwrap_or_default());
        if let Some(attributes) = asked("attributes") {
            shown.insert("attributes".to_owned(), attributes);
        }
        shown.insert("toxicity".to_owned(), json!(self.toxicity));
        shown
    }

    fn on_link(&self) -> Value {
        let direction = match (self.to, self.from) {
            (true, false) => "to",
            (false, true) => "from",
            _ => "both",
        };
        let mut shown = json!({
            "name": self.name,
            "type": self.asked.get("type"),
            "direction": direction,
        });
        if let Some(attributes) = self.asked.get("attributes") {
            shown["attributes"] = attributes.clone();
        }
        shown["toxicity"] = json!(self.toxicity);
        shown["since"] = json!(self.since);
        shown
    }
}

/// Accepts connections, each of which ends with this.
async fn accept(listener: TcpListener, upstream: watch::Receiver<SocketAddr>, toxics: watch::Receiver<List>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let upstream = *upstream.borrow();
                    connections.spawn(line::connection(client, upstream, toxics.clone()));
                }
                // Of files there may be too many for a while.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
