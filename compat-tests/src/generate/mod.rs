//! Random sessions, run on nats-server and JetKV in step.
//!
//! A seed gives a profile and a session: a list of operations that only depends on the seed. Sessions share one pair of
//! servers, each under a name of its own. When answers differ, the session is run again to see that the difference is
//! steady, and then shortened as long as it stays; what is left is printed as a scenario.

mod consumer_config;
pub mod consumers;
pub mod damage;
pub mod features;
pub mod fields;
pub mod floods;
pub mod kv;
pub mod operation;
pub mod origins;
pub mod overlaps;
pub mod packets;
pub mod pair;
pub mod parser;
pub mod reloads;
pub mod same;
pub mod shrink;
pub mod side;
pub mod streams;
pub mod subjects;
pub mod updates;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::{Program, ServerOptions};
use crate::random::Random;
use operation::{Operation, scenario_text};
use pair::{Pair, Run};

/// Sessions of a run unless it says otherwise.
pub const SEEDS: u64 = 200;
/// Operations in a session.
pub const SESSION_LENGTH: usize = 60;
/// How often a session is run to tell a difference from an accident of timing.
const CONFIRMATIONS: usize = 4;
/// How often a session that is no list of operations is played for the same reason.
const PLAYS: usize = 3;
/// How many sessions are run at most to shorten one.
const SHRINK_TRIES_MAX: usize = 200;
/// How long that may take: where one server waits in vain for what another has, each of these sessions takes a minute.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(600);

/// What a session aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Streams: their limits, publish headers, reads, purges, deletes, updates.
    Streams,
    /// Pull and push consumers and their acks.
    Consumers,
    /// Subject matching and queue groups.
    Subjects,
    /// Subjects and queue groups again, by users who may not do everything.
    Permissions,
    /// A bucket, used as the clients use it.
    Kv,
    /// Bytes on raw connections.
    Parser,
    /// Atomic and fast batches, counters and schedules.
    Features,
    /// Mirrors and sources.
    Origins,
    /// Sources that overlap, and streams that take from each other.
    Overlaps,
    /// Every field of the configurations of streams and consumers.
    Fields,
    /// Streams, consumers and buckets again, with several operations in one packet.
    Packets,
}

impl Profile {
    /// All, in the order of the command's `--profile`.
    pub const ALL: [Self; 11] = [
        Self::Streams,
        Self::Consumers,
        Self::Subjects,
        Self::Permissions,
        Self::Kv,
        Self::Parser,
        Self::Features,
        Self::Origins,
        Self::Overlaps,
        Self::Fields,
        Self::Packets,
    ];

    /// The profile that a seed stands for, where none is named; [`Self::Features`], [`Self::Origins`],
    /// [`Self::Overlaps`], [`Self::Fields`] and [`Self::Packets`] are only run by their names.
    pub fn of(seed: u64) -> Self {
        match seed % 20 {
            0..=5 => Self::Streams,
            6..=9 => Self::Consumers,
            10 => Self::Subjects,
            11 => Self::Permissions,
            12..=16 => Self::Kv,
            _ => Self::Parser,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Consumers => "consumers",
            Self::Subjects => "subjects",
            Self::Permissions => "permissions",
            Self::Kv => "kv",
            Self::Parser => "parser",
            Self::Features => "features",
            Self::Origins => "origins",
            Self::Overlaps => "overlaps",
            Self::Fields => "fields",
            Self::Packets => "packets",
        }
    }

    /// Options of its servers.
    fn server_options(self) -> ServerOptions {
        let (flags, config) = match self {
            Self::Permissions => (vec![], Some(subjects::PERMISSIONS.to_string())),
            _ => (vec!["-js".to_string()], None),
        };
        let flags = flags.into_iter().chain(["-n".to_string(), "generated".to_string()]).collect();
        ServerOptions { flags, config, ..ServerOptions::default() }
    }
}

/// The session of a seed.
pub fn session(profile: Profile, seed: u64) -> Vec<Operation> {
    let random = Random::new(seed);
    match profile {
        Profile::Streams => streams::session(random, SESSION_LENGTH),
        Profile::Consumers => consumers::session(random, SESSION_LENGTH),
        Profile::Subjects | Profile::Permissions => subjects::session(random, SESSION_LENGTH),
        Profile::Kv => kv::session(random, SESSION_LENGTH),
        Profile::Parser => parser::session(random, SESSION_LENGTH),
        Profile::Features => features::session(random, SESSION_LENGTH),
        Profile::Origins => origins::session(random, SESSION_LENGTH),
        Profile::Overlaps => overlaps::session(random, SESSION_LENGTH),
        Profile::Fields => fields::session(random, SESSION_LENGTH),
        Profile::Packets => packets::session(random, SESSION_LENGTH),
    }
}

/// A difference, made as short as it gets.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Profile and seed.
    pub name: String,
    /// What differed.
    pub difference: String,
    /// The session as a scenario file.
    pub scenario: String,
}

/// What a run over many seeds found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Operations that were run and compared.
    pub operations: usize,
    /// Differences that show in every run of their session.
    pub findings: Vec<Finding>,
    /// Sessions without any.
    pub same: usize,
    /// Differences that went away when their session was run again: accidents of timing.
    pub unsteady: Vec<String>,
    /// What sessions awaited, and neither server came to: the generator expects what is not so.
    pub in_vain: Vec<String>,
}

