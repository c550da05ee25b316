//! Plays cases on two programs side by side and reports the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex_lite::Regex;
use similar::{ChangeTag, TextDiff};

use super::difference::{difference, differing_steps};
use super::play::{Tools, Transcript, play};
use super::pool::Pool;
use super::scenario::Case;
use crate::process::Program;

/// How many lines are shown of what differed in a play that was not the last one.
const UNSTEADY_LINES_MAX: usize = 20;
/// How many cases at fault are shown with what is wrong; each is shown as it is played anyway.
const FAULTS_SHOWN_MAX: usize = 30;
/// How many equal lines are shown around a difference.
const DIFF_CONTEXT: usize = 4;
/// How often a case is played at most whose first play was bad; most of these plays must be good.
pub const PLAYS_MAX: usize = PATIENCE.len();
/// How many plays must show the same difference before it is written down.
const RECORDED_PLAYS: usize = 3;
/// By how much the pauses of a scenario are longer in each of these plays.
const PATIENCE: [u32; 5] = [1, 2, 3, 5, 8];
/// How many lines of a difference are shown.
const DIFF_LINES_MAX: usize = 60;
/// How many lines of a broken case are shown: its last ones.
const BROKEN_CONTEXT: usize = 12;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both servers did the same.
    Same,
    /// They differ as the scenario says they do.
    DiffersAsSaid,
    /// They differ only at steps at which the reference differs from itself, too; the text shows how.
    Unsteady(String),
    /// They differ; the text shows how.
    Different(String),
    /// The scenario itself is at fault, or the harness failed.
    Broken(String),
}

impl Outcome {
    /// What is wrong; nothing when all is well.
    pub fn why(&self) -> &str {
        match self {
            Self::Same | Self::DiffersAsSaid => "",
            Self::Unsteady(why) | Self::Different(why) | Self::Broken(why) => why,
        }
    }

    /// True for what a test accepts.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Same | Self::DiffersAsSaid | Self::Unsteady(_))
    }
}

/// Numbers of errors of the JetStream API, with the cases whose transcripts hold them.
pub type SeenErrors = BTreeMap<u16, BTreeSet<String>>;

/// What the reference and the candidate did in one play, in this order. Errors are texts.
type Transcripts = (Result<Transcript, String>, Result<Transcript, String>);

/// Two programs with their idle servers.
#[derive(Debug)]
pub struct Comparison {
    seen_errors: SeenErrors,
    reference: Pool,
    candidate: Pool,
    tools: Tools,
}

impl Comparison {
    /// Of `candidate` with `reference`, the specification.
    pub fn new(reference: &Program, candidate: &Program, tools: &Tools) -> Self {
        Self {
            seen_errors: SeenErrors::new(),
            reference: Pool::new(reference),
            candidate: Pool::new(candidate),
            tools: tools.clone(),
        }
    }

    /// Plays a case once on both programs at the same time, with pauses as long as `patience` makes them.
    fn compare(&mut self, case: &Case, patience: u32) -> Outcome {
        let transcripts = self.transcripts(case, patience);
        self.judge(case, transcripts)
    }

