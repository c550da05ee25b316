//! The state of a server as monitoring pages show it.

mod own_subscriptions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jetkv_jetstream::{OwnSubscription, WallNs};
use parking_lot::Mutex;

use crate::connections::{ClosedClient, ConnectionHandle, LeafnodeView};
use crate::durations::Durations;
use crate::options::{Options, Unserved};
use crate::router::Account;
use crate::state::{Shared, Visits};
use crate::traffic::TrafficCounts;
use own_subscriptions::own_subscriptions;
pub(crate) use own_subscriptions::{SubscriptionCounts, count_subscriptions};

/// Clock ticks per second in `/proc/self/stat`; fixed by Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;
/// The share of a processor is measured over at least this long.
const CPU_WINDOW: Duration = Duration::from_millis(500);

/// A view of a running server, cheap to copy and safe to keep: numbers are read when asked for.
///
/// ```
/// use jetkv::options::Options;
/// use jetkv::{MonitorSource, ProcessUsage, Server, ServerCounts, TrafficCounts};
///
/// let server = Server::start(Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() })?;
/// let source: MonitorSource = server.monitor();
/// assert!(source.is_healthy() && source.engine().is_none());
/// assert_eq!(source.server_id(), source.server_name());
/// assert!(source.started_at() <= source.now() && source.uptime().as_secs() < 60);
///
/// let ServerCounts { traffic, usage, connections, .. } = source.counts();
/// assert_eq!((traffic, connections), (TrafficCounts::default(), 0));
/// let ProcessUsage { memory_bytes, .. } = usage;
/// assert!(memory_bytes > 0);
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MonitorSource {
    shared: Arc<Shared>,
}

/// Numbers of the whole server.
#[derive(Debug, Clone, Copy)]
pub struct ServerCounts {
    /// Messages and bytes since the start.
    pub traffic: TrafficCounts,
    /// Connections now.
    pub connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Subscriptions now, those of streams and of the server itself included.
    pub subscriptions: u64,
    /// Connections that were cut because they did not read fast enough.
    pub slow_consumers: u64,
    /// Connections that were cut because they did not answer PING.
    pub stale_connections: u64,
    /// Times that a producer had to wait for a receiver.
    pub stalls: u64,
    /// What the process uses.
    pub usage: ProcessUsage,
}

/// What the process uses of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUsage {
    /// Resident memory.
    pub memory_bytes: u64,
    /// Share of one processor over the last half second or more, in percent.
    pub cpu_percent: f64,
}

#[derive(Debug, Clone, Copy)]
struct CpuReading {
    at: Instant,
    ticks: u64,
    percent: f64,
}

static CPU: Mutex<Option<CpuReading>> = Mutex::new(None);

impl ProcessUsage {
    /// Reads it from the system; zeros where that cannot be done.
    pub(crate) fn now() -> Self {
        Self { memory_bytes: memory_bytes().unwrap_or(0), cpu_percent: cpu_percent() }
    }
}

fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn cpu_percent() -> f64 {
    let Some(ticks) = cpu_ticks() else { return 0.0 };
    let now = Instant::now();
    let mut last = CPU.lock();
    let percent = match *last {
        Some(reading) if now.duration_since(reading.at) < CPU_WINDOW => return reading.percent,
        Some(reading) => {
            let seconds = now.duration_since(reading.at).as_secs_f64();
            (ticks.saturating_sub(reading.ticks) as f64 / TICKS_PER_SECOND / seconds * 100.0).round()
        }
        None => 0.0,
    };
    *last = Some(CpuReading { at: now, ticks, percent });
    percent
}

fn cpu_ticks() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th fields behind it.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

impl MonitorSource {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The server's id.
    pub fn server_id(&self) -> &str {
        &self.shared.identity.id
    }

    /// How often its pages were asked for.
    pub(crate) fn visits(&self) -> &Visits {
        &self.shared.visits
    }

    /// The server's name.
    pub fn server_name(&self) -> &str {
        &self.shared.identity.name
    }

    /// When it started.
    pub fn started_at(&self) -> WallNs {
        self.shared.identity.started_at
    }

    /// How long it runs.
    pub fn uptime(&self) -> Duration {
        self.shared.identity.started.elapsed()
    }

