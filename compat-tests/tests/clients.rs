//! The KV scenario list through each official client library, on nats-server and on JetKV.
//!
//! `JETKV_CLIENT_SCENARIO` names one scenario to run instead of all; `JETKV_BIN=<nats-server>` runs the reference against
//! itself, which checks the drivers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jetkv_compat_tests::clients::compare;
use jetkv_compat_tests::oracle::{Tool, Toolbox};

fn run(tool: Tool) {
    let toolbox = Toolbox::default();
    let Some((reference, candidate)) = toolbox.servers().unwrap() else { return };
    // None is a skip, reported by the toolbox.
    let only = std::env::var("JETKV_CLIENT_SCENARIO").ok();
    if let Some(difference) = compare(tool, &toolbox, &reference, &candidate, only.as_deref()).unwrap() {
        assert!(difference.is_empty(), "the {} client saw a difference:\n{difference}", tool.name());
    }
}

#[test]
fn the_go_client_sees_no_difference() {
    run(Tool::Go);
}

#[test]
fn the_rust_client_sees_no_difference() {
    run(Tool::Rust);
}

#[test]
fn the_python_client_sees_no_difference() {
    run(Tool::Python);
}

#[test]
fn the_javascript_client_sees_no_difference() {
    run(Tool::JavaScript);
}

#[test]
fn the_java_client_sees_no_difference() {
    run(Tool::Java);
}

#[test]
fn the_c_client_sees_no_difference() {
    run(Tool::C);
}
