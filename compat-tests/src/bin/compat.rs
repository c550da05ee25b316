//! `compat play <file or folder> [--against PROGRAM] [--both PROGRAM] [--show] [--only TEXT] [--times N] [--record]`
//!
//! Plays scenarios on nats-server and JetKV and shows the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use jetkv_compat_tests::generate::{self, Profile};
use jetkv_compat_tests::oracle::{self, Tool, Toolbox};
use jetkv_compat_tests::process::Program;
use jetkv_compat_tests::transcript::compare::{Comparison, Report};
use jetkv_compat_tests::transcript::difference;
use jetkv_compat_tests::transcript::play::Tools;
use jetkv_compat_tests::transcript::scenario;
use jetkv_compat_tests::{Result, clients, moves, scenario_root, scoreboard};

const USAGE: &str = "usage:
  compat play [FILE or FOLDER]... [--only TEXT] [--show | --times N | --record] [--both PROGRAM] [--against PROGRAM]
      Plays scenarios (all of them by default) on nats-server and on JetKV and shows the differences.
      --only TEXT        only cases with TEXT in their name
      --show             print the transcript of the first program instead of comparing
      --times N          play each case N times and tell how many plays were good
      --record           write down what differs in the cases that say `differs:`, in the files beside the scenarios
      --against PROGRAM  this program takes nats-server's place (a path, or nats-server)
      --both PROGRAM     this program takes both places: the check of the scenarios themselves
  compat clients [LANGUAGE]... [--both PROGRAM] [--against PROGRAM]
      Runs the drivers of the client libraries (go, rust, python, javascript, java, c) on both and compares.
  compat generate [--seeds N] [--from N] [--profile NAME] [--keep FOLDER] [--both PROGRAM] [--against PROGRAM]
      Runs generated sessions (profiles: streams, consumers, subjects, permissions, kv, parser, by default a mix of these;
      features, origins, overlaps, fields, packets, reloads, damage, floods, updates) on both and shortens what differs to a scenario.
      --seeds N          so many sessions (200)
      --from N           the first seed (0)
      --keep FOLDER      writes the scenarios of differences into this folder besides printing them
  compat moves [--both PROGRAM] [--against PROGRAM]
      Takes the same steps on both and shows which fields of pages, answers and events moved on one of them alone.
  compat errors [FILE or FOLDER]...
      Plays scenarios (all of them by default) and writes into errors.toml which case shows which error of the JetStream
      API.
  compat scoreboard [--check]
      Writes COMPATIBILITY.md and docs/scoreboard.md from features.toml and the scenarios, or checks that they are current.";

/// The profile whose sessions are scenarios with servers of their own.
const RELOADS: &str = "reloads";
/// Profiles whose sessions are none of requests in step.
const DAMAGE: &str = "damage";
const FLOODS: &str = "floods";
const UPDATES: &str = "updates";

/// Runs the sessions of a profile that has servers of its own.
type Generator = fn(&Program, &Program, std::ops::Range<u64>) -> Result<generate::Summary>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "play" => play(rest),
        Some((verb, rest)) if verb == "clients" => run_clients(rest),
        Some((verb, rest)) if verb == "generate" => run_generated(rest),
        Some((verb, rest)) if verb == "moves" => run_moves(rest),
        Some((verb, rest)) if verb == "errors" => record_errors(rest),
        Some((verb, rest)) if verb == "scoreboard" => write_scoreboard(rest),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct PlayOptions {
    paths: Vec<PathBuf>,
    only: Option<String>,
    show: bool,
    record: bool,
    times: Option<usize>,
    both: Option<String>,
    against: Option<String>,
    seeds: Option<u64>,
    from: Option<u64>,
    profile: Option<String>,
    keep: Option<PathBuf>,
}