    /// Now by the server's clock.
    pub fn now(&self) -> WallNs {
        self.shared.clock.wall()
    }

    /// Host and port that INFO names: the advertised ones, if any are.
    pub(crate) fn advertised(&self) -> (String, i64) {
        self.shared.listening()
    }

    /// The port that was bound for something that nobody is served at.
    pub(crate) fn bound_unserved_port(&self, feature: Unserved) -> u16 {
        self.shared.bound_unserved_port(feature).unwrap_or_default()
    }

    /// When the options in force were read.
    pub(crate) fn configured_at(&self) -> WallNs {
        self.shared.configured_at()
    }

    /// The options in force.
    pub fn options(&self) -> Arc<Options> {
        self.shared.options()
    }

    /// Whether clients need credentials.
    pub(crate) fn auth_required(&self) -> bool {
        self.shared.auth().required()
    }

    /// The numbers of the whole server.
    pub fn counts(&self) -> ServerCounts {
        let counters = &self.shared.counters;
        ServerCounts {
            traffic: counters.traffic.counts(),
            connections: self.shared.client_count(),
            total_connections: counters.total_connections(),
            subscriptions: self.subscription_counts(None).present,
            slow_consumers: counters.slow_consumers(),
            stale_connections: counters.stale_connections(),
            stalls: counters.stalls(),
            usage: ProcessUsage::now(),
        }
    }

    /// How many subscriptions an account has, or all accounts, those of the server itself included.
    pub(crate) fn subscription_counts(&self, account: Option<&Account>) -> SubscriptionCounts {
        if let Some(account) = account {
            return count_subscriptions(&self.shared, account);
        }
        let mut all = SubscriptionCounts::default();
        self.accounts().iter().for_each(|account| all += count_subscriptions(&self.shared, account));
        all
    }

    /// The subscriptions of the server itself in an account, but for those to the subjects of streams.
    pub(crate) fn own_subscriptions(&self, account: &Account) -> Vec<OwnSubscription> {
        own_subscriptions(&self.shared, account)
    }

    /// The connections now.
    pub(crate) fn clients(&self) -> Vec<Arc<dyn ConnectionHandle>> {
        self.shared.clients()
    }

    /// The leaf node connections, the oldest first.
    pub(crate) fn leafnodes(&self) -> Vec<LeafnodeView> {
        self.shared.leafnodes.views()
    }

    /// What went over leaf node connections.
    pub(crate) fn leafnode_traffic(&self) -> TrafficCounts {
        self.accounts().iter().map(|account| account.leafnode_traffic.counts()).fold(
            TrafficCounts::default(),
            |all, one| TrafficCounts {
                in_msgs: all.in_msgs + one.in_msgs,
                in_bytes: all.in_bytes + one.in_bytes,
                out_msgs: all.out_msgs + one.out_msgs,
                out_bytes: all.out_bytes + one.out_bytes,
            },
        )
    }

    /// The last connections that ended, oldest first, and how many ever ended.
    pub(crate) fn closed_clients(&self) -> (Vec<ClosedClient>, u64) {
        self.shared.closed.all()
    }

    /// All accounts.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.shared.accounts.all()
    }

    /// The system account.
    pub(crate) fn system_account(&self) -> Option<Arc<Account>> {
        self.shared.accounts.system()
    }

    /// Connections that were refused because their account is not one of the pinned ones.
    pub(crate) fn pinned_account_failures(&self) -> u64 {
        self.shared.operators().map_or(0, |operators| operators.pinned_failures.load(Ordering::Relaxed))
    }

    /// The stream engine; `None` when JetStream is off.
    pub fn engine(&self) -> Option<Arc<jetkv_jetstream::Engine>> {
        self.shared.jetstream().map(|jetstream| jetstream.engine_handle())
    }

    /// How long requests and syncs took.
    pub(crate) fn durations(&self) -> &Durations {
        &self.shared.durations
    }

    /// Whether JetStream is on, or was before a reload.
    pub(crate) fn had_jetstream(&self) -> bool {
        self.shared.had_jetstream()
    }

    /// Whether the server takes connections and is not about to stop.
    pub fn is_healthy(&self) -> bool {
        self.shared.is_running()
    }
}
