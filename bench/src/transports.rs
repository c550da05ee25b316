//! The same requests over a bare socket, under TLS and over WebSocket; and what connections under TLS take that nobody uses.

use crate::client::Client;
use crate::link::{self, Over, Place};
use crate::measure::{self, Cost};
use crate::process;
use crate::synchronous::{Request, Waiting};
use crate::workload::{self, Scale, Workload};
use crate::{Outcome, pid};
use jetkv_compat_tests::process::{Program, Server, ServerOptions};
use rustls::ClientConfig;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What is asked for over each transport.
const WORKLOADS: [Workload; 5] = [
    Workload::Synchronous(Request::Put, 1, Waiting::Asleep),
    Workload::PutPipelined,
    Workload::Synchronous(Request::Get, 1, Waiting::Asleep),
    Workload::GetPipelined,
    Workload::PubSub,
];
const TRANSPORTS: [&str; 3] = ["plain", "TLS", "WebSocket"];
/// Time after which a server has given back what it needed for handshakes alone.
const SETTLES: Duration = Duration::from_secs(5);

/// A server that listens for all of them.
pub(crate) struct Served {
    pub(crate) server: Server,
    trust: Arc<ClientConfig>,
}

impl Served {
    /// Starts one on an empty store, with JetStream and pages for monitoring.
    pub(crate) fn start(program: &Program) -> Outcome<Self> {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let config = "tls { cert_file: \"${dir}/cert.pem\", key_file: \"${dir}/key.pem\", timeout: 60 }\n\
                      allow_non_tls: true\n\
                      websocket { listen: \"127.0.0.1:-1\", no_tls: true }\n\
                      http: \"127.0.0.1:-1\"\n";
        let options = ServerOptions {
            flags: vec!["-js".into()],
            config: Some(config.to_owned()),
            files: vec![
                ("cert.pem".into(), own.cert.pem()),
                ("key.pem".into(), own.key_pair.serialize_pem()),
            ],
            ..ServerOptions::default()
        };
        let trust = link::trusting(own.cert.der().clone())?;
        Ok(Self { server: Server::start(program, &options)?, trust })
    }

    fn places(&self) -> Outcome<[Place; 3]> {
        let at = |listener: &str| -> Outcome<SocketAddr> {
            let port = self.server.port(listener).ok_or_else(|| format!("no port for {listener}"))?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let clients = at("nats")?;
        Ok([
            Place::from(clients),
            Place { address: clients, over: Over::Tls(Arc::clone(&self.trust)) },
            Place { address: at("websocket")?, over: Over::Websocket },
        ])
    }
}

/// The names of the rows.
pub(crate) fn rows() -> Vec<String> {
    let names = TRANSPORTS.iter().flat_map(|transport| {
        WORKLOADS.iter().map(move |workload| format!("{}, {transport}", workload.name()))
    });
    names.collect()
}

/// What each row costs a server.
pub(crate) fn costs(program: &Program, storage: &str, scale: Scale) -> Outcome<Vec<Cost>> {
    let served = Served::start(program)?;
    let pid = pid(&served.server)?;
    let places = served.places()?;
    let [plain, ..] = &places;
    workload::prepare(plain.address, storage, scale)?;
    let mut costs = Vec::new();
    for (place, transport) in places.iter().zip(TRANSPORTS) {
        for workload in WORKLOADS {
            let cost = measure::measure(pid, || workload.run(place, scale));
            let failed =
                |error: io::Error| format!("{}, {transport}, on {}: {error}", workload.name(), program.name);
            costs.push(cost.map_err(failed)?);
        }
    }
    Ok(costs)
}

/// Memory that so many connections take that nobody uses, in bytes for each: bare ones, and others under TLS.
pub(crate) fn idle(program: &Program, count: usize) -> Outcome<[u64; 2]> {
    let taken = |at: usize| -> Outcome<u64> {
        let served = Served::start(program)?;
        let pid = pid(&served.server)?;
        let places = served.places()?;
        let place = places.get(at).ok_or("there are three transports")?;
        // The first connection makes a server allocate what every use of it needs.
        let _first = Client::connect(place)?;
        let before = process::rss_bytes(pid)?;
        let clients = (0..count).map(|_| Client::connect(place)).collect::<io::Result<Vec<_>>>()?;
        std::thread::sleep(SETTLES);
        let after = process::rss_bytes(pid)?;
        drop(clients);
        Ok(after.saturating_sub(before) / count as u64)
    };
    Ok([taken(0)?, taken(1)?])
}
