//! Plays cases on two programs side by side and reports the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex_lite::Regex;
use similar::{ChangeTag, TextDiff};

use super::difference::difference;
use super::play::{Tools, Transcript, play};
use super::pool::Pool;
use super::scenario::Case;
use super::unsteady::Variants;
use crate::process::Program;

/// How many lines are shown of what differed in a play that was not the last one.
const UNSTEADY_LINES_MAX: usize = 20;
/// How many cases at fault are shown with what is wrong; each is shown as it is played anyway.
const FAULTS_SHOWN_MAX: usize = 30;
/// How many equal lines are shown around a difference.
const DIFF_CONTEXT: usize = 4;
/// How often a case is played at most whose first play was bad; most of these plays must be good.
pub const PLAYS_MAX: usize = PATIENCE.len();
/// How often the reference is played by itself before a difference is held against the candidate.
const REFERENCE_PLAYS: usize = 8;
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
    /// They differ, but what the candidate did at each step the reference did in another play; the text shows how.
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
    /// One program is compared with itself, which differs from nothing.
    is_of_one: bool,
}

impl Comparison {
    /// Of `candidate` with `reference`, the specification.
    pub fn new(reference: &Program, candidate: &Program, tools: &Tools) -> Self {
        Self {
            seen_errors: SeenErrors::new(),
            reference: Pool::new(reference),
            candidate: Pool::new(candidate),
            tools: tools.clone(),
            is_of_one: reference == candidate,
        }
    }

    /// Plays a case once on both programs at the same time, with pauses as long as `patience` makes them.
    fn compare(&mut self, case: &Case, patience: u32) -> Outcome {
        let transcripts = self.transcripts(case, patience);
        self.judge(case, &transcripts)
    }

    fn judge(&mut self, case: &Case, (reference, candidate): &Transcripts) -> Outcome {
        let reference = match reference {
            Ok(transcript) if transcript.timeouts.is_empty() => transcript,
            Ok(transcript) => return Outcome::Broken(broken(transcript)),
            Err(error) => return Outcome::Broken(error.clone()),
        };
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => return Outcome::Different(error.clone()),
        };
        let differs = candidate.lines != reference.lines;
        match case.differs.as_ref().filter(|_| !self.is_of_one) {
            None if differs => Outcome::Different(show_difference(&reference.lines, &candidate.lines)),
            None => {
                self.note_errors(case, reference);
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
    /// Where nats-server does not agree with itself it says nothing of what is right. So, before a difference counts, it is
    /// played some more times by itself: a play is good, too, in which JetKV did at every step what nats-server did there
    /// in some play.
    pub fn compare_steadily(&mut self, case: &Case) -> Outcome {
        let good_wanted = PLAYS_MAX / 2 + 1;
        let (mut good, mut bad) = (0, 0);
        let mut fault = Outcome::Same;
        let mut plays = Vec::new();
        for patience in PATIENCE {
            let transcripts = self.transcripts(case, patience);
            let outcome = self.judge(case, &transcripts);
            plays.push(transcripts);
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
            if bad > PLAYS_MAX - good_wanted {
                break;
            }
        }
        match fault {
            Outcome::Different(why) if case.differs.is_none() && self.is_explained(case, &plays) => {
                Outcome::Unsteady(why)
            }
            fault => fault,
        }
    }

    /// Whether the reference does, in these plays or in some more, what the candidate did in every one of them.
    fn is_explained(&mut self, case: &Case, plays: &[Transcripts]) -> bool {
        let mut variants = Variants::default();
        plays.iter().flat_map(|(reference, _)| reference).for_each(|reference| variants.note(reference));
        for _ in 0..REFERENCE_PLAYS {
            if let Ok(reference) = play(case, &mut self.reference, &self.tools, 1) {
                variants.note(&reference);
            }
        }
        plays.iter().all(|(_, candidate)| candidate.as_ref().is_ok_and(|seen| variants.explain(seen)))
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
