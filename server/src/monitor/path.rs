//! Paths with something in them that leads nowhere, or back.

/// The path without empty parts and without parts that are `.` or `..`, as Go's HTTP server sends whoever asks for one with
/// them to it; `None` where it is that already. A slash at the end stays.
pub(super) fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && !parts.is_empty() {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::cleaned;

    #[test]
    fn parts_that_lead_nowhere_are_taken_out() {
        for (path, clean) in [
            ("//varz", "/varz"),
            ("/x/../varz", "/varz"),
            ("/./varz/", "/varz/"),
            ("/../..", "/"),
            ("/a//b/.", "/a/b"),
            ("//", "/"),
        ] {
            assert_eq!(cleaned(path).as_deref(), Some(clean), "{path}");
        }
        for path in ["/", "/varz", "/varz/", "/a/b", "/...", "/%2e%2e/x"] {
            assert_eq!(cleaned(path), None, "{path}");
        }
    }
}
