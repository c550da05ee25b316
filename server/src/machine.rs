//! What the machine, or the part of it that this process may use, has.

use std::fs;
use std::path::Path;

/// Memory that this process may use, in bytes: that of the machine, or the limit of a control group that the process is
/// in, or that of the variable `GOMEMLIMIT`, which nats-server heeds, where one of these is lower.
pub(crate) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the width of the field differs between platforms")]
    let machine = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit));
    let group = group_limit_bytes(Path::new("/"));
    let variable = std::env::var("GOMEMLIMIT").ok().and_then(|text| go_bytes(&text));
    if let Some(bytes) = variable.filter(|bytes| *bytes < machine) {
        let shown = jetkv_go_compat::friendly_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        tracing::debug!("JetStream detected GOMEMLIMIT of {shown}");
    }
    [group, variable].into_iter().flatten().fold(machine, u64::min)
}

/// The lowest memory limit of the control groups that this process is in, of version 1 or 2. `root` is `/` but in tests.
fn group_limit_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| limit_of_line(root, line)).min()
}

/// The lowest limit of a group and those above it. A line is `number:controllers:path`; version 2 has no controllers.
fn limit_of_line(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let mount = root.join(mount);
    // A container often sees its own group as the root, under a path that it does not see.
    let group = mount.join(path.trim_start_matches('/'));
    let above = group.ancestors().take_while(|dir| dir.starts_with(&mount));
    // Where there is no limit there is a word, or a number larger than any machine.
    above.filter_map(|dir| fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()).min()
}

/// A number of bytes as Go's runtime reads it from `GOMEMLIMIT`; `None` for no limit.
fn go_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        group_limit_bytes(root(files).path())
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_it_counts() {
        let groups = ("proc/self/cgroup", "0::/a/b\n");
        let [root, a, b] = ["", "a/", "a/b/"].map(|dir| format!("sys/fs/cgroup/{dir}memory.max"));
        assert_eq!(limit(&[groups, (&root, "300\n"), (&a, "100\n"), (&b, "200\n")]), Some(100));
        assert_eq!(limit(&[groups, (&a, "max\n"), (&b, "200\n")]), Some(200));
        assert_eq!(limit(&[groups, (&b, "max\n")]), None);
        assert_eq!(limit(&[groups, (&root, "300\n")]), Some(300), "a group that a container does not see");
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn groups_of_version_1_have_their_own_place() {
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n");
        assert_eq!(limit(&[groups, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500\n")]), Some(500));
        assert_eq!(limit(&[groups, ("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "500\n")]), None);
    }

    #[test]
    fn limits_of_go_have_units() {
        for (text, bytes) in [
            ("1000", Some(1000)),
            ("7B", Some(7)),
            ("2KiB", Some(2048)),
            ("3GiB", Some(3 << 30)),
            ("off", None),
            ("1GB", None),
            ("99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(go_bytes(text), bytes, "{text}");
        }
    }
}
