//! Faults on purpose: rules of the test lab on what becomes of messages that clients publish.
//!
//! Where there are no rules nothing here is looked at: an account says with the flag that its mappings need anyway whether
//! a message may not go its plain way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jetkv_go_compat::json;
use jetkv_protocol::subject;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

/// What stands before what the lab is asked on: no rule is about that, since it could not be taken back.
pub(crate) const LAB: &str = "$JETKV.LAB.";

/// What happens to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It goes nowhere, and who asks gets this as the answer.
    Answer(ErrorPart),
    /// It goes its way, and who asks never hears of it.
    LoseAnswer,
    /// It goes nowhere, as if nobody listened.
    NoResponders,
    /// It goes nowhere, and its connection is closed.
    Disconnect,
    /// It goes its way, and the answer comes so much later.
    DelayAnswer(Delay),
    /// It goes its way so much later.
    Hold(Delay),
    /// It goes its way when a line with so much bandwidth has room for it.
    Narrow {
        /// The number of the rule, whose line it is.
        rule: u64,
        /// What goes through the line.
        bytes_per_sec: u64,
    },
    /// It goes its way twice.
    Twice,
    /// No message of a client's: what a stream delivers comes twice.
    DeliverTwice,
    /// No message: who is meant gets nothing any more of what is sent to it.
    StopReading,
    /// No message: the disk fails.
    FailDisk(DiskFault),
}

/// An error as the API answers with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorPart {
    pub(crate) code: u16,
    pub(crate) err_code: u16,
    pub(crate) description: String,
}

impl ErrorPart {
    /// The body of the answer.
    pub(crate) fn body(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct ErrorAnswer<'a> {
            r#type: &'static str,
            error: &'a ErrorPart,
        }
        json::to_vec(&ErrorAnswer { r#type: "io.nats.jetstream.api.v1.error_response", error: self })
    }
}

/// How much later something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay {
    /// At least.
    pub(crate) by_ns: u64,
    /// And up to so much more, by chance.
    pub(crate) jitter_ns: u64,
}

/// Why a message comes late, and when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slowness {
    /// After so much time.
    By { ns: u64 },
    /// When the line of a rule has room for it.
    Bandwidth { rule: u64, bytes_per_sec: u64 },
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// It takes nothing more.
    Full,
    /// What it took does not become durable.
    Sync,
}

/// Which messages a rule is about. What is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Aim {
    /// A pattern of subjects.
    pub(crate) subject: Option<String>,
    /// What the client calls itself.
    pub(crate) client: Option<String>,
    /// The account.
    pub(crate) account: Option<String>,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: u64,
    pub(crate) aim: Aim,
    pub(crate) fault: Fault,
    /// Its name where it is listed.
    pub(crate) kind: &'static str,
    /// How often it happens at most.
    pub(crate) times: Option<u64>,
    /// How many of the messages that it is about it happens to: 1 for all, 0 for none.
    pub(crate) probability: f64,
    /// What its choices are made by; 0 where nothing was said.
    pub(crate) seed: Option<u64>,
    hits: AtomicU64,
    chance: Mutex<SmallRng>,
}

impl Rule {
    /// A rule that has not happened yet. The same `seed` makes the same choices.
    pub(crate) fn new(kind: &'static str, aim: Aim, fault: Fault, seed: Option<u64>) -> Self {
        let chance = Mutex::new(SmallRng::seed_from_u64(seed.unwrap_or_default()));
        let hits = AtomicU64::new(0);
        Self { id: 0, aim, fault, kind, times: None, probability: 1.0, seed, hits, chance }
    }

    /// The rule with limits: how often it happens at most, and to how many of the messages that it is about, from 0 to 1.
    pub(crate) fn limited(self, times: Option<u64>, probability: f64) -> Self {
        Self { times, probability, ..self }
    }

