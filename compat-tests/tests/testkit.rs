//! The helpers for tests in other languages, over the real clients of these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jetkv_compat_tests::clients::{EXPIRY, observe};
use jetkv_compat_tests::oracle::{Tool, Toolbox, jetkv};
use jetkv_compat_tests::testkit::{Language, run};

#[test]
fn python_tests_move_the_clock() {
    run(Language::Python).unwrap();
}

#[test]
fn javascript_tests_move_the_clock() {
    run(Language::JavaScript).unwrap();
}

#[test]
fn go_tests_move_the_clock() {
    run(Language::Go).unwrap();
}

#[test]
fn java_tests_move_the_clock() {
    run(Language::Java).unwrap();
}

#[test]
fn keys_of_the_rust_client_expire_when_the_clock_is_moved() {
    // None is a skip, reported by the toolbox.
    let Some(launch) = Toolbox::default().require(Tool::Rust).unwrap() else { return };
    let (seen, outcome) = observe(&launch, &jetkv().unwrap(), EXPIRY);
    let lines = seen.of(EXPIRY);
    outcome.unwrap_or_else(|error| panic!("{error}\n{lines:?}"));
    assert_eq!(lines.iter().filter(|line| line.contains("passed")).count(), 5, "{lines:?}");
    assert_eq!(lines.len(), 5, "{lines:?}");
}
