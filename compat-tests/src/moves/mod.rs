//! What moves where: two servers take the same steps, and after each of them every page, every answer about what there is,
//! and every event is compared: which fields came, went and moved, and which did not.
//!
//! A field is a path of names; elements of arrays go by what names them. Numbers and texts need not be equal, but what has
//! moved on one server must have moved on the other, and what came must have the same form. Both show the same fields to
//! begin with. What differs on purpose stands in [`meant`].

pub mod meant;
pub mod picture;
pub mod session;
pub mod steps;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Program;
use meant::Meant;
use session::Session;
use steps::Step;

/// How long two servers may take to agree after a step: they finish some work only after they have answered, and the machine
/// may be busy.
const AGREE_WAIT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);
/// How often the steps are taken where the first walk shows something. What most walks show counts: a nats-server that
/// deletes a stream may stop the sender of its advisories before it has sent the last one (v2.15.2, seen once).
const WALKS: usize = 3;

/// One thing that only one of the servers did after a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The step.
    pub step: String,
    /// `-` for what only the reference did, `+` for what only the candidate did, and what that is.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.what)
    }
}

/// What a walk found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What differs and is not meant to.
    pub differences: Vec<Difference>,
    /// What differed in the fewer walks: accidents of timing.
    pub unsteady: Vec<Difference>,
    /// What is said to differ and did not: to be taken off the list.
    pub unseen: Vec<&'static str>,
    /// Fields that were looked at on the reference in the end.
    pub fields: usize,
    /// Steps that were taken.
    pub steps: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for difference in &self.unsteady {
            writeln!(f, "unsteady {difference}")?;
        }
        for pattern in &self.unseen {
            writeln!(f, "said to differ, and does not: {pattern}")?;
        }
        write!(f, "{} steps, {} fields, {} differences", self.steps, self.fields, self.differences.len())
    }
}

/// Two servers that take the same steps.
struct Pair {
    sides: [Session; 2],
    meant: Meant,
}

impl Pair {
    /// Has both do something at the same time.
    fn both<R: Send>(&mut self, work: impl Fn(&mut Session) -> Result<R> + Sync) -> Result<[R; 2]> {
        let [reference, candidate] = &mut self.sides;
        let (left, right) = std::thread::scope(|scope| {
            // Errors cannot leave a thread as they are.
            let other = scope.spawn(|| work(candidate).map_err(|error| error.to_string()));
            let left = work(reference).map_err(|error| format!("on the reference: {error}"));
            let right = other.join().unwrap_or_else(|_| Err("the session panicked".to_owned()));
            (left, right)
        });
        Ok([left?, right?])
    }

    /// Looks at both until what `look` sees of them is equal, or for long enough; gives what only one of them showed and is
    /// not meant to.
    fn agree(
        &mut self,
        look: impl Fn(&mut Session) -> Result<BTreeSet<String>> + Sync,
    ) -> Result<Vec<String>> {
        let deadline = Instant::now() + AGREE_WAIT;
        loop {
            let [left, right] = self.both(&look)?;
            let only_left = left.difference(&right).map(|line| format!("- {line}"));
            let differing: Vec<String> =
                only_left.chain(right.difference(&left).map(|line| format!("+ {line}"))).collect();
            let found: Vec<String> =
                differing.iter().filter(|line| !self.meant.covers(line)).cloned().collect();
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            std::thread::sleep(POLL);
        }
    }

    fn step(&mut self, step: &Step) -> Result<Vec<String>> {
        self.both(Session::remember_pages)?;
        self.both(|side| side.take(step))?;
        let mut found = self.agree(Session::heard)?;
        found.extend(self.agree(Session::moved_pages)?);
        found.extend(self.agree(Session::moved_answers)?);
        self.sides.iter_mut().for_each(Session::remember_answers);
        Ok(found)
    }
}

/// Takes all steps on both programs and compares after each; takes them again where something differs.
///
/// # Errors
/// When a server does not start or answer.
pub fn run(reference: &Program, candidate: &Program, steps: &[(&str, Step)]) -> Result<Summary> {
    let first = walk(reference, candidate, steps)?;
    if first.differences.is_empty() && first.unseen.is_empty() {
        return Ok(first);
    }
    let mut walks = vec![first];
    while walks.len() < WALKS {
        walks.push(walk(reference, candidate, steps)?);
    }
    Ok(most(&walks))
}

/// What most of the walks show.
fn most(walks: &[Summary]) -> Summary {
    let is_most = |count: usize| count > walks.len() / 2;
    let shown = |wanted: &Difference| walks.iter().filter(|walk| walk.differences.contains(wanted)).count();
    let all: BTreeSet<&Difference> = walks.iter().flat_map(|walk| &walk.differences).collect();
    let (differences, unsteady) = all.into_iter().cloned().partition(|found| is_most(shown(found)));
    let unseen: BTreeSet<&str> = walks.iter().flat_map(|walk| walk.unseen.iter().copied()).collect();
    let missed = |wanted: &&str| is_most(walks.iter().filter(|walk| walk.unseen.contains(wanted)).count());
    let counts = walks.last().cloned().unwrap_or_default();
    Summary { differences, unsteady, unseen: unseen.into_iter().filter(missed).collect(), ..counts }
}

fn walk(reference: &Program, candidate: &Program, steps: &[(&str, Step)]) -> Result<Summary> {
    let sides = [Session::start(reference)?, Session::start(candidate)?];
    let mut pair = Pair { sides, meant: Meant::new()? };
    let mut summary = Summary { steps: steps.len(), ..Summary::default() };
    let mut note = |title: &str, found: Vec<String>| {
        let found = found.into_iter().map(|what| Difference { step: title.to_owned(), what });
        summary.differences.extend(found);
    };
    note("the start", pair.agree(Session::forms)?);
    for (title, step) in steps {
        let found = pair.step(step).map_err(|error| format!("{title}: {error}"))?;
        note(title, found);
    }
    note("the end", pair.agree(Session::forms)?);
    summary.fields = pair.both(Session::forms)?.first().map_or(0, BTreeSet::len);
    // A program beside itself shows nothing of what JetKV does otherwise.
    summary.unseen = if reference == candidate { Vec::new() } else { pair.meant.unseen() };
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(step: &str) -> Difference {
        Difference { step: step.to_owned(), what: "+ moved".to_owned() }
    }

    #[test]
    fn what_most_walks_show_counts_and_the_rest_is_told() {
        let walk = |steps: &[&str], unseen: &[&'static str]| Summary {
            differences: steps.iter().map(|step| difference(step)).collect(),
            unseen: unseen.to_vec(),
            fields: 7,
            ..Summary::default()
        };
        let summary = most(&[walk(&["a", "b"], &["x"]), walk(&["b"], &["x", "y"]), walk(&["c"], &[])]);
        assert_eq!(summary.differences, [difference("b")]);
        assert_eq!(summary.unsteady, [difference("a"), difference("c")]);
        assert_eq!((summary.unseen.as_slice(), summary.fields), (["x"].as_slice(), 7));
    }
}