    fn judge(&mut self, case: &Case, (reference, candidate): Transcripts) -> Outcome {
        let reference = match reference {
            Ok(transcript) if transcript.timeouts.is_empty() => transcript,
            Ok(transcript) => return Outcome::Broken(broken(&transcript)),
            Err(error) => return Outcome::Broken(error),
        };
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => return Outcome::Different(error),
        };
        let differs = candidate.lines != reference.lines;
        match &case.differs {
            None if differs => Outcome::Different(show_difference(&reference.lines, &candidate.lines)),
            None => {
                self.note_errors(case, &reference);
                Outcome::Same
            }
            Some(reason) if !differs => {
                Outcome::Broken(format!("no longer differs; it was said to: {reason}"))
            }
            Some(_) => as_said(case, &difference(&reference.lines, &candidate.lines)),
        }
    }

    /// How the two differ in a case, as often as they are asked the same; for the file beside the scenario.
    ///
    /// # Errors
    /// When they do not differ, or one play shows another difference than the next; the text has what was seen.
    pub fn steady_difference(&mut self, case: &Case) -> Result<Vec<String>, String> {
        let mut seen: Option<Vec<String>> = None;
        for patience in PATIENCE.into_iter().take(RECORDED_PLAYS) {
            let (reference, candidate) = self.transcripts(case, patience);
            let reference = reference?;
            if !reference.timeouts.is_empty() {
                return Err(broken(&reference));
            }
            let found = difference(&reference.lines, &candidate?.lines);
            match &seen {
                _ if found.is_empty() => return Err("does not differ".to_string()),
                Some(before) if *before != found => return Err(show_difference(before, &found)),
                _ => seen = Some(found),
            }
        }
        Ok(seen.unwrap_or_default())
    }

    /// The errors that both programs answered with alike, so far.
    pub fn seen_errors(&self) -> &SeenErrors {
        &self.seen_errors
    }

    fn note_errors(&mut self, case: &Case, transcript: &Transcript) {
        static ERR_CODE: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"err_code\W{1,5}(\d{5})|\((\d{5})\)").ok());
        let Some(err_code) = &*ERR_CODE else { return };
        for found in transcript.lines.iter().flat_map(|line| err_code.captures_iter(line)) {
            let number =
                found.get(1).or_else(|| found.get(2)).and_then(|digits| digits.as_str().parse().ok());
            if let Some(number) = number {
                self.seen_errors.entry(number).or_default().insert(case.name.clone());
            }
        }
    }

    /// Plays a case on both programs. A good first play is enough. After a bad one most of the plays must be good, each
    /// more patient than the one before: a busy machine spoils a play now and then, but not most of them, and a fault that
    /// shows every other time spoils more.
    ///
    /// Where nats-server did not agree with itself in these plays, it says nothing of what is right: a difference that
    /// shows only there is not JetKV's.
    ///
    /// A case with `plays:` is a race of nats-server with itself: there one good play of so many is enough.
    pub fn compare_steadily(&mut self, case: &Case) -> Outcome {
        let plays = case.plays.unwrap_or(PLAYS_MAX);
        let good_wanted = if case.plays.is_some() { 1 } else { plays / 2 + 1 };
        let (mut good, mut bad) = (0, 0);
        let mut fault = Outcome::Same;
        let mut seen = Seen::default();
        for patience in PATIENCE.into_iter().cycle().take(plays) {
            let transcripts = self.transcripts(case, patience);
            seen.note(&transcripts);
            let outcome = self.judge(case, transcripts);
            if outcome.is_good() {
                good += 1;
                if bad == 0 || good == good_wanted {
                    return outcome;
                }
                continue;
            }
            bad += 1;
            println!("unsteady? {}\n{}", case.name, first_lines(outcome.why(), UNSTEADY_LINES_MAX));
            fault = outcome;
            if bad > plays - good_wanted {
                break;
            }
        }
        match fault {
            Outcome::Different(why) if case.differs.is_none() && seen.is_only_unsteady() => {
                Outcome::Unsteady(why)
            }
            fault => fault,
        }
    }

    /// How many of so many plays of a case are good, and what was wrong with the last of the others.
    pub fn count_good(&mut self, case: &Case, plays: usize) -> (usize, Option<Outcome>) {
        let (mut good, mut fault) = (0, None);
        for _ in 0..plays {
            let outcome = self.compare(case, 1);
            if outcome.is_good() {
                good += 1;
            } else {
                fault = Some(outcome);
            }
        }
        (good, fault)
    }

    /// The transcripts of both, reference first. Errors are texts.
    pub fn transcripts(&mut self, case: &Case, patience: u32) -> Transcripts {
        let (reference, candidate, tools) = (&mut self.reference, &mut self.candidate, &self.tools);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| play(case, candidate, tools, patience).map_err(|e| e.to_string()));
            let reference = play(case, reference, tools, patience).map_err(|e| e.to_string());
            let candidate = other.join().unwrap_or_else(|_| Err("the player panicked".to_string()));
            (reference, candidate)
        })
    }
}

/// What was recorded in all plays of a case.
#[derive(Debug, Default)]
struct Seen {
    references: Vec<Vec<String>>,
    candidates: Vec<Vec<String>>,
    /// A play had no transcript, or one that waited for nothing.
    is_incomplete: bool,
}

impl Seen {
    fn note(&mut self, transcripts: &Transcripts) {
        match transcripts {
            (Ok(reference), Ok(candidate)) if reference.timeouts.is_empty() => {
                self.references.push(reference.lines.clone());
                self.candidates.push(candidate.lines.clone());
            }
            _ => self.is_incomplete = true,
        }
    }

    /// Whether the two differ in no play but at steps at which the plays of the reference differ.
    fn is_only_unsteady(&self) -> bool {
        let Some((first, others)) = self.references.split_first() else { return false };
        let unsteady: BTreeSet<String> =
            others.iter().flat_map(|other| differing_steps(first, other)).collect();
        let mut plays = self.references.iter().zip(&self.candidates);
        !self.is_incomplete && plays.all(|(r, c)| differing_steps(r, c).is_subset(&unsteady))
    }
}

/// Whether a difference is the one that the case declares.
fn as_said(case: &Case, found: &[String]) -> Outcome {
    if case.difference.is_empty() {
        return Outcome::Broken(
            "what differs is not written down; `compat play --record` does it".to_string(),
        );
    }
    if case.difference == found {
        return Outcome::DiffersAsSaid;
    }
    let shown = show_difference(&case.difference, found);
    Outcome::Different(format!("differs in another way than is written down (-):\n{shown}"))
}