fn parse_options(arguments: &[String]) -> Result<PlayOptions> {
    let mut options = PlayOptions::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--only" => options.only = Some(value()?),
            "--both" => options.both = Some(value()?),
            "--against" => options.against = Some(value()?),
            "--seeds" => options.seeds = Some(value()?.parse()?),
            "--from" => options.from = Some(value()?.parse()?),
            "--profile" => options.profile = Some(value()?),
            "--keep" => options.keep = Some(value()?.into()),
            "--times" => options.times = Some(value()?.parse()?),
            "--record" => options.record = true,
            "--show" => options.show = true,
            path if path.starts_with("--") => return Err(USAGE.into()),
            path => options.paths.push(path.into()),
        }
    }
    Ok(options)
}

fn program(toolbox: &Toolbox, name: &str) -> Result<Program> {
    if name == "nats-server" {
        return toolbox.reference();
    }
    Ok(Program { name: name.to_string(), path: std::path::absolute(name)? })
}

fn run_moves(arguments: &[String]) -> Result<bool> {
    let (reference, candidate) = programs(&parse_options(arguments)?, &Toolbox::default())?;
    let summary = moves::run(&reference, &candidate, moves::steps::STEPS)?;
    println!("{summary}");
    Ok(summary.differences.is_empty() && summary.unseen.is_empty())
}

fn write_scoreboard(arguments: &[String]) -> Result<bool> {
    let (table, errors) = (scoreboard::read_table()?, scoreboard::errors::read()?);
    let pages = scoreboard::render(&table, &errors, &scenario::read_all(&scenario_root())?)?;
    if arguments.iter().any(|argument| argument == "--check") {
        let outdated = pages.outdated();
        if !outdated.is_empty() {
            println!("not current: {}; run `compat scoreboard`", outdated.join(", "));
        }
        return Ok(outdated.is_empty());
    }
    pages.write()?;
    Ok(true)
}

fn record_errors(arguments: &[String]) -> Result<bool> {
    let options = parse_options(arguments)?;
    let toolbox = Toolbox::default();
    let (reference, candidate) = programs(&options, &toolbox)?;
    let tools = Tools { cli: toolbox.require(Tool::Cli)?.map(|launch| launch.program) };
    let mut comparison = Comparison::new(&reference, &candidate, &tools);
    let cases = cases_of(&options)?;
    let report = Report::run(&cases, &mut comparison);
    scoreboard::errors::read()?.record(&cases, comparison.seen_errors())?;
    Ok(report.is_good())
}

/// The cases that the command line names, or all.
fn cases_of(options: &PlayOptions) -> Result<Vec<scenario::Case>> {
    let mut cases = Vec::new();
    if options.paths.is_empty() {
        cases = scenario::read_all(&scenario_root())?;
    }
    for path in &options.paths {
        cases.extend(scenario::read_all(path)?);
    }
    if let Some(only) = &options.only {
        cases.retain(|case| case.name.contains(only.as_str()));
    }
    Ok(cases)
}

fn programs(options: &PlayOptions, toolbox: &Toolbox) -> Result<(Program, Program)> {
    Ok(match (&options.both, &options.against) {
        (Some(both), _) => {
            let program = program(toolbox, both)?;
            (program.clone(), program)
        }
        (None, Some(against)) => (program(toolbox, against)?, oracle::jetkv()?),
        (None, None) => (toolbox.reference()?, oracle::jetkv()?),
    })
}

fn run_clients(arguments: &[String]) -> Result<bool> {
    let options = parse_options(arguments)?;
    let toolbox = Toolbox::default();
    let (reference, candidate) = programs(&options, &toolbox)?;
    let mut good = true;
    for tool in Tool::DRIVERS {
        let wanted = options.paths.iter().any(|path| path.as_os_str() == tool.name());
        if !wanted && !options.paths.is_empty() {
            continue;
        }
        match clients::compare(tool, &toolbox, &reference, &candidate, None) {
            Ok(None) => {}
            Ok(Some(difference)) if difference.is_empty() => {}
            Ok(Some(difference)) => {
                good = false;
                println!("DIFFERENT clients/{}\n{difference}", tool.name());
            }
            Err(error) => {
                good = false;
                println!("BROKEN    clients/{}\n{error}", tool.name());
            }
        }
    }
    Ok(good)
}

