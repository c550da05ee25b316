//! House rules that a program can check, over all files that git knows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;

use jetkv_compat_tests::transcript::normalise::Normaliser;
use jetkv_compat_tests::transcript::{difference, scenario};
use jetkv_compat_tests::{scenario_root, scoreboard, workspace_root};

const LINES_MAX: usize = 600;
/// Extensions of source files, the drivers' languages among them.
const SOURCES: [&str; 7] = ["rs", "go", "py", "mjs", "java", "c", "h"];

/// Files of the repository, less lock files.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace_root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter(|name| !name.ends_with(".lock") && !name.ends_with("go.sum"))
        .map(|name| workspace_root().join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// Texts with their paths; files that are not UTF-8 are data.
fn texts() -> Vec<(PathBuf, String)> {
    files()
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
        .collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Whether a file of Rust holds nothing but tests.
fn is_test(path: &Path) -> bool {
    let is_within = path.components().any(|part| part.as_os_str() == "tests");
    has_extension(path, "rs") && (is_within || path.ends_with("tests.rs"))
}

/// Fails with all places where `wrong` finds something in a line.
fn assert_no_line(what: &str, applies: impl Fn(&Path) -> bool, wrong: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| applies(path)) {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| wrong(line)) {
            found.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
        }
    }
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// A word in two parts, so that this file does not hold it.
fn word(first: &str, second: &str) -> String {
    format!("{first}{second}")
}

#[test]
fn source_files_are_short() {
    let long: Vec<String> = texts()
        .into_iter()
        .filter(|(path, _)| SOURCES.iter().any(|extension| has_extension(path, extension)))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        word("todo", "!("),
        word("unimplemented", "!("),
        word("FIX", "ME"),
        word("TO", "DO"),
        word("X", "XX "),
        word("HA", "CK"),
    ];
    assert_no_line(
        "marks of unfinished work",
        |path| has_extension(path, "rs"),
        |line| marks.iter().any(|mark| line.contains(mark)),
    );
}

#[test]
fn no_registry_is_named() {
    let hosts = [
        word("crates", ".io"),
        word("npmjs", ".org"),
        word("npmjs", ".com"),
        word("pypi", ".org"),
        word("pythonhosted", ".org"),
        word("proxy.golang", ".org"),
        word("sum.golang", ".org"),
        word("maven.apache", ".org/maven2"),
        word("maven", ".org"),
        word("deb.debian", ".org"),
    ];
    assert_no_line(
        "hosts of package registries",
        |_| true,
        |line| hosts.iter().any(|host| line.contains(host)),
    );
}

#[test]
fn no_machine_is_assumed() {
    let places = [word("/wo", "rk/"), word("/ro", "ot/"), word("/ho", "me/")];
    assert_no_line("paths of a machine", |_| true, |line| places.iter().any(|place| line.contains(place)));
}

/// A path that a test takes for missing, or for its own, may be there on another machine; below a folder of its own it is
/// what the test made. What every machine has (`/dev/null`, `/proc`) is not meant.
#[test]
fn tests_use_only_paths_that_they_made() {
    let roots = ["nonexistent", "no", "none", "nowhere", "missing", "tmp", "var", "opt", "etc"];
    let within = roots.iter().map(|root| word("/", root) + "/");
    // By themselves these are no words of anything else.
    let alone = ["nonexistent", "tmp", "var", "opt", "etc"].iter().map(|root| word("/", root));
    let roots: Vec<String> = within.chain(alone).collect();
    let is_path = |line: &str| {
        roots.iter().any(|root| {
            line.match_indices(root.as_str()).any(|(at, found)| {
                let before = line.get(..at).and_then(|before| before.chars().next_back());
                let after = line.get(at + found.len()..).and_then(|after| after.chars().next());
                // A path begins there, not in the middle of a longer one; and it ends, or goes on below.
                before.is_none_or(|c| matches!(c, ' ' | '"' | '\'' | '=' | '/'))
                    && (root.ends_with('/') || after.is_none_or(|c| matches!(c, ' ' | '"' | '\'' | ',')))
            })
        })
    };
    assert_no_line(
        "paths that no test made",
        |path| {
            let is_scenario = path.starts_with(scenario_root()) && has_extension(path, "txt");
            is_scenario || is_test(path)
        },
        is_path,
    );
}

