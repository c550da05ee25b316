//! The file with the process id. It stays when the server ends, as on nats-server.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jetkv_go_compat::os_text;

/// Nobody but the user that the server runs as reads a new file.
const MODE: u32 = 0o600;

/// Writes the process id. The error is the reason in the words of nats-server's log lines.
pub(crate) fn write(path: &Path) -> Result<(), String> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path);
    open.and_then(|mut file| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(|error| format!("open {}: {}", path.display(), os_text(&error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn holds_the_process_id_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        super::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, super::MODE);
    }

    #[test]
    fn the_reason_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none").join("pid");
        let reason = format!("open {}: no such file or directory", path.display());
        assert_eq!(super::write(&path), Err(reason));
    }
}
