//! What is nested or included deeply, on a thread whose stack holds a few hundred calls.

use std::fs;

use super::*;

const LEVELS: usize = 200_000;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
}

fn nested(open: &str, levels: usize, close: &str) -> String {
    format!("{}x{}", open.repeat(levels), close.repeat(levels))
}

fn fingerprint(text: &str) -> Result<String, String> {
    digest::of(&parse_text(text).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn no_depth_of_nesting_exhausts_the_stack() {
    on_a_small_stack(|| {
        let arrays = parse_text(&format!("x: {}\ny: [$x, $x]\n", nested("[", LEVELS, "]"))).unwrap();
        let shown = arrays.get("y").unwrap().value.to_string();
        assert_eq!(shown, format!("[{0} {0}]", nested("[", LEVELS, "]")));
        drop(arrays);
        let maps = parse_text(&format!("x: {}\n", nested("{a:", LEVELS, "}"))).unwrap();
        let copy = maps.get("x").unwrap().clone();
        drop(maps);
        assert_eq!(copy.value.to_string(), nested("map[a:", LEVELS, "]"));
        drop(copy);
        for unclosed in ["[", "{", "{a:", "[{a:"] {
            let _ = parse_text(&format!("x: {}", unclosed.repeat(LEVELS)));
            let _ = parse_text(&unclosed.repeat(LEVELS));
        }
        assert!(fingerprint(&format!("x: {}\n", nested("[", LEVELS, "]"))).is_err());
    });
}

#[test]
fn the_fingerprint_has_the_depth_that_nats_server_gives_it() {
    let around = "json: error calling MarshalJSON for type *conf.token: ";
    let error = |levels: usize, opening| {
        Err(format!("{}invalid character '{opening}' exceeded max depth", around.repeat(levels)))
    };
    for (open, close, opening) in [("[", "]", '['), ("{a:", "}", '{')] {
        let of = |levels| fingerprint(&format!("x: {}\n", nested(open, levels, close)));
        assert!(of(10_000).is_ok());
        assert_eq!(of(10_001), error(1, opening));
        assert_eq!(of(10_010), error(10, opening));
    }
    let mixed = format!("y: [{}, {{a: {}}}]\n", nested("[", 9_999, "]"), nested("[", 10_002, "]"));
    assert_eq!(fingerprint(&mixed), error(4, '['));
}

#[test]
fn files_include_each_other_in_a_chain_of_any_length_but_not_in_a_circle() {
    const FILES: usize = 1_500;
    let directory = tempfile::tempdir().unwrap();
    let path = |number: usize| directory.path().join(format!("f{number}.conf"));
    for number in 0..FILES {
        fs::write(path(number), format!("include f{}.conf\n", number + 1)).unwrap();
    }
    let first = path(0).to_string_lossy().into_owned();
    let chain: String =
        (1..=FILES).map(|number| format!("error parsing include file 'f{number}.conf', ")).collect();
    let read = move || {
        let first = first.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        on_a_small_stack(move || {
            let read = parse_file(&first).map(|(map, _)| map.get("port").unwrap().value.to_string());
            sender.send(read.map_err(|error| error.to_string())).unwrap();
        });
        receiver.recv().unwrap()
    };
    fs::write(path(FILES), "port: 4444\n").unwrap();
    assert_eq!(read(), Ok("4444".to_owned()));
    fs::write(path(FILES), "port: [\n").unwrap();
    let error = read().unwrap_err();
    assert!(error.starts_with(&format!("{chain}Parse error on line ")), "{error}");
    fs::write(path(FILES), "include f700.conf\n").unwrap();
    let circle = format!("{chain}error parsing include file 'f700.conf', the file includes itself");
    assert_eq!(read(), Err(circle));
}
