//! Errors of the operating system as Go prints them.

use std::io;

/// How C libraries other than glibc word what Go words like glibc.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("address in use", "address already in use"),
    ("address not available", "cannot assign requested address"),
    ("i/o error", "input/output error"),
    ("no file descriptors available", "too many open files"),
    ("operation timed out", "connection timed out"),
    ("quota exceeded", "disk quota exceeded"),
];

/// The error in Go's words, without the system's number: `no such file or directory`.
///
/// What was attempted, and with what, stands in front of it: `open x: no such file or directory`.
pub fn os_text(error: &io::Error) -> String {
    in_go_words(&error.to_string())
}

fn in_go_words(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    let text = match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    };
    let other = OTHER_WORDS.iter().find(|(other, _)| text.eq_ignore_ascii_case(other));
    other.map_or(text, |(_, go)| (*go).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{in_go_words, os_text};
    use std::io;

    #[test]
    fn a_number_of_the_system_has_the_words_that_go_has_for_it() {
        for (number, expected) in [
            (1, "operation not permitted"),
            (2, "no such file or directory"),
            (5, "input/output error"),
            (11, "resource temporarily unavailable"),
            (13, "permission denied"),
            (17, "file exists"),
            (20, "not a directory"),
            (21, "is a directory"),
            (23, "too many open files in system"),
            (24, "too many open files"),
            (27, "file too large"),
            (28, "no space left on device"),
            (30, "read-only file system"),
            (98, "address already in use"),
            (99, "cannot assign requested address"),
            (104, "connection reset by peer"),
            (110, "connection timed out"),
            (111, "connection refused"),
            (122, "disk quota exceeded"),
        ] {
            #[cfg(target_os = "linux")]
            assert_eq!(os_text(&io::Error::from_raw_os_error(number)), expected, "{number}");
            let _ = (number, expected);
        }
    }

    #[test]
    fn other_libraries_and_other_errors_read_the_same_way() {
        for (text, expected) in [
            ("Address in use (os error 98)", "address already in use"),
            ("I/O error (os error 5)", "input/output error"),
            ("No file descriptors available (os error 24)", "too many open files"),
            ("Something of ours", "something of ours"),
            ("", ""),
        ] {
            assert_eq!(in_go_words(text), expected);
        }
        assert_eq!(os_text(&io::Error::other("The end")), "the end");
    }
}
