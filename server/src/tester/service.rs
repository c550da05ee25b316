//! What each request does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use jetkv_go_compat::version::SERVER_VERSION;
use jetkv_go_compat::{base62, quoted};
use parking_lot::Mutex;
use rand::RngCore as _;
use serde_json::{Map, Value, json};

use super::discovery::moment;
use super::instance::{CreateError, Instance, Site, Wanted, WantedTls, check_name};
use super::node::{Node, write};
use super::plan::{LISTENERS, RenderError, Snippets, check_snippets, check_tls_names, listeners};
use super::request::{Answer, Refusal};
use super::schema::{ENDPOINTS, Endpoint, Verb, endpoint_schemas, refusal};
use super::toxics::Toxics;

/// Tries to start a server whose ports others took between their choice and their use.
const ATTEMPTS: usize = 3;
/// Instances at one time: each has threads of its own.
const INSTANCES_MAX: usize = 1000;
/// What runs servers, and what stands in front of them, as a status names them.
const BACKEND: &str = "inprocess";
const AGENT: &str = "jetkv";

/// The service.
pub(super) struct Service {
    site: Site,
    instances: Mutex<Instances>,
}

#[derive(Default)]
struct Instances {
    all: Vec<Arc<Instance>>,
    /// How often all were taken away: what was begun before that does not stay.
    resets: u64,
    /// Whether no more are taken.
    closed: bool,
}

/// An id as NATS makes them.
pub(super) fn new_id() -> String {
    base62::id(|bytes| rand::rng().fill_bytes(bytes))
}

fn text<'a>(request: &'a Value, field: &str) -> &'a str {
    request[field].as_str().unwrap_or_default()
}

fn is(request: &Value, field: &str) -> bool {
    request[field] == true
}

fn snippets(request: &Value) -> Snippets {
    let entries = request["snippets"].as_object().into_iter().flatten();
    entries.map(|(place, body)| (place.clone(), body.as_str().unwrap_or_default().to_owned())).collect()
}

/// A response, with its type in front.
fn typed(endpoint: &Endpoint, fields: Value) -> Value {
    let mut response = Map::new();
    response.insert("type".to_owned(), json!(format!("io.synadia.ntf.tester.v1.{}", endpoint.response.0)));
    response.extend(fields.as_object().cloned().unwrap_or_default());
    Value::Object(response)
}

impl Service {
    pub(super) fn new(site: Site) -> Self {
        Self { site, instances: Mutex::default() }
    }

