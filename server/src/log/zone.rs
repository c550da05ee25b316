//! The time zone of this machine, found as Go finds it.
//!
//! It is one file. To ask a database of zones for it would walk the directory of all of them at every start.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;

/// The zone where nothing names another.
const LOCAL: &str = "/etc/localtime";
/// Where zones are, by name.
const DIRECTORIES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];

/// The zone that the environment variable `TZ` names, or that of the machine where it is not set; UTC where there is none,
/// which an empty name means, too.
pub(crate) fn local() -> TimeZone {
    named(std::env::var_os("TZ").as_deref()).unwrap_or(TimeZone::UTC)
}

fn named(name: Option<&OsStr>) -> Option<TimeZone> {
    let Some(name) = name else { return read(LOCAL.as_ref()) };
    let name = name.to_str()?;
    let name = name.strip_prefix(':').unwrap_or(name);
    if name.is_empty() || name == "UTC" || name.split('/').any(|part| part == "..") {
        return None;
    }
    if name.starts_with('/') {
        return read(name.as_ref());
    }
    let file = DIRECTORIES.iter().find_map(|directory| read(&Path::new(directory).join(name)));
    // Where the machine has no zones, there are those that are built in.
    file.or_else(|| TimeZone::get(name).ok())
}

fn read(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("Local", &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn offset_secs(zone: Option<TimeZone>) -> Option<i32> {
        zone.map(|zone| zone.to_offset(Timestamp::UNIX_EPOCH).seconds())
    }

    #[test]
    fn a_name_that_says_nothing_is_utc() {
        for name in ["", ":", "UTC", "No/Such/Zone", "../zoneinfo/UTC", "/no/such/file"] {
            assert_eq!(offset_secs(named(Some(name.as_ref()))), None, "{name}");
        }
    }

    /// The file of a zone that is an hour and a half ahead, and nothing else.
    fn ahead() -> Vec<u8> {
        let counts = [0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
        let header = [b"TZif2".as_slice(), &[0; 15], &counts].concat();
        let zone = [&5400_i32.to_be_bytes()[..], &[0, 0], b"AHD\0"].concat();
        [&header, &zone, &header, &zone, &b"\nAHD-1:30\n"[..]].concat()
    }

    #[test]
    fn a_file_is_read_by_its_path_with_a_colon_or_without() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone");
        fs::write(&path, ahead()).unwrap();
        let path = path.to_str().unwrap();
        for name in [path.to_owned(), format!(":{path}")] {
            assert_eq!(offset_secs(named(Some(name.as_ref()))), Some(5400), "{name}");
        }
        fs::write(path, "no zone").unwrap();
        assert_eq!(offset_secs(named(Some(path.as_ref()))), None);
    }
}
