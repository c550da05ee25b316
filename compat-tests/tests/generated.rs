//! Generated sessions on nats-server and on JetKV: the same seeds in every run. More of them, and others:
//! `cargo run -p jetkv-compat-tests --bin compat -- generate --seeds 1000 --from 1000`.
#![allow(clippy::unwrap_used)]

use std::ops::Range;

use jetkv_compat_tests::generate::{self, Profile};
use jetkv_compat_tests::oracle::Toolbox;
use jetkv_compat_tests::process::Program;

const OPERATIONS_MIN: usize = 10_000;
const FEATURE_SEEDS: u64 = 30;
const ORIGIN_SEEDS: u64 = 15;
const OVERLAP_SEEDS: u64 = 15;
/// Each has servers of its own.
const RELOAD_SEEDS: u64 = 20;
const FIELD_SEEDS: u64 = 20;
const PACKET_SEEDS: u64 = 15;
const DAMAGE_SEEDS: u64 = 25;
const FLOOD_SEEDS: u64 = 9;
const UPDATE_SEEDS: u64 = 10;

fn servers() -> Option<(Program, Program)> {
    // Reported as skipped by the toolbox; with CI=true it is an error.
    Toolbox::default().servers().unwrap()
}

#[test]
fn sessions_of_two_hundred_seeds_end_alike() {
    let Some((reference, candidate)) = servers() else { return };
    let summary = generate::run(&reference, &candidate, 0..generate::SEEDS, None).unwrap();
    println!("{summary}");
    assert!(summary.is_good(), "{summary}");
    assert!(summary.operations >= OPERATIONS_MIN, "{summary}");
}

#[test]
fn sessions_of_batches_counters_and_schedules_end_alike() {
    let Some((reference, candidate)) = servers() else { return };
    let only = Some(Profile::Features);
    let summary = generate::run(&reference, &candidate, 0..FEATURE_SEEDS, only).unwrap();
    println!("{summary}");
    assert!(summary.is_good(), "{summary}");
}

#[test]
fn mirrors_and_sources_gather_alike() {
    play(|one, other, seeds| generate::run(one, other, seeds, Some(Profile::Origins)), 0..ORIGIN_SEEDS);
}

#[test]
fn sources_that_overlap_gather_alike() {
    play(|one, other, seeds| generate::run(one, other, seeds, Some(Profile::Overlaps)), 0..OVERLAP_SEEDS);
}

#[test]
fn configurations_of_twenty_seeds_are_taken_over_alike() {
    let Some((reference, candidate)) = servers() else { return };
    let report = generate::reloads::run(&reference, &candidate, 0..RELOAD_SEEDS).unwrap();
    println!("{}", report.summary());
    assert!(report.is_good(), "{}{}", report.summary(), report.faults());
}

/// Plays the sessions of these seeds by one of the generators.
fn play(
    run: fn(&Program, &Program, Range<u64>) -> jetkv_compat_tests::Result<generate::Summary>,
    seeds: Range<u64>,
) {
    let Some((reference, candidate)) = servers() else { return };
    let summary = run(&reference, &candidate, seeds).unwrap();
    println!("{summary}");
    assert!(summary.operations > 0 && summary.is_good(), "{summary} {:?}", summary.findings);
}

#[test]
fn configurations_are_taken_refused_and_shown_alike_field_by_field() {
    play(|one, other, seeds| generate::run(one, other, seeds, Some(Profile::Fields)), 0..FIELD_SEEDS);
}

#[test]
fn packets_of_several_operations_are_worked_off_alike() {
    play(|one, other, seeds| generate::run(one, other, seeds, Some(Profile::Packets)), 0..PACKET_SEEDS);
}

#[test]
fn a_damaged_store_gives_back_what_it_gives_back_there() {
    play(generate::damage::run, 0..DAMAGE_SEEDS);
}

#[test]
fn an_idle_connection_is_answered_beside_floods() {
    play(generate::floods::run, 0..FLOOD_SEEDS);
}

#[test]
fn updates_outlive_kills() {
    play(generate::updates::run, 0..UPDATE_SEEDS);
}
