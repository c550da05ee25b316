//! The file with the process id. It stays when the server ends, as on nats-server.

use std::path::Path;

use crate::options::os_text;

/// Writes the process id. The error is the reason in the words of nats-server's log lines.
pub fn write(path: &Path) -> Result<(), String> {
    std::fs::write(path, std::process::id().to_string())
        .map_err(|error| format!("open {}: {}", path.display(), os_text(&error)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn holds_the_process_id_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        super::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn the_reason_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none").join("pid");
        let reason = format!("open {}: no such file or directory", path.display());
        assert_eq!(super::write(&path), Err(reason));
    }
}
