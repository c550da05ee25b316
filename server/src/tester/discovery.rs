//! What discovery tells of the service: the protocol of NATS's micro services.

use std::time::{Duration, SystemTime};

use jetkv_go_compat::write_time;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::schema::ENDPOINTS;

/// The service's name.
pub(super) const NAME: &str = "test-management";
/// What the subjects of its endpoints begin with.
pub(super) const GROUP: &str = "tester";
/// The group in which services share their endpoints.
pub(super) const QUEUE: &str = "q";
/// The version of the endpoints that these are.
const VERSION: &str = "0.0.1";
const VERBS: [&str; 3] = ["PING", "INFO", "STATS"];

/// What is counted for an endpoint.
#[derive(Clone, Debug, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    last_error: String,
    time: Duration,
}

/// The service as others find it.
pub(super) struct Discovery {
    id: String,
    started: String,
    counts: Vec<Mutex<Counts>>,
}

/// A moment as Go writes it, in UTC.
pub(super) fn moment(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = Vec::new();
    write_time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX), &mut text);
    String::from_utf8_lossy(&text).trim_matches('"').to_owned()
}

impl Discovery {
    pub(super) fn new(id: String) -> Self {
        let counts = ENDPOINTS.iter().map(|_| Mutex::default()).collect();
        Self { id, started: moment(SystemTime::now()), counts }
    }

    /// The subjects on which it answers.
    pub(super) fn subjects(&self) -> Vec<String> {
        let of_verb = |verb: &str| {
            let all = format!("$SRV.{verb}");
            [format!("{all}.{NAME}.{}", self.id), format!("{all}.{NAME}"), all]
        };
        VERBS.into_iter().flat_map(of_verb).collect()
    }

    /// The answer on one of these subjects, by its place in their list.
    pub(super) fn answer(&self, subject: usize) -> Value {
        match subject / 3 {
            0 => self.headed("ping"),
            1 => self.info(),
            _ => self.stats(),
        }
    }

    /// Notes that a request to an endpoint was answered.
    pub(super) fn count(&self, endpoint: usize, took: Duration, error: Option<String>) {
        let Some(counts) = self.counts.get(endpoint) else { return };
        let mut counts = counts.lock();
        counts.requests += 1;
        counts.time += took;
        if let Some(error) = error {
            counts.errors += 1;
            counts.last_error = error;
        }
    }

    fn headed(&self, kind: &str) -> Value {
        json!({
            "name": NAME,
            "id": self.id,
            "version": VERSION,
            "metadata": {},
            "type": format!("io.nats.micro.v1.{kind}_response"),
        })
    }

    fn info(&self) -> Value {
        let mut info = self.headed("info");
        info["description"] = json!("");
        let described = |endpoint: &super::schema::Endpoint| {
            let mut named = named(endpoint.name);
            named["metadata"] = Value::Null;
            named
        };
        info["endpoints"] = ENDPOINTS.iter().map(described).collect();
        info
    }

    fn stats(&self) -> Value {
        let mut stats = self.headed("stats");
        stats["started"] = json!(self.started);
        let counted = |(endpoint, counts): (&super::schema::Endpoint, &Mutex<Counts>)| {
            let counts = counts.lock().clone();
            let ns = u64::try_from(counts.time.as_nanos()).unwrap_or(u64::MAX);
            let mut named = named(endpoint.name);
            named["num_requests"] = json!(counts.requests);
            named["num_errors"] = json!(counts.errors);
            named["last_error"] = json!(counts.last_error);
            named["processing_time"] = json!(ns);
            named["average_processing_time"] = json!(ns.checked_div(counts.requests).unwrap_or_default());
            named
        };
        stats["endpoints"] = ENDPOINTS.iter().zip(&self.counts).map(counted).collect();
        stats
    }
}

fn named(endpoint: &str) -> Value {
    let name = endpoint.rsplit('.').next().unwrap_or(endpoint);
    json!({"name": name, "subject": format!("{GROUP}.{endpoint}"), "queue_group": QUEUE})
}