impl Summary {
    /// Plays a session again and again as long as it shows a difference, and notes what that is if it shows one each time.
    fn confirm(&mut self, name: String, mut play: impl FnMut() -> Result<Option<String>>) -> Result<()> {
        let mut difference = None;
        for at in 0..PLAYS {
            match (play()?, difference.take()) {
                (Some(found), _) => difference = Some(found),
                (None, None) => {
                    self.is_same(&name);
                    return Ok(());
                }
                (None, Some(seen)) => {
                    self.is_unsteady(format!("{name}, play {at}: {seen}"));
                    return Ok(());
                }
            }
        }
        if let Some(difference) = difference {
            self.note(name, difference);
        }
        Ok(())
    }

    /// Whether nothing was found but accidents of timing.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.in_vain.is_empty()
    }

    fn is_same(&mut self, name: &str) {
        println!("same {name}");
        self.same += 1;
    }

    fn is_unsteady(&mut self, text: String) {
        println!("UNSTEADY {text}");
        self.unsteady.push(text);
    }

    /// Notes a difference of a session that is no list of operations.
    fn note(&mut self, name: String, difference: String) {
        println!("DIFFERENT {name}\n{difference}");
        self.findings.push(Finding { name, difference, scenario: String::new() });
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (findings, unsteady) = (self.findings.len(), self.unsteady.len());
        write!(f, "{} operations, {} sessions the same, ", self.operations, self.same)?;
        write!(f, "{findings} differences, {unsteady} unsteady")?;
        self.unsteady.iter().try_for_each(|text| write!(f, "\nunsteady {text}"))?;
        self.in_vain.iter().try_for_each(|text| write!(f, "\nin vain {text}"))
    }
}

/// Runs the sessions of these seeds, all of one profile if it is given, and prints what comes of each.
///
/// # Errors
/// When a server cannot be started.
pub fn run(
    reference: &Program,
    candidate: &Program,
    seeds: Range<u64>,
    only: Option<Profile>,
) -> Result<Summary> {
    let mut pairs: HashMap<ServerOptions, Pair> = HashMap::new();
    let mut summary = Summary::default();
    for seed in seeds {
        let profile = only.unwrap_or_else(|| Profile::of(seed));
        let pair = match pairs.entry(profile.server_options()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let pair = Pair::start(reference, candidate, entry.key())?;
                entry.insert(pair)
            }
        };
        let name = format!("{}-{seed}", profile.name());
        let operations = session(profile, seed);
        let first = pair.run(&operations)?;
        summary.operations += first.answer_counts.len();
        let Some((index, difference)) = first.difference else {
            summary.is_same(&name);
            continue;
        };
        if first.in_vain {
            let text = format!("{name}, operation {index}: {difference}");
            println!("IN VAIN {text}");
            summary.in_vain.push(text);
            continue;
        }
        let operations: Vec<Operation> = operations.into_iter().take(index + 1).collect();
        if !is_steady(pair, &operations)? {
            summary.is_unsteady(format!("{name}, operation {index}: {difference}"));
            continue;
        }
        let finding = shorten(pair, &name, &operations, difference)?;
        println!("DIFFERENT {name}\n{}\n{}", finding.difference, finding.scenario);
        summary.findings.push(finding);
    }
    Ok(summary)
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn is_steady(pair: &mut Pair, operations: &[Operation]) -> Result<bool> {
    for _ in 0..CONFIRMATIONS {
        if pair.run(operations)?.difference.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn shorten(pair: &mut Pair, name: &str, operations: &[Operation], difference: String) -> Result<Finding> {
    let wanted = without_numbers(&difference);
    let difference = Some((operations.len(), difference));
    let mut found = Run { difference, played: operations.to_vec(), ..Run::default() };
    let begun = Instant::now();
    let mut play = |operations: &[Operation]| match begun.elapsed() < SHRINK_TIME_MAX {
        true => pair.run(operations),
        false => Err("it takes too long".into()),
    };
    let _ = shrink::shrink(operations, SHRINK_TRIES_MAX, |operations| match play(operations) {
        // Another difference on the way must not take this one's place.
        Ok(run) if run.difference.as_ref().is_some_and(|(_, text)| without_numbers(text) == wanted) => {
            found = run;
            true
        }
        _ => false,
    });
    let difference = found.difference.map(|(_, difference)| difference).unwrap_or_default();
    let mut title = format!("Generated, {name}.");
    if let Some(config) = &pair.options().config {
        title.push_str(&format!("\nconfig:{}", config.trim_end().replace('\n', "\n  ")));
    }
    Ok(Finding {
        name: name.to_string(),
        difference,
        scenario: scenario_text(&title, &found.played, &found.answer_counts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::scenario;

    #[test]
    fn a_seed_always_gives_the_same_session() {
        for seed in 0..50 {
            let profile = Profile::of(seed);
            assert_eq!(session(profile, seed), session(profile, seed));
            assert_ne!(session(profile, seed), session(profile, seed + 20), "{}", profile.name());
            assert!(session(profile, seed).len() >= SESSION_LENGTH);
        }
    }

    #[test]
    fn every_session_can_be_written_as_a_scenario() {
        for seed in 0..100 {
            for profile in [Profile::of(seed), Profile::Packets, Profile::Features, Profile::Origins] {
                let text = scenario_text("generated", &session(profile, seed), &[]);
                let cases = scenario::parse(std::path::Path::new("found/x.txt"), &text);
                assert!(cases.is_ok(), "seed {seed}: {cases:?}\n{text}");
            }
        }
    }
}