/// A port that a scenario names may be in use: it says `-1`, or the port is one of its own (`${port.nats}`). Where a
/// configuration is only looked at, nobody listens.
#[test]
fn scenarios_listen_only_on_free_ports() {
    let is_port = |value: &str| {
        let port = value.rsplit(':').next().unwrap_or_default();
        port.parse::<u64>().is_ok_and(|port| (1..=u64::from(u16::MAX)).contains(&port))
    };
    let told = |line: &str, keys: &[&str], ends: &[char]| {
        keys.iter().any(|key| {
            line.match_indices(key).any(|(at, _)| {
                let is_word = line.get(..at).is_some_and(|before| !before.ends_with(char::is_alphanumeric));
                let rest = line.get(at + key.len()..).unwrap_or_default();
                let value = rest.trim_start_matches(['"', '\'', ':', '=', ' ']).split(ends).next();
                is_word && value.is_some_and(|value| !value.starts_with("//") && is_port(value))
            })
        })
    };
    let by_flag = |line: &str| {
        let flags = ["-p ", "-m ", "-ms ", "--port ", "--http_port ", "--https_port ", "--addr_port "];
        (line.starts_with("run ") || line.starts_with("server:")) && told(line, &flags, &[' ', ',', '}'])
    };
    // `websocket { port: 1 }`, `listen = "127.0.0.1:1"`.
    let keys = ["port", "listen", "http", "https", "http_port", "https_port", "net"];
    let keys: Vec<String> =
        keys.iter().flat_map(|key| [": ", ":", " = ", "=", " "].map(|sign| format!("{key}{sign}"))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let by_config =
        |line: &str| line.starts_with(' ') && told(line, &keys, &['"', '\'', ' ', ',', '}', '\n']);
    let is_scenario = |path: &Path| path.starts_with(scenario_root()) && has_extension(path, "txt");
    let is_started = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().any(|line| line.starts_with("run ") && !line.contains("-t "))
            || !text.contains("start: no")
    };
    assert_no_line("ports that may be in use", |path| is_scenario(path), by_flag);
    assert_no_line("ports that may be in use", |path| is_scenario(path) && is_started(path), by_config);
    assert!(by_flag("run -p 4222") && !by_flag("run -p -1") && by_config("  listen: \"127.0.0.1:4222\""));
    assert!(
        by_config("  a | websocket { port = 80 }") && !by_config("  port: -1, http: 127.0.0.1:${port.nats}")
    );
}

/// The threads that serve connections have no timers, and a task that makes one there ends in a panic.
#[test]
fn timers_of_the_server_are_made_where_there_are_some() {
    let on_the_thread_with_timers = [
        "claimed/expiry.rs",
        "claimed/http.rs",
        "events/heartbeat.rs",
        "jetstream/alarm.rs",
        "lifecycle/lame_duck.rs",
        "monitor/mod.rs",
        "crossing/mod.rs",
        "timers.rs",
        "unserved.rs",
        // On a runtime of their own.
        "tester/toxics/line.rs",
        "tester/toxics/mod.rs",
    ];
    let server = workspace_root().join("server/src");
    let calls = ["sleep", "sleep_until", "timeout", "timeout_at", "interval"];
    let calls = calls.map(|call| word("tokio::time::", call) + "(");
    assert_no_line(
        "timers made on a thread without any: `Shared::timers` makes them elsewhere",
        |path| {
            let within = path.strip_prefix(&server);
            within.is_ok_and(|within| {
                !on_the_thread_with_timers.iter().any(|known| within == Path::new(known))
                    && !within.to_string_lossy().ends_with("tests.rs")
            })
        },
        |line| calls.iter().any(|call| line.contains(call)),
    );
}