fn broken(transcript: &Transcript) -> String {
    let mut text = format!("timed out on the reference: {}\n", transcript.timeouts.join("; "));
    for line in transcript.lines.iter().skip(transcript.lines.len().saturating_sub(BROKEN_CONTEXT)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A unified listing: `-` is what the reference did, `+` what the candidate did, of at most so many lines.
pub fn show_difference(reference: &[String], candidate: &[String]) -> String {
    let old: Vec<&str> = reference.iter().map(String::as_str).collect();
    let new: Vec<&str> = candidate.iter().map(String::as_str).collect();
    let diff = TextDiff::from_slices(&old, &new);
    let mut text = String::new();
    for group in diff.grouped_ops(DIFF_CONTEXT) {
        for op in group {
            for change in diff.iter_changes(&op) {
                let mark = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                text.push_str(&format!("{mark} {}\n", change.value()));
            }
        }
        text.push_str("  ...\n");
    }
    first_lines(&text, DIFF_LINES_MAX)
}

fn first_lines(text: &str, lines_max: usize) -> String {
    let mut shown: String = text.split_inclusive('\n').take(lines_max).collect();
    let more = text.lines().count().saturating_sub(lines_max);
    if more > 0 {
        shown.push_str(&format!("  ({more} lines more)\n"));
    }
    shown
}

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Case names with their outcomes, in order.
    pub outcomes: Vec<(String, Outcome)>,
}

impl Report {
    /// Plays all cases, printing a line for each as it is done.
    pub fn run(cases: &[Case], comparison: &mut Comparison) -> Self {
        let mut report = Self::default();
        for case in cases {
            let outcome = comparison.compare_steadily(case);
            match &outcome {
                Outcome::Same => println!("ok        {}", case.name),
                Outcome::DiffersAsSaid => println!("differs   {}", case.name),
                Outcome::Unsteady(diff) => println!("UNSTEADY  {}\n{diff}", case.name),
                Outcome::Different(diff) => println!("DIFFERENT {}\n{diff}", case.name),
                Outcome::Broken(why) => println!("BROKEN    {}\n{why}", case.name),
            }
            report.outcomes.push((case.name.clone(), outcome));
        }
        report
    }

    /// How many outcomes `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count()
    }

    /// True when nothing differs that should not.
    pub fn is_good(&self) -> bool {
        self.outcomes.iter().all(|(_, outcome)| outcome.is_good())
    }

    /// The first cases at fault, each with what is wrong.
    pub fn faults(&self) -> String {
        let faults = self.outcomes.iter().filter(|(_, outcome)| !outcome.is_good());
        faults
            .take(FAULTS_SHOWN_MAX)
            .map(|(name, outcome)| format!("\n=== {name}\n{}", outcome.why()))
            .collect()
    }

    /// One line of numbers.
    pub fn summary(&self) -> String {
        format!(
            "{} cases: {} same, {} different as said, {} unsteady, {} different, {} broken",
            self.outcomes.len(),
            self.count(|o| *o == Outcome::Same),
            self.count(|o| *o == Outcome::DiffersAsSaid),
            self.count(|o| matches!(o, Outcome::Unsteady(_))),
            self.count(|o| matches!(o, Outcome::Different(_))),
            self.count(|o| matches!(o, Outcome::Broken(_))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(reference: &[&str], candidate: &[&str]) -> Transcripts {
        let transcript = |lines: &[&str]| Transcript {
            lines: lines.iter().map(|line| (*line).to_string()).collect(),
            ..Transcript::default()
        };
        (Ok(transcript(reference)), Ok(transcript(candidate)))
    }

    fn is_only_unsteady(plays: &[Transcripts]) -> bool {
        let mut seen = Seen::default();
        plays.iter().for_each(|play| seen.note(play));
        seen.is_only_unsteady()
    }

    #[test]
    fn a_difference_counts_where_the_reference_agrees_with_itself() {
        let same = play(&["line 1: a", "    1"], &["line 1: a", "    2"]);
        let other = play(&["line 1: a", "    3"], &["line 1: a", "    2"]);
        assert!(!is_only_unsteady(&[]));
        assert!(!is_only_unsteady(std::slice::from_ref(&same)));
        assert!(!is_only_unsteady(&[same.clone(), same.clone(), same.clone()]));
        assert!(is_only_unsteady(&[same.clone(), other.clone(), same.clone()]));
        let elsewhere =
            play(&["line 1: a", "    3", "line 2: b"], &["line 1: a", "    2", "line 2: b", "    5"]);
        assert!(!is_only_unsteady(&[same.clone(), other, elsewhere]));
        let failed: Transcripts = (Err("no server".to_string()), same.1.clone());
        assert!(!is_only_unsteady(&[same, failed]));
    }
}
