#!/bin/sh
# Builds a fuzz target under libFuzzer, with the compiler that everything else is built with, and runs it:
# run.sh TARGET SECONDS [libFuzzer options]
# What it finds to be new goes to artifacts/corpus/TARGET, and what breaks to artifacts/TARGET.
set -eu
target=$1
seconds=$2
shift 2
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/host: //p')
# What cargo-fuzz tells the compiler, but for the sanitizers, which need a nightly one.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build -p jetkv-fuzz --profile fuzz --bin "$target" --target "$host" --target-dir target
mkdir -p "artifacts/$target" "artifacts/corpus/$target"
exec "target/$host/fuzz/$target" "artifacts/corpus/$target" "corpus/$target" \
    -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" "$@"
