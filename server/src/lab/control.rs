//! The one place where what is asked for is done, whichever way it was asked.

use std::sync::Arc;
use std::time::Instant;

use jetkv_go_compat::GoDuration;
use jetkv_jetstream::{AccountId, AdjustableClock, Clock as _, Deadlines, Due, Moved, Removed, WallNs};
use jetkv_protocol::subject;
use parking_lot::Mutex;
use serde_json::Value;

use super::answer::{Answer, LabError, Told};
use super::fault::FaultRule;
use super::isolation::Isolations;
use super::journal::{Awaited, Noted, Wait, Wanted};
use super::late::Late;
use super::record;
use super::request::{Kept, Request, To};
use super::saved::{SavedStates, Summary};
use crate::auth::matches_plain;
use crate::faults::Fault;
use crate::journal::{Entry, Filter, Journal};
use crate::options::LabOptions;
use crate::router::{Account, Listed as _, Target};
use crate::state::{Restart, Shared};

/// Moments at which a clock that is moved stops at most, for what falls due there. It goes to its end in one step after
/// that, so that a heartbeat of a millisecond does not hold up an advance by a year.
const STOPS_MAX: u64 = 10_000;

/// What the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// The time of day, for the server.
    pub now: WallNs,
    /// How far that is ahead of the system's, in nanoseconds.
    pub offset_ns: i64,
    /// Whether the clock stands still.
    pub frozen: bool,
}

/// What became of an advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// The time of day after it.
    pub now: WallNs,
    /// The moments on the way at which something fell due.
    pub fired: u64,
}

/// What became of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// The time of day after it.
    pub now: WallNs,
    /// What was taken away.
    pub removed: Removed,
}

/// What became of a request.
pub(super) enum Done {
    /// It is answered.
    Now(Answer),
    /// It is answered when what it waits for is there.
    Later(Wait),
    /// It is answered, and then the server starts again.
    Last(Answer, Restart),
}

