//! What a candidate did is right where the reference does the same in some play: a map without an order, a race.

use std::collections::{BTreeMap, BTreeSet};

use super::play::Transcript;

/// What was recorded at each step, by the step's own line.
type Steps = BTreeMap<String, Vec<String>>;

/// What the reference recorded in several plays of one case.
#[derive(Debug, Default)]
pub struct Variants {
    by_step: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl Variants {
    /// Adds a play; one that waited in vain says nothing.
    pub fn note(&mut self, reference: &Transcript) {
        if !reference.timeouts.is_empty() {
            return;
        }
        for (step, lines) in steps(&reference.lines) {
            self.by_step.entry(step).or_default().insert(lines);
        }
    }

    /// Whether the reference has recorded, at every step, in one of its plays, what the candidate did; where its plays
    /// differ, its order does not count.
    pub fn explain(&self, candidate: &Transcript) -> bool {
        let found = steps(&candidate.lines);
        let has_every_step = self.by_step.keys().all(|step| {
            // A heading such as "at the end" stands only where something came.
            found.contains_key(step) || !step.starts_with("line ")
        });
        has_every_step && found.iter().all(|(step, lines)| self.is_known(step, lines))
    }

    fn is_known(&self, step: &str, lines: &[String]) -> bool {
        let Some(variants) = self.by_step.get(step) else { return false };
        let is_unsteady = variants.len() > 1;
        variants.contains(lines)
            || (is_unsteady && variants.iter().any(|variant| unordered(variant) == unordered(lines)))
    }
}

fn steps(lines: &[String]) -> Steps {
    let mut steps = Steps::new();
    let mut step = "";
    for line in lines {
        if line.starts_with(' ') {
            steps.entry(step.to_owned()).or_default().push(line.clone());
        } else {
            step = line;
            steps.entry(step.to_owned()).or_default();
        }
    }
    steps
}

/// The lines without their order, and without the places of array elements in paths.
fn unordered(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| without_places(line)).collect();
    lines.sort();
    lines
}

fn without_places(line: &str) -> String {
    let (path, value) = line.split_once(" = ").unwrap_or(("", line));
    let mut plain = String::new();
    let mut is_inside = false;
    for c in path.chars() {
        is_inside &= c != ']';
        if !is_inside {
            plain.push(c);
        }
        is_inside |= c == '[';
    }
    format!("{plain} = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(lines: &[&str]) -> Transcript {
        let lines = lines.iter().map(|line| (*line).to_string()).collect();
        Transcript { lines, ..Transcript::default() }
    }

    fn variants(plays: &[&[&str]]) -> Variants {
        let mut variants = Variants::default();
        plays.iter().for_each(|play| variants.note(&transcript(play)));
        variants
    }

    #[test]
    fn what_the_reference_did_in_some_play_is_right_at_its_step_only() {
        let variants =
            variants(&[&["line 1: a", "    1", "line 2: b"], &["line 1: a", "    2", "line 2: b"]]);
        assert!(variants.explain(&transcript(&["line 1: a", "    2", "line 2: b"])));
        assert!(!variants.explain(&transcript(&["line 1: a", "    3", "line 2: b"])));
        assert!(!variants.explain(&transcript(&["line 1: a", "    1", "line 2: b", "    2"])));
        assert!(!variants.explain(&transcript(&["line 1: a", "    1"])));
    }

    #[test]
    fn order_does_not_count_where_the_reference_has_none() {
        let one = [
            "line 1: get",
            "    .list[0].name = \"a\"",
            "    .list[1].name = \"b\"",
            "    .list[2].name = \"c\"",
        ];
        let other = [
            "line 1: get",
            "    .list[0].name = \"b\"",
            "    .list[1].name = \"a\"",
            "    .list[2].name = \"c\"",
        ];
        let third = [
            "line 1: get",
            "    .list[0].name = \"c\"",
            "    .list[1].name = \"a\"",
            "    .list[2].name = \"b\"",
        ];
        let fault = ["line 1: get", "    .list[0].name = \"c\"", "    .list[1].name = \"a\""];
        assert!(!variants(&[&one, &one]).explain(&transcript(&third)));
        assert!(variants(&[&one, &other]).explain(&transcript(&third)));
        assert!(!variants(&[&one, &other]).explain(&transcript(&fault)));
    }

    #[test]
    fn a_play_that_waited_in_vain_says_nothing() {
        let mut variants = Variants::default();
        let timed_out = Transcript { timeouts: vec!["x".to_string()], ..transcript(&["line 1: a"]) };
        variants.note(&timed_out);
        assert!(!variants.explain(&transcript(&["line 1: a"])));
    }
}