/// A pause is right on one machine and too short on the next; `jetkv_testing::until` looks until there is what is waited for.
#[test]
fn tests_wait_for_conditions() {
    // A client that takes its time is what it shows.
    let about_time = workspace_root().join("server/tests/attacks/slow.rs");
    let calls = ["thread::sleep", "sleep_ms", "time::sleep"].map(|call| word(call, "("));
    assert_no_line(
        "a pause instead of a wait",
        |path| is_test(path) && *path != about_time,
        |line| calls.iter().any(|call| line.contains(call)),
    );
}

#[test]
fn a_test_that_is_ignored_says_why() {
    let ignored = regex_lite::Regex::new(r"^\s*#\[(cfg_attr\(.*, *)?ignore\b").unwrap();
    let reason = regex_lite::Regex::new(r#"\bignore = "[^"]"#).unwrap();
    let is_wrong = |line: &str| ignored.is_match(line) && !reason.is_match(line);
    assert_no_line("ignored without a reason", |path| has_extension(path, "rs"), is_wrong);
    assert!(is_wrong("    #[ignore]") && is_wrong("#[cfg_attr(miri, ignore)]"));
    assert!(!is_wrong("#[ignore = \"takes an hour\"]"));
}

#[test]
fn every_scenario_parses() {
    let cases = scenario::read_all(&scenario_root()).unwrap();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    let twice: Vec<&&str> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    assert!(twice.is_empty(), "names that are not unique: {twice:?}");
    assert!(cases.len() >= 400, "only {} cases", cases.len());
    let unsaid: Vec<&str> = cases
        .iter()
        .filter(|case| case.differs.is_some() && case.difference.is_empty())
        .map(|case| case.name.as_str())
        .collect();
    assert!(
        unsaid.is_empty(),
        "what differs is not written down, `compat play --record` does it: {unsaid:?}"
    );
    for file in files().iter().filter(|path| has_extension(path, "diff")) {
        let scenario = file.with_extension("txt");
        let cases = scenario::read_all(&scenario).unwrap();
        assert!(difference::is_current(&scenario, &cases), "{}: run `compat play --record`", file.display());
    }
}

/// A mask for ids that takes words, too, hides names of fields, their values, and what differs in them.
#[test]
fn masks_leave_words_alone() {
    let words = ["limits", "metadata", "subjects", "transforms", "consumer_count", "Acknowledgments"];
    let hides = |mask: &str| {
        let normaliser = Normaliser::new(&[], &[], &[mask.to_owned()]).unwrap();
        // By itself, and at either end of a text.
        words.iter().any(|word| {
            let texts = [(*word).to_owned(), format!("{word} of it"), format!("its {word}")];
            texts.iter().any(|text| !normaliser.text(text).contains(word))
        })
    };
    let mut wide: Vec<String> = Vec::new();
    for case in scenario::read_all(&scenario_root()).unwrap() {
        let masks = case.masks.iter().filter(|mask| hides(mask));
        wide.extend(masks.map(|mask| format!("{}: {mask}", case.name)));
    }
    assert!(wide.is_empty(), "masks that hide words:\n{}", wide.join("\n"));
    assert!(hides("[A-Za-z0-9]{8}$") && hides("[a-z_-]{8,}") && !hides(r"_R_\.[0-9A-Za-z]{8}"));
}

#[test]
fn the_scoreboard_is_current() {
    let pages = scoreboard::render(
        &scoreboard::read_table().unwrap(),
        &scoreboard::errors::read().unwrap(),
        &scenario::read_all(&scenario_root()).unwrap(),
    )
    .unwrap();
    assert_eq!(pages.outdated(), [""; 0], "not current; write them with `compat scoreboard`");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| has_extension(path, "md")) {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_local && !path.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}

#[test]
fn files_that_documents_name_are_there() {
    let path = regex_lite::Regex::new(r"`([a-z-]+/(?:src|tests)/[a-z_/.-]+\.(?:rs|toml))`").unwrap();
    let mut missing = Vec::new();
    for (document, text) in texts().into_iter().filter(|(path, _)| has_extension(path, "md")) {
        for named in path.captures_iter(&text).filter(|named| !workspace_root().join(&named[1]).exists()) {
            missing.push(format!("{}: {}", document.display(), &named[1]));
        }
    }
    assert!(missing.is_empty(), "files that are not there:\n{}", missing.join("\n"));
}

/// A walk through the code: an ordered list whose stops begin with a file.
fn walks(page: &str) -> Vec<Vec<String>> {
    let begins = regex_lite::Regex::new(r"^[0-9]+\. `[a-z-]+/src/").unwrap();
    let mut walks: Vec<Vec<String>> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        if begins.is_match(line) {
            if line.starts_with("1. ") {
                walks.push(Vec::new());
            }
            if let Some(walk) = walks.last_mut() {
                walk.push(line.to_owned());
            }
            is_inside = !walks.is_empty();
        } else if is_inside && line.starts_with("   ") {
            let stop = walks.last_mut().and_then(|walk| walk.last_mut()).unwrap();
            stop.push_str(line);
        } else {
            is_inside = false;
        }
    }
    walks
}