    /// How often it has happened.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    fn is_about(&self, met: &Met<'_>) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let pattern = self.aim.subject.as_deref();
        is(&self.aim.account, met.account)
            && pattern.is_none_or(|pattern| subject::matches(met.subject, pattern.as_bytes()))
            && (self.aim.client.is_none() || is(&self.aim.client, &(met.client)()))
    }

    /// What happens this time, with what chance leaves open.
    fn outcome(&self) -> Fault {
        let drawn = |delay: Delay| match delay.jitter_ns {
            0 => delay,
            jitter_ns => {
                let more_ns = self.chance.lock().random_range(0..=jitter_ns);
                Delay { by_ns: delay.by_ns.saturating_add(more_ns), jitter_ns: 0 }
            }
        };
        match self.fault.clone() {
            Fault::DelayAnswer(delay) => Fault::DelayAnswer(drawn(delay)),
            Fault::Hold(delay) => Fault::Hold(drawn(delay)),
            Fault::Narrow { bytes_per_sec, .. } => Fault::Narrow { rule: self.id, bytes_per_sec },
            other => other,
        }
    }

    fn is_about_messages(&self) -> bool {
        !matches!(self.fault, Fault::StopReading | Fault::FailDisk(_) | Fault::DeliverTwice)
    }

    /// Whether it is about an account, or a client in it, where no message is concerned.
    fn is_about_whom(&self, account: &str, client: Option<&str>) -> bool {
        let is =
            |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|wanted| Some(wanted) == found);
        is(&self.aim.account, Some(account)) && is(&self.aim.client, client)
    }

    /// Whether it happens this time.
    fn happens(&self) -> bool {
        // One that cannot happen any more leaves the choices of the next ones as they are.
        if self.times.is_some_and(|times| self.hits() >= times) {
            return false;
        }
        if self.probability < 1.0 && self.chance.lock().random::<f64>() >= self.probability {
            return false;
        }
        let count = |hits: u64| self.times.is_none_or(|times| hits < times).then_some(hits + 1);
        self.hits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

/// A message that may meet a fault.
pub(crate) struct Met<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) account: &'a str,
    /// What its client calls itself, for a rule that wants to know.
    pub(crate) client: &'a dyn Fn() -> String,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: ArcSwap<Vec<Arc<Rule>>>,
    last_id: AtomicU64,
    any: AtomicBool,
}

impl Faults {
    /// Adds a rule behind the others; gives its number.
    pub(crate) fn add(&self, mut rule: Rule) -> u64 {
        rule.id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let id = rule.id;
        let rule = Arc::new(rule);
        self.rules.rcu(|rules| rules.iter().chain([&rule]).cloned().collect::<Vec<_>>());
        self.any.store(true, Ordering::Relaxed);
        id
    }

    /// Takes one rule away, or all of them; tells how many went.
    pub(crate) fn clear(&self, id: Option<u64>) -> usize {
        let goes = |rule: &Rule| id.is_none_or(|id| rule.id == id);
        let before =
            self.rules.rcu(|rules| rules.iter().filter(|rule| !goes(rule)).cloned().collect::<Vec<_>>());
        let left = before.iter().filter(|rule| !goes(rule)).count();
        self.any.store(left > 0, Ordering::Relaxed);
        before.len() - left
    }

    /// The rules, in the order in which they are looked at.
    pub(crate) fn list(&self) -> Vec<Arc<Rule>> {
        self.rules.load().to_vec()
    }