    /// Carries a request out, which is the body of a message.
    pub(super) fn answer(&self, endpoint: &Endpoint, body: &[u8]) -> Answer {
        let invalid = |text: String| Refusal::new("001", format!("Invalid request: {text}"));
        let request: Value = if body.trim_ascii().is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?
        };
        if let Some(text) = refusal(endpoint, &request) {
            return Err(invalid(text));
        }
        self.carry_out(endpoint.verb, &request).map(|fields| typed(endpoint, fields))
    }

    fn carry_out(&self, verb: Verb, request: &Value) -> Answer {
        match verb {
            Verb::CreateServer => self.create(request),
            Verb::CreateCluster | Verb::CreateSuperCluster => {
                let text =
                    "Server creation failed: clusters are not supported, this service runs single servers";
                Err(Refusal::new("003", text))
            }
            Verb::StopServer => self.stop(request),
            Verb::StartServer => self.start(request),
            Verb::StopInstance => self.stop_instance(request),
            Verb::StartInstance => self.start_instance(request),
            Verb::UpdateServer => self.update(request),
            Verb::ReloadServer => self.reload(request),
            Verb::ShapeSet | Verb::ShapeClear | Verb::ShapeReport | Verb::ShapeList => {
                self.instance(request)?;
                Err(Refusal::new("015", "Instance has no trace proxy"))
            }
            Verb::ToxicAdd => {
                Ok(json!({"toxic": self.toxics(request, |toxics| toxics.add(&request["toxic"]))?}))
            }
            Verb::ToxicRemove => {
                let name = text(request, "name");
                self.toxics(request, |toxics| toxics.remove(name))?;
                Ok(json!({"removed": name}))
            }
            Verb::ToxicClear => Ok(json!({"cleared": self.toxics(request, |toxics| Ok(toxics.clear()))?})),
            Verb::ToxicReport => self
                .toxics(request, |toxics| Ok(json!({"links": toxics.report(), "toxics": toxics.active()}))),
            Verb::Status => self.status(request),
            Verb::Reset => {
                self.reset();
                Ok(json!({"shutdown": true}))
            }
            Verb::Destroy => self.destroy(request),
            Verb::List => Ok(self.list()),
            Verb::Clock => Ok(clocks(request)),
            Verb::Schema => Ok(json!({"endpoints": endpoint_schemas()})),
        }
    }

    fn create(&self, request: &Value) -> Answer {
        let wanted = wanted(request)?;
        let (resets, count) = {
            let instances = self.instances.lock();
            (instances.resets, instances.all.len())
        };
        if count >= INSTANCES_MAX {
            let text = format!("Server creation failed: there are {count} instances already");
            return Err(Refusal::new("003", text));
        }
        let mut tries = 1;
        let (instance, tls) = loop {
            let (id, created) = (new_id(), moment(SystemTime::now()));
            match Instance::create(&self.site, &id, created, &wanted) {
                Ok(made) => break made,
                Err(CreateError::Listen(_)) if tries < ATTEMPTS => tries += 1,
                Err(CreateError::Listen(refusal) | CreateError::Refused(refusal)) => return Err(refusal),
            }
        };
        let mut answer = Map::new();
        answer.insert("id".to_owned(), json!(instance.id));
        if !instance.description.is_empty() {
            answer.insert("description".to_owned(), json!(instance.description));
        }
        answer.insert("kind".to_owned(), json!("server"));
        answer.insert("servers".to_owned(), json!([instance.shown(&instance.name, true)]));
        answer.extend(tls.map(|tls| ("tls".to_owned(), tls)));
        answer.extend(instance.toxics.as_ref().map(|toxics| ("links".to_owned(), json!(toxics.links()))));
        let mut instances = self.instances.lock();
        if instances.closed || instances.resets != resets {
            drop(instances);
            return Err(Refusal::no_instance());
        }
        instances.all.push(Arc::new(instance));
        Ok(Value::Object(answer))
    }

    /// The instance that a request names.
    fn instance(&self, request: &Value) -> Result<Arc<Instance>, Refusal> {
        let id = text(request, "instance_id");
        let instances = self.instances.lock();
        instances.all.iter().find(|instance| instance.id == id).cloned().ok_or_else(Refusal::no_instance)
    }

    fn all(&self) -> Vec<Arc<Instance>> {
        self.instances.lock().all.clone()
    }

    /// The only server that goes by a name, or one of an instance.
    fn server(&self, request: &Value) -> Result<Arc<Instance>, Refusal> {
        let (name, id) = (text(request, "name"), text(request, "instance_id"));
        let searched = if id.is_empty() { self.all() } else { vec![self.instance(request)?] };
        let goes_by =
            |instance: &Arc<Instance>| instance.node.lock().as_ref().is_some_and(|node| node.name == name);
        let mut found: Vec<_> = searched.into_iter().filter(goes_by).collect();
        if found.len() > 1 {
            let ids: BTreeSet<&str> = found.iter().map(|instance| &*instance.id).collect();
            let ids: Vec<&str> = ids.into_iter().collect();
            let (count, ids, name) = (found.len(), ids.join(", "), quoted(name));
            let text = format!(
                "server name is ambiguous: {count} servers in instances {ids} are named {name}, send instance_id to choose one"
            );
            return Err(Refusal::new("023", text));
        }
        found.pop().ok_or_else(|| Refusal::new("001", "Server not found"))
    }

    /// Works on a server, alone. Gives none where it was taken away meanwhile.
    fn on_server<T>(
        &self,
        request: &Value,
        work: impl FnOnce(&Instance, &mut Node) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let instance = self.server(request)?;
        let mut node = instance.node.lock();
        let node = node.as_mut().ok_or_else(|| Refusal::new("001", "Server not found"))?;
        work(&instance, node)
    }

    fn stop(&self, request: &Value) -> Answer {
        self.on_server(request, |_, node| {
            if !node.is_running() {
                return Err(Refusal::new("003", "Server not running"));
            }
            node.stop();
            Ok(json!({"shutdown": true}))
        })
    }

    fn start(&self, request: &Value) -> Answer {
        self.on_server(request, |instance, node| {
            if node.is_running() {
                return Err(Refusal::new("003", "Server already running"));
            }
            start(instance, node)
                .map_err(|text| Refusal::new("005", format!("Server restart failed: {text}")))?;
            Ok(json!({"started": true}))
        })
    }

    fn stop_instance(&self, request: &Value) -> Answer {
        let instance = self.instance(request)?;
        let mut node = instance.node.lock();
        let node = node.as_mut().ok_or_else(Refusal::no_instance)?;
        node.stop();
        Ok(json!({"servers": [{"name": node.name, "running": false}]}))
    }

    fn start_instance(&self, request: &Value) -> Answer {
        let instance = self.instance(request)?;
        let mut node = instance.node.lock();
        let node = node.as_mut().ok_or_else(Refusal::no_instance)?;
        let failed = if node.is_running() { None } else { start(&instance, node).err() };
        let mut state = json!({"name": node.name, "running": node.is_running()});
        if let Some(text) = failed {
            state["error"] = json!(text);
        }
        Ok(json!({"servers": [state]}))
    }

    fn update(&self, request: &Value) -> Answer {
        self.on_server(request, |instance, node| {
            let (snippets, template) = (snippets(request), text(request, "template"));
            check_snippets(&snippets, true)?;
            check_tls_names(&snippets, node.plan.tls.is_some())?;
            check_snippets(&snippets, node.plan.jetstream)?;
            check_listeners(&snippets, node)?;
            let mut plan = node.plan.clone();
            match (request["tls_timeout"].as_f64(), &mut plan.tls) {
                (None, _) => {}
                (Some(secs), Some(tls)) => tls.timeout_secs = secs,
                (Some(_), None) => {
                    let text = "server was not created with WithGeneratedTLS; cannot set tls_timeout";
                    return Err(Refusal::new("007", text));
                }
            }
            if instance.toxics.is_some() {
                check_template(template)?;
            }
            let files = plan.render(&snippets, template).map_err(|error| {
                Refusal::new(
                    "009",
                    match error {
                        RenderError::Snippet(text) => format!("snippet render failed: {text}"),
                        RenderError::Template(text) => format!("config render failed: {text}"),
                    },
                )
            })?;
            write(&plan.dir, &files)
                .map_err(|error| Refusal::new("009", format!("config write failed: {error}")))?;
            node.plan = plan;
            Ok(json!({"updated": true}))
        })
    }

    fn reload(&self, request: &Value) -> Answer {
        self.on_server(request, |_, node| {
            if !node.is_running() {
                return Err(Refusal::new("002", "Server not running"));
            }
            node.reload().map_err(|text| Refusal::new("010", format!("reload failed: {text}")))?;
            Ok(json!({"reloaded": true}))
        })
    }

    /// Works on the toxics of an instance.
    fn toxics<T>(
        &self,
        request: &Value,
        work: impl FnOnce(&Toxics) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let instance = self.instance(request)?;
        let toxics = instance.toxics.as_ref();
        let none = || Refusal::new("020", "Instance has no link proxies: create it with toxics");
        work(toxics.ok_or_else(none)?)
    }

    fn status(&self, request: &Value) -> Answer {
        let asked = !text(request, "instance_id").is_empty();
        let instances = if asked { vec![self.instance(request)?] } else { self.all() };
        let statuses: Vec<Value> = instances.iter().filter_map(|instance| status_of(instance)).collect();
        if asked && statuses.is_empty() {
            return Err(Refusal::no_instance());
        }
        Ok(json!({"instances": statuses}))
    }

    fn list(&self) -> Value {
        let summary = |instance: Arc<Instance>| {
            let mut summary = headed(&instance);
            summary.insert("servers".to_owned(), json!(1));
            summary.insert("created".to_owned(), json!(instance.created));
            for (name, is_on) in [("jetstream", instance.jetstream), ("toxics", instance.toxics.is_some())] {
                if is_on {
                    summary.insert(name.to_owned(), json!(true));
                }
            }
            Value::Object(summary)
        };
        json!({"instances": self.all().into_iter().map(summary).collect::<Vec<_>>()})
    }

    fn destroy(&self, request: &Value) -> Answer {
        let id = text(request, "instance_id");
        let taken = {
            let mut instances = self.instances.lock();
            let at = instances.all.iter().position(|instance| instance.id == id);
            at.map(|at| instances.all.remove(at))
        };
        taken.ok_or_else(Refusal::no_instance)?.tear_down();
        Ok(json!({"destroyed": true}))
    }

    fn reset(&self) {
        let all = {
            let mut instances = self.instances.lock();
            instances.resets += 1;
            std::mem::take(&mut instances.all)
        };
        all.iter().for_each(|instance| instance.tear_down());
    }

    /// Takes everything away, and has nothing come any more.
    pub(super) fn close(&self) {
        self.instances.lock().closed = true;
        self.reset();
    }
}

