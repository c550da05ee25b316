//! What a fuzz target is, with libFuzzer and without.
//!
//! Where the compiler is told `--cfg fuzzing`, as `cargo fuzz` and `run.sh` do, a target is libFuzzer's, which learns from the
//! code that an input reaches. Otherwise it is a program that makes inputs from the corpus by chance, on any compiler:
//! `cargo run -p jetkv-fuzz --bin parse_client -- 60 7` does so for 60 seconds, from seed 7.

use std::time::Duration;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// Makes the program of a target: `target!("parse_client", parse_client::check)`.
#[cfg(fuzzing)]
#[macro_export]
macro_rules! target {
    ($name:literal, $check:path) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $check(data);
        });
    };
}

/// Makes the program of a target: `target!("parse_client", parse_client::check)`.
#[cfg(not(fuzzing))]
#[macro_export]
macro_rules! target {
    ($name:literal, $check:path) => {
        fn main() -> std::process::ExitCode {
            $crate::run($name, |data| {
                $check(data);
            })
        }
    };
}

/// Has `check` look at inputs for as many seconds as the first argument says, made from the seed that the second one is.
#[must_use]
pub fn run(target: &str, check: impl Fn(&[u8])) -> std::process::ExitCode {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (seconds, seed) = (numbers.next().unwrap_or(Ok(10)), numbers.next().unwrap_or(Ok(0)));
    let (Ok(seconds), Ok(seed)) = (seconds, seed) else {
        eprintln!("usage: {target} [seconds [seed]]");
        return std::process::ExitCode::FAILURE;
    };
    let count = jetkv_testing::corpus::mutate_for(target, Duration::from_secs(seconds), seed, check);
    println!("{target}: {count} inputs in {seconds} s from seed {seed}");
    std::process::ExitCode::SUCCESS
}
