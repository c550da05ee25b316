//! The errors of nats-server's JetStream API, number by number: the case that shows both servers answering with it, or
//! why none does. The table is `errors.toml`; `compat errors` plays the scenarios and fills in the cases.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;

use crate::Result;
use crate::transcript::compare::SeenErrors;
use crate::transcript::scenario::Case;

/// One error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRow {
    /// Its number.
    pub err_code: u16,
    /// Its text, with placeholders.
    pub text: String,
    /// A case whose transcript holds it, the same on both servers.
    #[serde(default)]
    pub case: String,
    /// Why no case holds it.
    #[serde(default)]
    pub reason: String,
}

/// All errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorTable {
    /// In order of their numbers.
    pub error: Vec<ErrorRow>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("errors.toml")
}

/// Reads `errors.toml`.
///
/// # Errors
/// When it cannot be read or parsed.
pub fn read() -> Result<ErrorTable> {
    let path = path();
    let text = std::fs::read_to_string(&path)?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

impl ErrorTable {
    /// Takes over what a run over these cases saw, and writes the table. What cases show that were not played stays.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, played: &[Case], seen: &SeenErrors) -> Result<()> {
        let was_played = |name: &str| played.iter().any(|case| case.name == name);
        for row in &mut self.error {
            let cases = seen.get(&row.err_code);
            let is_current = cases.is_some_and(|cases| cases.contains(&row.case));
            if !is_current && (row.case.is_empty() || was_played(&row.case)) {
                row.case = cases.and_then(|cases| cases.first().cloned()).unwrap_or_default();
            }
        }
        let mut text = String::from(
            "# The errors of nats-server's JetStream API. `compat errors` fills in `case`; `reason` says why there is none.\n",
        );
        for row in &self.error {
            let _ = write!(text, "\n[[error]]\nerr_code = {}\ntext = {:?}\n", row.err_code, row.text);
            if !row.case.is_empty() {
                let _ = writeln!(text, "case = {:?}", row.case);
            } else if !row.reason.is_empty() {
                let _ = writeln!(text, "reason = {:?}", row.reason);
            }
        }
        Ok(std::fs::write(path(), text)?)
    }

    /// What a run over the scenarios of `topic` should have seen and did not.
    pub fn missing(&self, topic: &str, seen: &SeenErrors) -> Vec<String> {
        let of_topic = |row: &&ErrorRow| row.case.starts_with(&format!("{topic}/"));
        self.error
            .iter()
            .filter(of_topic)
            .filter(|row| !seen.get(&row.err_code).is_some_and(|cases| cases.contains(&row.case)))
            .map(|row| format!("{}: error {} does not show", row.case, row.err_code))
            .collect()
    }

    /// Rows without a case and without a reason.
    pub fn faults(&self) -> Vec<String> {
        let unexplained = |row: &&ErrorRow| row.case.is_empty() && row.reason.is_empty();
        self.error
            .iter()
            .filter(unexplained)
            .map(|row| format!("error {}: no case, no reason", row.err_code))
            .collect()
    }

    /// How many errors a case shows, and how many there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.error.iter().filter(|row| !row.case.is_empty()).count(), self.error.len())
    }

    /// The section of `docs/scoreboard.md`.
    pub fn render(&self) -> String {
        let (shown, known) = self.counts();
        let mut page = format!(
            "## Errors of the JetStream API\n\n{shown} of nats-server's {known} errors are shown by cases in which both \
             servers answer alike.\n\n| err_code | text | shown by, or why not |\n|---|---|---|\n"
        );
        for row in &self.error {
            let proof =
                if row.case.is_empty() { format!("*{}*", row.reason) } else { row.case.replace('|', "\\|") };
            let _ = writeln!(page, "| {} | {} | {proof} |", row.err_code, row.text);
        }
        page
    }
}