fn run_generated(arguments: &[String]) -> Result<bool> {
    let options = parse_options(arguments)?;
    let (reference, candidate) = programs(&options, &Toolbox::default())?;
    let from = options.from.unwrap_or_default();
    let seeds = from..from.saturating_add(options.seeds.unwrap_or(generate::SEEDS));
    let others: [(&str, Generator); 3] =
        [(DAMAGE, generate::damage::run), (FLOODS, generate::floods::run), (UPDATES, generate::updates::run)];
    if let Some((_, run)) = others.iter().find(|(name, _)| options.profile.as_deref() == Some(name)) {
        let summary = run(&reference, &candidate, seeds)?;
        println!("{summary}");
        return Ok(summary.is_good());
    }
    if options.profile.as_deref() == Some(RELOADS) {
        let report = generate::reloads::run(&reference, &candidate, seeds)?;
        println!("{}{}", report.summary(), report.faults());
        return Ok(report.is_good());
    }
    let profile = match &options.profile {
        None => None,
        Some(name) => {
            let found = Profile::ALL.into_iter().find(|profile| profile.name() == name);
            Some(found.ok_or_else(|| format!("no profile {name:?}\n{USAGE}"))?)
        }
    };
    let summary = generate::run(&reference, &candidate, seeds, profile)?;
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder)?;
        for finding in &summary.findings {
            std::fs::write(folder.join(format!("{}.txt", finding.name)), &finding.scenario)?;
        }
    }
    println!("{summary}");
    Ok(summary.is_good())
}

fn play(arguments: &[String]) -> Result<bool> {
    let options = parse_options(arguments)?;
    let toolbox = Toolbox::default();
    let (reference, candidate) = programs(&options, &toolbox)?;
    let tools = Tools { cli: toolbox.require(Tool::Cli)?.map(|launch| launch.program) };
    let cases = cases_of(&options)?;
    let mut comparison = Comparison::new(&reference, &candidate, &tools);
    if options.show {
        for case in &cases {
            println!("--- {}", case.name);
            match comparison.transcripts(case, 1).0 {
                Ok(transcript) => println!("{}", transcript.lines.join("\n")),
                Err(error) => println!("{error}"),
            }
        }
        return Ok(true);
    }
    if options.record {
        return record_differences(&cases, &mut comparison);
    }
    if let Some(times) = options.times {
        return Ok(play_often(&cases, times, &mut comparison));
    }
    let report = Report::run(&cases, &mut comparison);
    println!("{}", report.summary());
    Ok(report.is_good())
}

/// Tells how many of so many plays of each case are good; true when all are.
fn play_often(cases: &[scenario::Case], times: usize, comparison: &mut Comparison) -> bool {
    let mut faults = 0;
    for case in cases {
        let (good, fault) = comparison.count_good(case, times);
        println!("{good}/{times} {}", case.name);
        if let Some(fault) = fault {
            faults += 1;
            println!("{}", fault.why());
        }
    }
    println!("{} cases, {faults} with a bad play among {times}", cases.len());
    faults == 0
}

/// Writes down what differs in the cases that say so; false when one shows something else each time.
fn record_differences(cases: &[scenario::Case], comparison: &mut Comparison) -> Result<bool> {
    let mut found = BTreeMap::new();
    let mut good = true;
    for case in cases.iter().filter(|case| case.differs.is_some()) {
        match comparison.steady_difference(case) {
            Ok(difference) => {
                println!("recorded  {}: {} lines", case.name, difference.len());
                found.insert(case.name.clone(), difference);
            }
            Err(why) => {
                good = false;
                println!("UNSTEADY  {}\n{why}", case.name);
            }
        }
    }
    let files: BTreeSet<PathBuf> =
        cases.iter().filter(|case| found.contains_key(&case.name)).map(|case| case.path.clone()).collect();
    for file in files {
        let mut all = scenario::read_all(&file)?;
        for case in &mut all {
            case.difference =
                found.remove(&case.name).unwrap_or_else(|| std::mem::take(&mut case.difference));
        }
        difference::write_expected(&file, &all)?;
    }
    Ok(good)
}