    /// Whether there are any.
    pub(crate) fn are_there(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// What happens to a message, by the first rule that it meets and that happens this time.
    pub(crate) fn meet(&self, met: &Met<'_>) -> Option<Fault> {
        let rules = self.rules.load();
        let is_met = |rule: &&Arc<Rule>| rule.is_about_messages() && rule.is_about(met) && rule.happens();
        let rule = rules.iter().find(is_met)?;
        tracing::debug!(
            "Test lab: fault {} ({}) happens to {}",
            rule.id,
            rule.kind,
            met.subject.escape_ascii()
        );
        Some(rule.outcome())
    }

    /// Whether a client, by its name, is one that reads nothing any more.
    pub(crate) fn stops_reading(&self, account: &str, client: &str) -> bool {
        let rules = self.rules.load();
        let is_met = |rule: &&Arc<Rule>| {
            rule.fault == Fault::StopReading && rule.is_about_whom(account, Some(client)) && rule.happens()
        };
        let met = rules.iter().find(is_met);
        if let Some(rule) = met {
            tracing::debug!("Test lab: fault {} ({}) happens to client {client:?}", rule.id, rule.kind);
        }
        met.is_some()
    }

    /// Whether what a stream of an account delivers comes twice this time; `subject` is the one that it is stored under.
    pub(crate) fn delivers_twice(&self, account: &str, subject: &[u8]) -> bool {
        let rules = self.rules.load();
        let met = Met { subject, account, client: &String::new };
        let is_met =
            |rule: &&Arc<Rule>| rule.fault == Fault::DeliverTwice && rule.is_about(&met) && rule.happens();
        let met = rules.iter().find(is_met);
        if let Some(rule) = met {
            let subject = subject.escape_ascii();
            tracing::debug!("Test lab: fault {} ({}) happens to a delivery of {subject}", rule.id, rule.kind);
        }
        met.is_some()
    }

    /// Whether the disk fails where it has files of an account.
    pub(crate) fn meet_disk(&self, account: &str, fault: DiskFault) -> bool {
        if !self.are_there() {
            return false;
        }
        let rules = self.rules.load();
        let is_met = |rule: &&Arc<Rule>| {
            rule.fault == Fault::FailDisk(fault) && rule.is_about_whom(account, None) && rule.happens()
        };
        let met = rules.iter().find(is_met);
        if let Some(rule) = met {
            tracing::debug!("Test lab: fault {} ({}) happens to files of {account:?}", rule.id, rule.kind);
        }
        met.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(subject: &str, fault: Fault) -> Rule {
        let aim = Aim { subject: Some(subject.to_owned()), ..Aim::default() };
        Rule::new("test", aim, fault, Some(1))
    }

    fn meet(faults: &Faults, subject: &str) -> Option<Fault> {
        faults.meet(&Met { subject: subject.as_bytes(), account: "A", client: &|| "c".to_owned() })
    }

    #[test]
    fn the_first_rule_that_is_met_counts_as_often_as_it_may() {
        let faults = Faults::default();
        faults.add(Rule { times: Some(2), ..rule("a.*", Fault::LoseAnswer) });
        let second = faults.add(rule("a.>", Fault::Disconnect));
        let met: Vec<_> = (0..3).map(|_| meet(&faults, "a.b")).collect();
        assert_eq!(met, [Some(Fault::LoseAnswer), Some(Fault::LoseAnswer), Some(Fault::Disconnect)]);
        assert_eq!(meet(&faults, "b"), None);
        assert_eq!(faults.list().iter().map(|rule| rule.hits()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(faults.clear(Some(second)), 1);
        assert_eq!(meet(&faults, "a.b"), None);
        assert!(faults.are_there());
        assert_eq!((faults.clear(None), faults.are_there()), (1, false));
    }

    #[test]
    fn accounts_and_clients_are_told_apart() {
        let faults = Faults::default();
        let aim = |client: &str, account: &str| Aim {
            subject: None,
            client: Some(client.to_owned()),
            account: Some(account.to_owned()),
        };
        faults.add(Rule::new("test", aim("c", "B"), Fault::NoResponders, Some(1)));
        faults.add(Rule::new("test", aim("d", "A"), Fault::NoResponders, Some(1)));
        assert_eq!(meet(&faults, "a"), None);
        faults.add(Rule::new("test", aim("c", "A"), Fault::LoseAnswer, Some(1)));
        assert_eq!(meet(&faults, "a"), Some(Fault::LoseAnswer));
    }

    #[test]
    fn what_is_no_message_has_rules_of_its_own() {
        let faults = Faults::default();
        let aim = Aim { account: Some("A".to_owned()), ..Aim::default() };
        faults.add(Rule::new("test", aim.clone(), Fault::FailDisk(DiskFault::Full), Some(1)));
        faults.add(Rule { times: Some(1), ..Rule::new("test", aim, Fault::StopReading, Some(1)) });
        assert_eq!(meet(&faults, "a"), None);
        assert!(faults.meet_disk("A", DiskFault::Full) && !faults.meet_disk("B", DiskFault::Full));
        assert!(!faults.meet_disk("A", DiskFault::Sync) && !faults.stops_reading("B", "c"));
        assert!(faults.stops_reading("A", "c") && !faults.stops_reading("A", "c"));
    }

    #[test]
    fn chance_adds_to_a_delay_and_the_seed_to_chance() {
        let delays = |seed| -> Vec<Option<Fault>> {
            let faults = Faults::default();
            let delay = Delay { by_ns: 5, jitter_ns: 3 };
            faults.add(Rule::new("test", Aim::default(), Fault::Hold(delay), Some(seed)));
            (0..20).map(|_| meet(&faults, "a")).collect()
        };
        let is_within =
            |fault: &Option<Fault>| matches!(fault, Some(Fault::Hold(Delay { by_ns: 5..=8, jitter_ns: 0 })));
        assert!(delays(1).iter().all(is_within));
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed: u64| -> Vec<bool> {
            let faults = Faults::default();
            let rule = Rule::new("test", Aim::default(), Fault::LoseAnswer, Some(seed));
            faults.add(Rule { probability: 0.5, ..rule });
            (0..64).map(|_| meet(&faults, "a").is_some()).collect()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        let happened = choices(7).iter().filter(|happened| **happened).count();
        assert!((16..48).contains(&happened), "{happened}");
    }
}
