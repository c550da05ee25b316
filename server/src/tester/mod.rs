//! `jetkv lab serve`: the NATS project's test service (NTF, synadia's `orbit.go/ntf`) over servers of this process. Test suites
//! ask it for servers, by requests on `tester.>`, and connect to these as to any other.
//!
//! A request comes in by the bus ([`bus`]), is checked against the table of its endpoint ([`schema`]) and carried out by one of a
//! few threads ([`service`]). A server is made of a plan ([`plan`]), its configuration possibly of a caller's templates
//! ([`template`]), and runs in this process ([`node`]); with toxics, clients reach it through a proxy ([`toxics`]). All that it stores
//! is below one folder ([`folder`]).

mod bus;
mod certificates;
mod command;
mod discovery;
mod folder;
mod instance;
mod node;
mod plan;
mod ports;
mod request;
mod schema;
mod service;
mod template;
mod toxics;

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use jetkv_go_compat::quoted;
use parking_lot::Mutex;

use crate::Server;
use crate::lab::command::Place;
use crate::log::Log;
use crate::options::{LogOptions, Options};
use crate::signals::{Signal, Signals};
use bus::{Bus, Subscription};
use command::{ServeOptions, USAGE};
use discovery::{Discovery, GROUP, QUEUE};
use folder::Folder;
use instance::{Names, Site};
use ports::Ports;
use request::{Refusal, Request};
use schema::ENDPOINTS;
use service::{Service, new_id};

/// Threads that carry requests out. Starting and stopping servers waits for these, and other requests go past it.
const WORKERS: usize = 16;
/// Requests that wait for a thread; those beyond are refused.
const WAITING_MAX: usize = 256;

/// Carries out `jetkv lab serve`, with these arguments; returns when it was told to end.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| matches!(argument.as_str(), "-h" | "--help" | "help")) {
        let _ = io::stdout().write_all(USAGE.as_bytes());
        return ExitCode::SUCCESS;
    }
    let token = std::env::var("JETKV_LAB_TOKEN").ok().filter(|token| !token.is_empty());
    let served = ServeOptions::parse(arguments, token).and_then(|options| serve(&options));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::stderr().write_all(format!("jetkv lab serve: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &ServeOptions) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let log = Log::start(&LogOptions::default()).map_err(|error| error.to_string())?;
    crate::failure::log_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("jetkv-toxics")
        .enable_all()
        .build()
        .map_err(told)?;
    // Before anything else starts, so that no signal is lost.
    let mut signals = runtime.block_on(async { Signals::listen() }).map_err(told)?;
    let id = new_id();
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder::make(&parent, &id).map_err(|error| format!("{}: {error}", parent.display()))?;
    let (low, high) = options.ports;
    let site = Site {
        dir: folder.path().to_owned(),
        host: options.host,
        advertise: options.advertise.clone(),
        // Two services at a time hardly ever begin at the same port.
        ports: Arc::new(Ports::new(options.host, low, high, rand::random_range(low..=high))),
        runtime: runtime.handle().clone(),
        names: Names::default(),
    };
    let own = match options.url {
        Some(_) => None,
        None => Some(start_bus(options)?),
    };
    let place = match (&own, &options.url) {
        (Some(server), _) => {
            let address = server.client_url().trim_start_matches("nats://").to_owned();
            Place { user: options.token.clone().unwrap_or_default(), password: String::new(), address }
        }
        (None, url) => Place::parse(url.as_deref().unwrap_or_default())?,
    };
    // Whoever connects there knows the token, or asks.
    let url = format!("nats://{}", place.address);
    let running = Running::start(Service::new(site), id, place)?;
    let _ = io::stdout().write_all(format!("{url}\n").as_bytes());
    tracing::info!("Test service: ready on {url}");
    runtime.block_on(async {
        while !matches!(signals.next().await, Signal::Interrupt | Signal::Terminate | Signal::Quit) {}
    });
    running.end();
    if let Some(server) = own {
        server.shutdown();
    }
    log.flush();
    Ok(())
}

/// The service's own server.
fn start_bus(options: &ServeOptions) -> Result<Server, String> {
    let mut text = "server_name: jetkv-lab-serve\n".to_owned();
    if let Some(token) = &options.token {
        text.push_str(&format!("authorization {{ token: {} }}\n", quoted(token)));
    }
    let mut bus = Options::from_config_text(&text).map_err(|error| error.to_string())?;
    (bus.host, bus.port) = (options.host.to_string(), options.port);
    Server::start(bus).map_err(|error| error.to_string())
}

/// What carries requests out.
struct Running {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    service: Service,
    discovery: Discovery,
    bus: Bus,
}

impl Running {
    fn start(service: Service, id: String, place: Place) -> Result<Self, String> {
        let discovery = Discovery::new(id);
        let of_endpoint = |endpoint: &schema::Endpoint| Subscription {
            subject: format!("{GROUP}.{}", endpoint.name),
            queue: Some(QUEUE),
        };
        let mut subscriptions: Vec<Subscription> = ENDPOINTS.iter().map(of_endpoint).collect();
        let of_discovery = |subject| Subscription { subject, queue: None };
        subscriptions.extend(discovery.subjects().into_iter().map(of_discovery));
        let (bus, incoming) = Bus::connect(place, subscriptions)?;
        let shared = Arc::new(Shared { service, discovery, bus });
        let (sender, requests) = sync_channel(WAITING_MAX);
        let requests = Arc::new(Mutex::new(requests));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let named = std::thread::Builder::new().name(name.to_owned());
            named.spawn(work).map_err(|error| error.to_string())
        };
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let (shared, requests) = (Arc::clone(&shared), Arc::clone(&requests));
            workers.push(spawn("jetkv-tester", Box::new(move || shared.work(&requests)))?);
        }
        let reading = Arc::clone(&shared);
        let read = move || {
            reading.bus.serve(incoming, |message| reading.take(&message, &sender));
        };
        let reader = spawn("jetkv-bus", Box::new(read))?;
        Ok(Self { shared, reader, workers })
    }

    /// Takes no more requests, finishes those that were begun, and takes all instances away.
    fn end(self) {
        self.shared.bus.close();
        let _ = self.reader.join();
        for worker in self.workers {
            let _ = worker.join();
        }
        self.shared.service.close();
    }
}