fn wanted(request: &Value) -> Result<Wanted, Refusal> {
    let (snippets, template) = (snippets(request), text(request, "template"));
    let jetstream = is(request, "jetstream");
    check_snippets(&snippets, jetstream)?;
    let tls = &request["tls"];
    let wanted_tls = tls.is_object().then(|| WantedTls {
        mutual: text(tls, "mode") != "server",
        names: tls["sans"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect(),
        handshake_first: is(tls, "handshake_first"),
        timeout_secs: tls["timeout"].as_f64().unwrap_or_default(),
    });
    check_tls_names(&snippets, wanted_tls.is_some())?;
    if wanted_tls.is_some() {
        if snippets.get("tls").is_some_and(|body| !body.is_empty()) {
            let text = "WithGeneratedTLS and WithTLSSnippet are mutually exclusive: drop one";
            return Err(Refusal::new("007", text));
        }
        if !template.is_empty() && !template.contains("TLSInclude") {
            let text = "WithTemplate must reference {{.TLSInclude}} when WithGeneratedTLS is set";
            return Err(Refusal::new("007", text));
        }
    }
    if is(request, "trace") || is(request, "proxy") {
        return Err(if wanted_tls.is_some() {
            Refusal::new("013", "trace capture does not support TLS instances")
        } else {
            let agent = quoted(AGENT);
            Refusal::new("018", format!("the {agent} agent does not declare the \"capture\" capability"))
        });
    }
    let toxics = is(request, "toxics");
    if toxics {
        check_template(template)?;
    }
    Ok(Wanted {
        name: text(request, "name").to_owned(),
        description: text(request, "description").to_owned(),
        jetstream,
        snippets,
        template: template.to_owned(),
        tls: wanted_tls,
        toxics,
    })
}

/// A template that says nothing of the proxy has clients go around it.
fn check_template(template: &str) -> Result<(), Refusal> {
    if template.is_empty() || template.contains(".ClientAdvertise") {
        return Ok(());
    }
    Err(Refusal::new("007", "WithTemplate must reference .ClientAdvertise when toxics is set"))
}

/// Listeners have their ports from the beginning.
fn check_listeners(snippets: &Snippets, node: &Node) -> Result<(), Refusal> {
    let wanted = listeners(snippets);
    let has = |name: &str| node.plan.ports.contains_key(name);
    let missing: Vec<&str> =
        LISTENERS.into_iter().filter(|name| has(name) && !wanted.contains(name)).collect();
    let added: Vec<&str> = wanted.iter().copied().filter(|name| !has(name)).collect();
    if missing.is_empty() && added.is_empty() {
        return Ok(());
    }
    let (missing, added) = (missing.join(" "), added.join(" "));
    let text = format!(
        "listener-port snippet set changed (missing from new payload: [{missing}], added in new payload: [{added}])"
    );
    Err(Refusal::new("008", text))
}

/// Starts a server again. Toxics find it where it listens now.
fn start(instance: &Instance, node: &mut Node) -> Result<(), String> {
    node.start().map_err(|error| error.text().to_owned())?;
    if let Some(toxics) = &instance.toxics {
        if let Err(refusal) = check_name(node) {
            node.stop();
            return Err(refusal.text);
        }
        toxics.set_upstream(node.port);
    }
    Ok(())
}

fn headed(instance: &Instance) -> Map<String, Value> {
    let mut headed = Map::new();
    headed.insert("id".to_owned(), json!(instance.id));
    if !instance.description.is_empty() {
        headed.insert("description".to_owned(), json!(instance.description));
    }
    headed.insert("kind".to_owned(), json!("server"));
    headed
}

fn status_of(instance: &Instance) -> Option<Value> {
    let mut server = {
        let node = instance.node.lock();
        let node = node.as_ref()?;
        instance.shown(&node.name, node.is_running())
    };
    server.insert("version".to_owned(), json!(SERVER_VERSION));
    let mut status = headed(instance);
    status.insert("servers".to_owned(), json!([server]));
    status.insert("backend".to_owned(), json!(BACKEND));
    status.insert("agent".to_owned(), json!(AGENT));
    status.insert("agent_capabilities".to_owned(), json!(["toxics"]));
    if let Some(toxics) = &instance.toxics {
        status.insert("links".to_owned(), json!(toxics.links()));
        let active = toxics.active();
        if !active.is_empty() {
            status.insert("toxics".to_owned(), json!(active));
        }
    }
    Some(Value::Object(status))
}

fn clocks(request: &Value) -> Value {
    let mut participants =
        vec![json!({"kind": "service", "reference": true, "offset": 0, "round_trip": 0, "bound": 0})];
    for subject in request["extra"].as_array().into_iter().flatten() {
        participants.push(json!({
            "kind": "extra",
            "subject": subject,
            "offset": 0,
            "round_trip": 0,
            "bound": 0,
            "error": "this service asks no other clocks",
        }));
    }
    json!({"participants": participants})
}

/// The endpoint of a subscription, by its place in the list.
pub(super) fn endpoint(at: usize) -> Option<&'static Endpoint> {
    ENDPOINTS.get(at)
}
