//! The floors of each crate: a module imports from its own floor's ground downwards only, so that no two modules need
//! each other. What still reaches upwards is listed with the reason; the list may only shrink.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jetkv_compat_tests::workspace_root;
use regex_lite::Regex;

/// The modules of a crate, the ground floor first. Modules of one floor know nothing of each other.
struct Floors {
    krate: &'static str,
    floors: &'static [&'static [&'static str]],
    /// Imports that reach upwards or across a floor: from, to, why.
    upwards: &'static [(&'static str, &'static str, &'static str)],
}

const HOUSE: &[Floors] = &[
    Floors {
        krate: "go-compat",
        floors: &[&["base62", "os_error", "quote", "size", "version"], &["duration", "time"], &["json"]],
        upwards: &[],
    },
    Floors {
        krate: "protocol",
        floors: &[
            &["encode", "error", "op", "proxy_header", "subject", "websocket"],
            &["connect", "headers", "parse", "pattern_set", "transform", "trie"],
            &["info"],
        ],
        upwards: &[],
    },
    Floors {
        krate: "kv",
        floors: &[&["entry", "error"], &["answer", "name", "watch"], &["config"], &["bucket"], &["buckets"]],
        upwards: &[],
    },
    Floors {
        krate: "jetstream",
        floors: &[
            &["client", "clock", "disk", "error", "filter", "headers", "message", "own", "settings", "steps"],
            &["due", "router", "timers", "ttl", "warnings"],
            &["store"],
            &["config"],
            &["outbox"],
            &["consumer", "origin"],
            &["stream"],
            &["engine"],
            &["api"],
        ],
        upwards: &[],
    },
    Floors {
        krate: "server",
        floors: &[
            &["certificate", "claims"],
            &[
                "blocking",
                "durations",
                "faults",
                "interfaces",
                "journal",
                "options",
                "reactor",
                "timers",
                "traffic",
            ],
            &["auth", "banner", "log", "machine", "pid_file", "ports_file"],
            &["router"],
            &["connections", "worker"],
            &["state"],
            &["crossing", "failure", "snapshot"],
            &["views"],
            &["events"],
            &["jetstream"],
            &["claimed"],
            &["net"],
            &["lab"],
            &["monitor", "signals", "unserved"],
            &["lifecycle"],
            &["tester"],
            &["program"],
        ],
        upwards: &[(
            "state",
            "jetstream",
            "a reload brings the engine and takes it away, so connections find it in the state that it routes by",
        )],
    },
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module, directly below the crate, that a file belongs to.
fn module_of(root: &Path, file: &Path) -> String {
    let first = file.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// Whether a file holds tests alone.
fn is_test(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_string_lossy();
    name.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

/// A file without comments and without the tests at its end.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    // Tests in a file of their own are declared among the other modules.
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What a crate's `lib.rs` gives out under its own name, with the module that it is from.
fn given_out(lib: &str) -> BTreeMap<String, String> {
    let uses = Regex::new(r"pub(?:\(crate\))? use (\w+)::([^;]+);").unwrap();
    let word = Regex::new(r"\w+").unwrap();
    let mut given = BTreeMap::new();
    for found in uses.captures_iter(lib) {
        for name in word.find_iter(&found[2]) {
            given.insert(name.as_str().to_owned(), found[1].to_owned());
        }
    }
    given
}

/// Every import from one module of a crate into another, with a file that has it.
fn imports(krate: &str) -> (BTreeSet<String>, BTreeMap<(String, String), PathBuf>) {
    let root = workspace_root().join(krate).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.retain(|file| !is_test(file) && !file.starts_with(root.join("bin")));
    let mut modules: BTreeSet<String> = files.iter().map(|file| module_of(&root, file)).collect();
    modules.retain(|module| module != "lib" && module != "main");
    let given = given_out(&code(&root.join("lib.rs")));
    let path = Regex::new(r"crate::(\{[^;]*?\};|\w+)").unwrap();
    let word = Regex::new(r"\w+").unwrap();
    let mut found = BTreeMap::new();
    for file in &files {
        let from = module_of(&root, file);
        if !modules.contains(&from) {
            continue;
        }
        for import in path.captures_iter(&code(file)) {
            for name in word.find_iter(&import[1]).map(|name| name.as_str()) {
                let to =
                    if modules.contains(name) { Some(name) } else { given.get(name).map(String::as_str) };
                if let Some(to) = to.filter(|to| *to != from) {
                    found.entry((from.clone(), to.to_owned())).or_insert_with(|| file.clone());
                }
            }
        }
    }
    (modules, found)
}

#[test]
fn modules_import_from_the_floors_below_them() {
    let mut faults = Vec::new();
    for Floors { krate, floors, upwards } in HOUSE {
        let (modules, imports) = imports(krate);
        let floor = |module: &str| floors.iter().position(|floor| floor.contains(&module));
        for module in modules.iter().filter(|module| floor(module).is_none()) {
            faults.push(format!("{krate}: {module} stands on no floor"));
        }
        let allowed = |from: &str, to: &str| upwards.iter().any(|(f, t, _)| (*f, *t) == (from, to));
        for ((from, to), file) in &imports {
            if floor(to) >= floor(from) && !allowed(from, to) {
                faults.push(format!("{krate}: {from} reaches up to {to}, in {}", file.display()));
            }
        }
        for (from, to, _) in *upwards {
            let import = ((*from).to_owned(), (*to).to_owned());
            if !imports.contains_key(&import) || floor(to) < floor(from) {
                faults.push(format!("{krate}: {from} no longer reaches up to {to}; take it off the list"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let given = given_out("pub use a::b;\npub use c::{D, E};\npub(crate) use f::g::H;");
    let mut names: Vec<(&str, &str)> = given.iter().map(|(name, module)| (&**name, &**module)).collect();
    names.sort_unstable();
    assert_eq!(names, [("D", "c"), ("E", "c"), ("H", "f"), ("b", "a"), ("g", "f")]);
}
