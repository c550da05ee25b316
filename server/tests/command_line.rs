//! What the program prints and how it ends when it does not run a server. Measured on nats-server v2.15.2.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jetkv")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_version_is_that_of_the_server_it_stands_in_for() {
    for arguments in [["-v"], ["--version"], ["-version"], ["version"], ["VERSION"]] {
        let output = run(&arguments);
        assert_eq!(text(&output.stdout), "nats-server: v2.15.2\n");
        // Beside it, so that who reads the version that it stands in for reads nothing else.
        assert_eq!(text(&output.stderr), concat!("jetkv: v", env!("CARGO_PKG_VERSION"), "\n"));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn help_names_every_flag() {
    let asked = run(&["--help"]);
    assert_eq!(asked.status.code(), Some(0));
    assert_eq!(text(&asked.stdout), text(&run(&["help"]).stdout));
    for flag in ["--port", "--store_dir", "-DVV", "--signal", "--routes", "--tlsverify", "Example:"] {
        assert!(text(&asked.stdout).contains(flag), "{flag}");
    }
}

#[test]
fn a_wrong_flag_shows_the_usage_and_ends_without_failure() {
    for (argument, line) in [
        ("-foo", "flag provided but not defined: -foo\n"),
        ("-p", "flag needs an argument: -p\n"),
        ("-p=x", "invalid value \"x\" for flag -p: parse error\n"),
        ("-D=x", "invalid boolean value \"x\" for -D: parse error\n"),
        ("---x", "bad flag syntax: ---x\n"),
    ] {
        let output = run(&[argument]);
        assert_eq!(text(&output.stderr), line);
        assert!(text(&output.stdout).starts_with("\nUsage: nats-server [options]"));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn what_cannot_be_done_ends_with_one_line_and_a_failure() {
    let cases: [(&[&str], &str); 12] = [
        (&["serve"], "unrecognized command: \"serve\""),
        (&["-"], "unrecognized command: \"-\""),
        (&["-t"], "must specify [-c, --config] option to check configuration file syntax"),
        (&["-c", "missing/x"], "open missing/x: no such file or directory"),
        (&["-sl", "foo=1"], "unknown signal \"foo\""),
        (&["--signal", "stop=a=b"], "invalid signal parameters: [b]"),
        (&["--signal=stop=abc"], "invalid pid: abc"),
        (
            &["--cluster", "nats://x:1", "--routes", "nats://y:1"],
            "option --routes is not supported by JetKV yet",
        ),
        (&["--profile", "1"], "option --profile is not supported by JetKV: the profiles are of Go's runtime"),
        (&["--tls=true"], "TLS Server certificate must be present and valid"),
        (&["-ms", "1"], "Can't start monitoring: TLS cert and key required for HTTPS"),
        (&["-n", "a b"], "server name cannot contain spaces"),
    ];
    for (arguments, line) in cases {
        let output = run(arguments);
        assert_eq!(text(&output.stderr), format!("nats-server: {line}\n"), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn options_that_contradict_each_other_are_refused_at_start_and_by_a_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.conf");
    let path = file.to_str().unwrap();
    for (config, line) in [
        (
            "max_payload: 100MB\nmax_pending: 10MB",
            "max_payload (104857600) cannot be higher than max_pending (10485760)",
        ),
        (
            "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"40s\"",
            "lame duck grace period (40s) should be strictly lower than lame duck duration (30s)",
        ),
        ("system_account: FOO", "error resolving system account: account missing"),
        ("no_auth_user: foo", "no_auth_user: \"foo\" present, but users/nkeys are not defined"),
        (
            "no_auth_user: foo\nauthorization { users: [ {user: a, password: b} ] }",
            "no_auth_user: \"foo\" not present as user or nkey in authorization block or account configuration",
        ),
        ("jetstream {domain: \"a.b\"}", "invalid domain name: may not contain ., * or >"),
        (
            "jetstream {domain: \"a b\"}",
            "invalid domain name: derived \"$JS.a b.API.>\" is not a valid subject",
        ),
        (
            "default_js_domain: { A: b }",
            "in non operator mode, `default_js_domain` references non existing account \"A\"",
        ),
    ] {
        std::fs::write(&file, config).unwrap();
        let started = run(&["-c", path, "-p", "-1"]);
        assert_eq!(text(&started.stderr), format!("nats-server: {line}\n"));
        assert_eq!(started.status.code(), Some(1));
        let checked = run(&["-t", "-c", path]);
        assert_eq!(text(&checked.stderr), format!("nats-server: {line}\n"));
        assert_eq!(checked.status.code(), Some(1));
    }
}

#[test]
fn flags_are_compared_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.conf");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "jetstream { store_dir: \"/x\" }").unwrap();
    let output = run(&["-c", path, "-sd", "/y", "-t"]);
    assert_eq!(
        text(&output.stderr),
        format!("nats-server: {path}:1:12: Duplicate 'store_dir' configuration\n\n")
    );
    std::fs::write(&file, "accounts { A: { users: [ {user: a, password: b} ] } }").unwrap();
    let output = run(&["-c", path, "--user", "x", "--pass", "y", "-t"]);
    assert_eq!(
        text(&output.stderr),
        format!("nats-server: {path}:1:16: Can not have a single user/pass and accounts\n\n")
    );
}
