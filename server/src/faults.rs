//! Faults on purpose: rules of the test lab on what becomes of messages that clients publish.
//!
//! Where there are no rules nothing here is looked at: an account says with the flag that its mappings need anyway whether
//! a message may not go its plain way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jetkv_protocol::subject;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What happens to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It goes nowhere, and who asks gets this body as the answer.
    Answer(Vec<u8>),
    /// It goes its way, and who asks never hears of it.
    LoseAnswer,
    /// It goes nowhere, as if nobody listened.
    NoResponders,
    /// It goes nowhere, and its connection is closed.
    Disconnect,
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
    hits: AtomicU64,
    chance: Mutex<SmallRng>,
}

impl Rule {
    /// A rule that has not happened yet. The same `seed` makes the same choices.
    pub(crate) fn new(kind: &'static str, aim: Aim, fault: Fault, seed: u64) -> Self {
        let chance = Mutex::new(SmallRng::seed_from_u64(seed));
        Self { id: 0, aim, fault, kind, times: None, probability: 1.0, hits: AtomicU64::new(0), chance }
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
        let rule = rules.iter().find(|rule| rule.is_about(met) && rule.happens())?;
        tracing::debug!(
            "Test lab: fault {} ({}) happens to {}",
            rule.id,
            rule.kind,
            met.subject.escape_ascii()
        );
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(subject: &str, fault: Fault) -> Rule {
        let aim = Aim { subject: Some(subject.to_owned()), ..Aim::default() };
        Rule::new("test", aim, fault, 1)
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
        faults.add(Rule::new("test", aim("c", "B"), Fault::NoResponders, 1));
        faults.add(Rule::new("test", aim("d", "A"), Fault::NoResponders, 1));
        assert_eq!(meet(&faults, "a"), None);
        faults.add(Rule::new("test", aim("c", "A"), Fault::LoseAnswer, 1));
        assert_eq!(meet(&faults, "a"), Some(Fault::LoseAnswer));
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed: u64| -> Vec<bool> {
            let faults = Faults::default();
            let rule = Rule::new("test", Aim::default(), Fault::LoseAnswer, seed);
            faults.add(Rule { probability: 0.5, ..rule });
            (0..64).map(|_| meet(&faults, "a").is_some()).collect()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        let happened = choices(7).iter().filter(|happened| **happened).count();
        assert!((16..48).contains(&happened), "{happened}");
    }
}
