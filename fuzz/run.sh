#!/bin/sh
# Builds a fuzz target without cargo-fuzz and runs it: run.sh TARGET SECONDS [libFuzzer options]
# What it finds to be new goes to artifacts/corpus/TARGET.
set -eu
target=$1
seconds=$2
shift 2
cd "$(dirname "$0")"
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing" \
    cargo +nightly build --release --bin "$target" --target "$(rustc -vV | sed -n 's/host: //p')"
mkdir -p "artifacts/$target" "artifacts/corpus/$target"
exec "target/$(rustc -vV | sed -n 's/host: //p')/release/$target" "artifacts/corpus/$target" "corpus/$target" \
    -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" "$@"