impl Shared {
    /// Answers discovery at once, and has a thread carry out everything else.
    fn take(&self, message: &bus::Message<'_>, sender: &SyncSender<Request>) {
        let reply = message.reply.map(<[u8]>::to_vec);
        if let Some(subject) = message.subscription.checked_sub(ENDPOINTS.len()) {
            if let Some(reply) = reply {
                self.bus.publish(&reply, "", self.discovery.answer(subject).to_string().as_bytes());
            }
            return;
        }
        let request = Request { endpoint: message.subscription, reply, body: message.body.to_vec() };
        if let Err(TrySendError::Full(request)) = sender.try_send(request) {
            self.refuse(&request, &Refusal::new("503", "Too many requests wait"));
        }
    }

    /// Carries requests out until there are no more.
    fn work(&self, requests: &Mutex<Receiver<Request>>) {
        loop {
            // Whoever waits here has the lock, and the others wait for that.
            let Ok(request) = requests.lock().recv() else { return };
            let Some(endpoint) = service::endpoint(request.endpoint) else { continue };
            let begun = Instant::now();
            let answer = catch_unwind(AssertUnwindSafe(|| self.service.answer(endpoint, &request.body)))
                .unwrap_or_else(|_| Err(Refusal::new("500", "The service failed")));
            let error = match answer {
                Ok(answer) => {
                    if let Some(reply) = &request.reply {
                        self.bus.publish(reply, "", answer.to_string().as_bytes());
                    }
                    None
                }
                Err(refusal) => {
                    self.refuse(&request, &refusal);
                    Some(format!("{}:{}", refusal.code, refusal.text))
                }
            };
            self.discovery.count(request.endpoint, begun.elapsed(), error);
        }
    }

    fn refuse(&self, request: &Request, refusal: &Refusal) {
        if let Some(reply) = &request.reply {
            self.bus.publish(reply, &refusal.headers(), b"");
        }
    }
}