/// What a text has between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names that `{a,b}` in a path stands for.
fn spelled_out(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(begin, rest)| Some((begin, rest.split_once('}')?)));
    match parts {
        Some((begin, (names, end))) => names.split(',').map(|name| format!("{begin}{name}{end}")).collect(),
        None => vec![path.to_owned()],
    }
}

/// A file or folder may be named by the end of its path, where what stands before says where it is.
#[test]
fn what_the_page_on_architecture_names_is_there() {
    let path = regex_lite::Regex::new(r"^[a-z0-9_./{},-]+$").unwrap();
    let root = workspace_root();
    let known: Vec<PathBuf> =
        files().iter().map(|file| file.strip_prefix(&root).unwrap().to_owned()).collect();
    let is_there = |name: &str| {
        known.iter().any(|file| file.ancestors().any(|place| place.ends_with(name.trim_end_matches('/'))))
    };
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named = page.lines().flat_map(quoted).filter(|name| path.is_match(name));
    let missing: Vec<String> = named
        .filter(|name| name.contains('/') || name.ends_with(".rs"))
        .flat_map(spelled_out)
        .filter(|name| !is_there(name))
        .collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}

/// What the files hold that a stop names: its own, those in the same folder, and those whose paths end so.
fn files_of(stop: &str) -> String {
    let (mut folder, mut text) = (workspace_root(), String::new());
    for name in quoted(stop).filter(|name| name.ends_with(".rs")) {
        let place =
            [workspace_root().join(name), folder.join(name)].into_iter().find(|place| place.is_file());
        let place = place.or_else(|| files().into_iter().find(|file| file.ends_with(name))).unwrap();
        text += &std::fs::read_to_string(&place).unwrap();
        folder = place.parent().unwrap().to_owned();
    }
    text
}

#[test]
fn walks_are_short_and_name_functions_of_their_files() {
    const STOPS_MAX: usize = 12;
    let page = std::fs::read_to_string(workspace_root().join("ARCHITECTURE.md")).unwrap();
    let function = regex_lite::Regex::new(r"^(?:[A-Z]\w*::)?([a-z_]+)$").unwrap();
    let walks = walks(&page);
    assert!(walks.len() >= 4, "a put, a watch delivery, a reload and the creation of a stream");
    let mut wrong = Vec::new();
    for walk in walks {
        if walk.len() > STOPS_MAX {
            wrong.push(format!("{} stops: {}", walk.len(), walk[0]));
        }
        for stop in walk {
            let text = files_of(&stop);
            for name in quoted(&stop) {
                let Some(named) = function.captures(name) else { continue };
                if !["(", "<"].iter().any(|end| text.contains(&format!("fn {}{end}", &named[1]))) {
                    wrong.push(format!("no {name} at: {stop}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
