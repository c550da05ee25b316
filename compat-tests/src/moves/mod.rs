//! What moves where: two servers take the same steps, and after each of them every page, every answer about what there is,
//! and every event is compared: which fields came, went and moved, and which did not.
//!
//! A field is a path of names; elements of arrays go by what names them. Numbers and texts need not be equal, but what has
//! moved on one server must have moved on the other, and what came must have the same form.

pub mod picture;
pub mod session;
pub mod steps;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::Result;
use crate::process::Program;
use session::Session;
use steps::Step;

/// How long two servers may take to agree after a step: they finish some work only after they have answered.
const AGREE_WAIT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

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

/// Two servers that take the same steps.
struct Pair {
    sides: [Session; 2],
}

impl Pair {
    /// Looks at both until what `look` sees of them is equal, or for long enough; gives what only one of them showed.
    fn agree(
        &mut self,
        mut look: impl FnMut(&mut Session) -> Result<BTreeSet<String>>,
    ) -> Result<Vec<String>> {
        let deadline = Instant::now() + AGREE_WAIT;
        loop {
            let [reference, candidate] = &mut self.sides;
            let (left, right) = (look(reference)?, look(candidate)?);
            if left == right || Instant::now() > deadline {
                let only_left = left.difference(&right).map(|line| format!("- {line}"));
                return Ok(only_left
                    .chain(right.difference(&left).map(|line| format!("+ {line}")))
                    .collect());
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Takes all steps on both programs and compares after each.
///
/// # Errors
/// When a server does not start or answer.
pub fn run(reference: &Program, candidate: &Program, steps: &[(&str, Step)]) -> Result<Vec<Difference>> {
    let sides = [Session::start(reference)?, Session::start(candidate)?];
    let mut pair = Pair { sides };
    let mut differences = Vec::new();
    for (title, step) in steps {
        for side in &mut pair.sides {
            side.remember_pages()?;
            side.take(step).map_err(|error| format!("{title}: {error}"))?;
        }
        let mut found = pair.agree(|side| Ok(side.heard().clone()))?;
        found.extend(pair.agree(|side| side.moved_pages())?);
        found.extend(pair.agree(|side| side.moved_answers())?);
        for side in &mut pair.sides {
            side.remember_answers()?;
        }
        differences.extend(found.into_iter().map(|what| Difference { step: (*title).to_owned(), what }));
    }
    Ok(differences)
}
