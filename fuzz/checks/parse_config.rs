//! What holds for any text of a configuration file. Shared by the fuzz target and the test that replays its corpus.

use jetkv::options::Options;

/// Panics when a text breaks an invariant of the configuration's grammar and of what is read from its tree.
pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Other files are not the fuzzer's.
    if text.to_ascii_lowercase().contains("include") {
        return;
    }
    let read = |text: &str| match Options::from_config_text(text) {
        Ok(options) => format!("{options:?}"),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.trim().is_empty(), "an error without a word");
            error
        }
    };
    assert_eq!(read(&text), read(&text), "the same text");
}
