//! The helpers for tests in other languages, over the real clients of these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
