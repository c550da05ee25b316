//! Every public item of the crates that programs build on is used in an example that is compiled: in the documentation of
//! some item of its crate, or on the page for embedders, which is the documentation of the crate `jetkv`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jetkv_compat_tests::workspace_root;
use regex_lite::Regex;

/// A crate, pages that belong to its documentation, and how many of its public items may be without an example: what came
/// after the check did. It may only shrink.
const CRATES: &[(&str, &[&str], usize)] =
    &[("protocol", &[], 0), ("kv", &[], 0), ("server", &["docs/embedding.md", "docs/lab.md"], 0)];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" && name != "bin" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "main.rs" {
            found.push(path);
        }
    }
}

/// The lines of code blocks in Markdown, but for blocks of another language.
fn blocks<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let mut inside = None;
    let mut code = String::new();
    for line in lines {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, inside) {
            (Some(language), None) => inside = Some(matches!(language, "" | "rust" | "no_run")),
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => code.extend([line, "\n"]),
            (None, _) => {}
        }
    }
    code
}

/// The examples in the documentation of a file of Rust.
fn examples(text: &str) -> String {
    let lines = text.lines().map(str::trim_start);
    blocks(
        lines.filter_map(|line| line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))).map(str::trim),
    )
}

/// What a file gives out. That everything which is `pub` can be reached is the compiler's lint.
fn public_items(text: &str) -> Vec<String> {
    let item = Regex::new(
        r"(?m)^ *pub (?:(?:const|async|unsafe) )*(?:fn|struct|enum|trait|type|const|static) (\w+)",
    )
    .unwrap();
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    item.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The modules that something is given out of.
fn given_out(lib: &str) -> BTreeSet<String> {
    let hidden = Regex::new(r"#\[doc\(hidden\)\]\npub mod \w+;").unwrap();
    let lib = hidden.replace_all(lib, "");
    let module = Regex::new(r"(?m)^pub (?:mod|use) (\w+)").unwrap();
    module.captures_iter(&lib).map(|found| found[1].to_owned()).collect()
}

fn without_example(krate: &str, pages: &[&str]) -> Vec<String> {
    let root = workspace_root().join(krate).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let mut shown: String = files.iter().map(|file| examples(&read(file))).collect();
    for page in pages {
        shown += &blocks(read(&workspace_root().join(page)).lines());
    }
    let word = Regex::new(r"\w+").unwrap();
    let words: BTreeSet<&str> = word.find_iter(&shown).map(|word| word.as_str()).collect();
    let given = given_out(&read(&root.join("lib.rs")));
    let mut missing = BTreeSet::new();
    for file in &files {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        if !given.contains(module.trim_end_matches(".rs")) {
            continue;
        }
        let items = public_items(&read(file)).into_iter();
        let name = inside.display();
        missing.extend(
            items.filter(|item| !words.contains(&**item)).map(|item| format!("{krate}: {name}: {item}")),
        );
    }
    missing.into_iter().collect()
}

#[test]
fn public_items_are_used_in_an_example() {
    for (krate, pages, most) in CRATES {
        let missing = without_example(krate, pages);
        assert!(missing.len() <= *most, "public items that no example uses: {missing:#?}");
    }
}

#[test]
fn examples_and_items_are_found() {
    let text = "/// A.\n///\n/// ```\n/// let a = shown();\n/// ```\n/// ```text\n/// no_code();\n/// ```\npub const fn a() {}\n    pub struct B;\npub(crate) fn c() {}\n";
    assert_eq!(examples(text), "let a = shown();\n");
    assert_eq!(public_items(text), ["a", "B"]);
}