/// What moves a server about.
pub(super) struct Control {
    shared: Arc<Shared>,
    clock: Arc<AdjustableClock>,
    token: Option<String>,
    isolations: Arc<Isolations>,
    saved: SavedStates,
    late: Arc<Late>,
    /// Held while something is done: an advance does not see another.
    turn: Mutex<()>,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>, clock: Arc<AdjustableClock>, options: &LabOptions) -> Self {
        let isolations = Isolations::new(&shared, options);
        let late = Late::new(&shared, &clock);
        let (token, saved, turn) = (options.token.clone(), SavedStates::default(), Mutex::new(()));
        Self { shared, clock, token, isolations, saved, late, turn }
    }

    /// What comes late.
    pub(super) fn late(&self) -> &Arc<Late> {
        &self.late
    }

    /// Those who make accounts for whoever comes.
    pub(super) fn isolations(&self) -> &Arc<Isolations> {
        &self.isolations
    }

    /// Whether who shows this as `Authorization` may ask.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = authorization.and_then(|shown| shown.strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| matches_plain(token, shown))
    }

    /// Does what is asked for. The answer is what every way in gives back.
    pub(super) fn answer(&self, name: (&str, &str), body: &[u8]) -> Done {
        let request = match Request::parse(name.0, name.1, body) {
            Ok(request) => request,
            Err(error) => return Done::Now(Answer::new(None, &Err(error))),
        };
        if let Request::JournalWait(awaited) = request {
            let until = Instant::now() + awaited.timeout;
            return Done::Later(Wait { awaited, until });
        }
        let answer = Answer::new(Some(&request), &self.carry_out(&request));
        match request {
            Request::Restart(how) if self.shared.restarter.is_there() => Done::Last(answer, how),
            _ => Done::Now(answer),
        }
    }

    /// The answer to who waits for entries of the journal, if they are there or it is too late.
    pub(super) fn look(&self, wait: &Wait, now: Instant) -> Option<Answer> {
        let Awaited { wanted, count, timeout } = &wait.awaited;
        let there = self.shared.journal.as_ref().map_or(0, |journal| journal.count(&wanted.filter));
        let told = if there >= *count {
            Ok(self.entries(wanted))
        } else if now >= wait.until {
            let timeout = GoDuration::from(*timeout);
            Err(LabError::too_late(format!("{there} of {count} entries are there after {timeout}")))
        } else {
            return None;
        };
        Some(Answer::new(Some(&Request::JournalWait(wait.awaited.clone())), &told))
    }

    fn carry_out(&self, request: &Request) -> Result<Told, LabError> {
        Ok(match request {
            Request::TimeGet => self.time().into(),
            Request::TimeFreeze => self.freeze().into(),
            Request::TimeResume => self.resume().into(),
            Request::TimeAdvance { to, what } => self.advance(self.distance(*to)?, *what).into(),
            Request::TimeNext { account, stream } => {
                let account = account.as_deref().map(|name| self.account(name)).transpose()?;
                let due = self.next(account.map(|account| account.id()), stream.as_deref());
                let of = |due: Due| {
                    let account = self.shared.accounts.get(due.account);
                    (due, account.map(|account| account.name().to_owned()).unwrap_or_default())
                };
                Told::next(&self.time(), due.map(of))
            }
            Request::StateReset { account, keep } => self.reset(account.as_deref(), keep)?.into(),
            Request::FaultAdd(rule) => Told::fault(self.add_fault(rule)),
            Request::Restart(_) if self.shared.restarter.is_there() => Told::Restarting {},
            Request::Restart(_) => {
                return Err(LabError::bad_request(
                    "a server within another program is started again by that",
                ));
            }
            Request::FaultList => Told::faults(&self.shared.faults.list()),
            Request::FaultClear { id } => match (id, self.clear_faults(*id)) {
                (Some(id), 0) => return Err(LabError::not_found(format!("no fault {id}"))),
                (_, removed) => Told::cleared(removed),
            },
            Request::StateSave { name } => Told::Saved(self.save(name)?.into()),
            Request::StateLoad { name } => Told::Saved(self.load(name)?.into()),
            Request::StateList => {
                Told::States { states: self.saved.list().into_iter().map(Into::into).collect() }
            }
            Request::StateDrop { name } => Told::StatesDropped { removed: self.saved.drop(name.as_deref())? },
            Request::AccountIsolate { name } => Told::Isolated(self.isolations.isolate(name.as_deref())?),
            Request::AccountRelease { name } => {
                self.isolations.release(name)?;
                Told::Released { account: name.clone() }
            }
            Request::AccountList => Told::Accounts { accounts: self.isolations.list() },
            Request::JournalList(wanted) => self.entries(wanted),
            Request::JournalWait(awaited) => self.entries(&awaited.wanted),
            Request::JournalCount(filter) => {
                Told::Count { count: self.journal(0, |journal| journal.count(filter)) }
            }
            Request::JournalClear(filter) => {
                Told::EntriesCleared { removed: self.journal(0, |journal| journal.clear(filter)) }
            }
            Request::JournalRecord(filter) => {
                let entries = self.journal(Vec::new(), |journal| journal.list(filter, usize::MAX));
                Told::Scenario { scenario: record::scenario(&entries, |entry| self.is_answered(entry))? }
            }
        })
    }

    fn journal<R>(&self, otherwise: R, look: impl FnOnce(&Journal) -> R) -> R {
        self.shared.journal.as_ref().map_or(otherwise, look)
    }

    fn entries(&self, wanted: &Wanted) -> Told {
        let found = self.journal(Vec::new(), |journal| journal.list(&wanted.filter, wanted.limit));
        let dropped = self.journal(0, Journal::dropped);
        Told::Entries { entries: found.into_iter().map(Noted::from).collect(), dropped }
    }

    /// Whether the server itself answers what was published, once: the API, or a stream that takes it.
    fn is_answered(&self, entry: &Entry) -> bool {
        const API: &[u8] = b"$JS.API.";
        const NEXT: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";
        if entry.reply.is_empty() || entry.subject.starts_with(NEXT) {
            return false;
        }
        entry.subject.starts_with(API)
            || self.shared.accounts.by_name(&entry.account).is_some_and(|account| {
                let mut is_taken = false;
                account.for_each_subscription(|sub| {
                    is_taken |= matches!(sub.target(), Target::Stream(_))
                        && subject::matches(&entry.subject, sub.subject());
                });
                is_taken
            })
    }

    pub(super) fn time(&self) -> ClockState {
        let (offset_ns, frozen) = (self.clock.wall_offset_ns(), self.clock.is_frozen());
        ClockState { now: self.clock.wall(), offset_ns, frozen }
    }

    pub(super) fn freeze(&self) -> ClockState {
        let _turn = self.turn.lock();
        self.clock.freeze();
        self.time()
    }

    pub(super) fn resume(&self) -> ClockState {
        let _turn = self.turn.lock();
        self.clock.resume();
        self.time()
    }

    pub(super) fn next(&self, account: Option<AccountId>, stream: Option<&str>) -> Option<Due> {
        let stored = self.shared.jetstream().and_then(|js| js.engine().next_due(account, stream));
        let held = if stream.is_none() { self.late.next_due(account) } else { None };
        stored.into_iter().chain(held).min_by_key(|due| due.in_ns)
    }

    /// Lets so much time pass, stopping wherever something falls due.
    pub(super) fn advance(&self, by_ns: u64, what: Moved) -> Advanced {
        let _turn = self.turn.lock();
        let was_running = self.clock.freeze();
        let (mut left_ns, mut fired) = (by_ns, 0);
        loop {
            let next = self.fire_due();
            let step_ns = self.reached_in(next, what).filter(|in_ns| *in_ns <= left_ns && fired < STOPS_MAX);
            self.clock.advance_ns(i64::try_from(step_ns.unwrap_or(left_ns)).unwrap_or(i64::MAX), what);
            let Some(step_ns) = step_ns else { break };
            left_ns -= step_ns;
            fired += 1;
        }
        self.fire_due();
        if was_running {
            self.clock.catch_up();
        }
        Advanced { now: self.clock.wall(), fired }
    }

    /// Takes away what one account, or all of them, have stored.
    pub(super) fn reset(&self, account: Option<&str>, keep: &[Kept]) -> Result<Reset, LabError> {
        let _turn = self.turn.lock();
        let accounts = match account {
            Some(name) => vec![self.account(name)?],
            None => self.shared.accounts.all(),
        };
        let mut removed = Removed::default();
        if let Some(jetstream) = self.shared.jetstream() {
            for account in accounts.iter().filter(|account| account.has_jetstream()) {
                let gone = jetstream.engine().reset_account(account.id());
                let gone = gone.map_err(|error| LabError::failed(error.to_string()))?;
                removed.streams += gone.streams;
                removed.consumers += gone.consumers;
            }
        }
        self.shared.end_turn();
        if !keep.contains(&Kept::Clock) {
            self.clock.reset();
        }
        if account.is_none() && !keep.contains(&Kept::Faults) {
            self.clear_faults(None);
            self.late.clear();
        }
        if !keep.contains(&Kept::Journal) {
            let of = Filter { account: account.map(str::to_owned), ..Filter::default() };
            self.journal(0, |journal| journal.clear(&of));
        }
        Ok(Reset { now: self.clock.wall(), removed })
    }

    /// Saves what all accounts have stored, under a name.
    pub(super) fn save(&self, name: &str) -> Result<Summary, LabError> {
        let _turn = self.turn.lock();
        self.saved.save(name, &self.shared, self.clock.wall())
    }

    /// Brings back what was saved under a name: all else that is stored goes, and the clock shows what it showed then.
    pub(super) fn load(&self, name: &str) -> Result<Summary, LabError> {
        let _turn = self.turn.lock();
        let saved = self.saved.get(name)?;
        saved.clear(&self.shared)?;
        self.clock.advance_ns(saved.now().since(self.clock.wall()), Moved::Wall);
        saved.load(&self.shared)
    }

    /// Adds a rule of faults; gives its number.
    pub(super) fn add_fault(&self, rule: &FaultRule) -> u64 {
        let id = self.shared.faults.add(rule.to_rule());
        tracing::info!("Test lab: fault {id} added: {rule}");
        self.announce_faults();
        if rule.stops_readers() {
            for client in self.shared.clients() {
                let name = client.identity().name;
                if self.shared.faults.stops_reading(client.account().name(), &name) {
                    client.hold_back(true);
                }
            }
        }
        id
    }

    /// The rules of faults, as they are listed.
    pub(super) fn faults(&self) -> Vec<Value> {
        let rules = self.shared.faults.list();
        rules.iter().filter_map(|rule| serde_json::to_value(Told::listed(rule)).ok()).collect()
    }

    /// Takes one rule of faults away, or all; tells how many went.
    pub(super) fn clear_faults(&self, id: Option<u64>) -> usize {
        let removed = self.shared.faults.clear(id);
        tracing::info!("Test lab: {removed} faults cleared");
        self.announce_faults();
        let still_stopped = self.shared.faults.list().iter().any(|rule| rule.fault == Fault::StopReading);
        if !still_stopped {
            self.shared.clients().into_iter().for_each(|client| client.hold_back(false));
        }
        removed
    }

    /// Tells the accounts whether there are faults to meet; those that a reload adds, too.
    pub(super) fn announce_faults(&self) {
        let are_there = self.shared.faults.are_there();
        for account in self.shared.accounts.all() {
            account.set_meets_faults(are_there);
        }
    }

    /// Has everything happen that is due now.
    fn fire_due(&self) -> Deadlines {
        loop {
            let came = self.late.came();
            let jetstream = self.shared.jetstream();
            let next = jetstream.map(|jetstream| jetstream.tick_until_idle(&self.shared)).unwrap_or_default();
            self.late.fire();
            // What came late may have more fall due.
            if self.late.came() == came {
                return next.earlier(self.late.next());
            }
        }
    }

    /// How long it is until one of these by the clock that is moved.
    fn reached_in(&self, next: Deadlines, what: Moved) -> Option<u64> {
        let moved = match what {
            Moved::Both => next,
            Moved::Wall => Deadlines { elapsed: None, ..next },
            Moved::Elapsed => Deadlines { wall: None, ..next },
        };
        moved.left_ns(&*self.clock)
    }

    fn distance(&self, to: To) -> Result<u64, LabError> {
        match to {
            To::By(by_ns) => Ok(by_ns),
            To::Wall(at_ns) => u64::try_from(WallNs::from_ns(at_ns).since(self.clock.wall()))
                .map_err(|_| LabError::bad_request("time does not go backwards: that moment is over")),
            To::Next => {
                let next = self.next(None, None);
                Ok(next.ok_or_else(|| LabError::not_found("nothing falls due"))?.in_ns)
            }
        }
    }

    fn account(&self, name: &str) -> Result<Arc<Account>, LabError> {
        self.shared.accounts.by_name(name).ok_or_else(|| LabError::not_found(format!("no account {name}")))
    }
}
