//! The log file: appended to, and replaced by a new one when it grows too large.
//!
//! Names and wording of rotated files are those of nats-server v2.15.2, observed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::{Label, Layout};
use super::writer::line;
use super::zone;
use jetkv_go_compat::os_text;
use jetkv_go_compat::quoted;

/// The log may hold what users sent: others may not read it.
const PERMISSIONS: u32 = 0o640;

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    /// 0: never rotated.
    limit_bytes: u64,
    /// Rotated files to keep, counting the current one. 0: all.
    max_num: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path, limit_bytes: u64, max_num: u64) -> io::Result<Self> {
        let file = append_to(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size_bytes, limit_bytes, max_num })
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.limit_bytes > 0 && self.size_bytes > self.limit_bytes
    }

    /// Appends text that is laid out already. A full disk loses the text and nothing else.
    pub(super) fn write(&mut self, text: &str, layout: &Layout) {
        self.append(text);
        if self.is_over_limit() {
            self.rotate(layout);
        }
    }

    fn append(&mut self, text: &str) {
        if self.file.write_all(text.as_bytes()).is_ok() {
            self.size_bytes += text.len() as u64;
        }
    }

    fn report(&mut self, label: Label, text: String, layout: &Layout) {
        let mut laid_out = String::new();
        layout.append(&line(label, text), &mut laid_out);
        self.append(&laid_out);
    }

    fn rotate(&mut self, layout: &Layout) {
        let now = zone::local().to_datetime(jiff::Timestamp::now());
        let backup = format!(
            "{}.{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
            self.path.display(),
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.subsec_nanosecond(),
        );
        let replaced = std::fs::rename(&self.path, &backup).and_then(|()| append_to(&self.path));
        match replaced {
            Ok(file) => {
                self.file = file;
                self.size_bytes = 0;
                let text = format!("Rotated log, backup saved as {}", quoted(&backup));
                self.report(Label::Info, text, layout);
                if self.max_num > 0 {
                    self.purge(layout);
                }
            }
            Err(error) => {
                // The old file is still open; it is tried again when it has doubled.
                self.limit_bytes = self.limit_bytes.saturating_mul(2);
                let text = format!(
                    "Unable to rotate logfile ({}), will attempt next rotation at size {}",
                    os_text(&error),
                    self.limit_bytes
                );
                self.report(Label::Error, text, layout);
            }
        }
    }

    /// Removes the oldest rotated files that are too many.
    fn purge(&mut self, layout: &Layout) {
        let mut backups = match self.backups() {
            Ok(backups) => backups,
            Err(error) => {
                let text = format!(
                    "Unable to read directory for log purge ({}), will attempt next rotation",
                    os_text(&error)
                );
                self.report(Label::Error, text, layout);
                return;
            }
        };
        // The time in the name sorts as text.
        backups.sort();
        let keep = usize::try_from(self.max_num - 1).unwrap_or(usize::MAX);
        let surplus = backups.len().saturating_sub(keep);
        for backup in backups.into_iter().take(surplus) {
            let name = quoted(&backup);
            match std::fs::remove_file(self.path.with_file_name(&backup)) {
                Ok(()) => self.report(Label::Info, format!("Purged log file {name}"), layout),
                Err(error) => {
                    let text = format!(
                        "Unable to remove backup log file {name} ({}), will attempt next rotation",
                        os_text(&error)
                    );
                    self.report(Label::Error, text, layout);
                    return;
                }
            }
        }
    }

    /// Names of rotated files beside the current one.
    fn backups(&self) -> io::Result<Vec<String>> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let prefix = format!("{}.", self.path.file_name().unwrap_or_default().to_string_lossy());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_backup = name.strip_prefix(&prefix).is_some_and(is_stamp);
            if is_backup && !entry.file_type()?.is_dir() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(PERMISSIONS).open(path)
}

/// Whether text is `YYYY.MM.DD.HH.MM.SS.NNNNNNNNN`.
fn is_stamp(text: &str) -> bool {
    let widths = [4, 2, 2, 2, 2, 2, 9];
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == widths.len()
        && parts
            .iter()
            .zip(widths)
            .all(|(part, width)| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))
}
