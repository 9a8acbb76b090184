//! Runs the simulated campaigns, which are built by a cargo of their own.
//!
//! The simulator needs `--cfg madsim` for every crate. A nested cargo sets it, in its own target folder
//! (`target/sim`), so plain `cargo test` at the root runs the campaigns too. `SIM_SEEDS=n` runs more,
//! `SIM_SEED=n` replays one, `SIM_SECONDS=n` bounds the time; all are handed through.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use ramkeep_tests::cargo;
use ramkeep_tests::tools;

/// Seeds that a run without options must at least report; fewer would mean that it hardly ran.
const SEEDS_MIN: u64 = 60;
/// The seed that is run in two processes.
const TRACED_SEED: &str = "20260101";

/// Two nested cargos would only wait for each other, and share two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn campaign() -> Command {
    simulated("campaign")
}

/// A test target of `sim`, built for the simulator.
fn simulated(target: &str) -> Command {
    with_feature("ramkeep-sim", target, "sim")
}

/// A test target of a package with a feature that only tests have, as the simulator's build has it.
fn with_feature(package: &str, target: &str, feature: &str) -> Command {
    let mut command = cargo::command();
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("RUSTFLAGS", "--cfg madsim");
    command.args(["test", "-p", package, "--test", target, "--features", feature]);
    command.args(["--profile", "sim", "--locked", "--target-dir"]);
    command.arg(cargo::workspace().join("target/sim")).args(["--", "--nocapture"]);
    command
}

/// Runs to the end, showing lines as they come; whether it succeeded, and all it printed.
fn run(mut command: Command) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo starts: it has started this test");
    let mut printed = String::new();
    let output = BufReader::new(child.stdout.take().expect("the output is piped"));
    for line in output.lines() {
        let line = line.expect("the campaign prints text");
        println!("{line}");
        printed.push_str(&line);
        printed.push('\n');
    }
    let status = child.wait().expect("a child of ours can be waited for");
    (status.success(), printed)
}

/// Seeds named in the report line `campaign: N seeds …`; several lines add up.
fn seeds_reported(printed: &str) -> u64 {
    let counts = printed.lines().filter_map(|line| {
        let rest = line.split_once("campaign: ")?.1;
        let (count, rest) = rest.split_once(' ')?;
        rest.starts_with("seed").then(|| count.parse::<u64>().ok()).flatten()
    });
    counts.sum()
}

/// The numbers of failing seeds: whatever follows `seed` or `SIM_SEED=` in a line that tells of a failure.
fn failing_seeds(printed: &str) -> Vec<String> {
    let mut seeds = Vec::new();
    for line in printed.lines().filter(|line| line.contains("SIM_SEED=") || line.contains("failed seed")) {
        let rest = line.split("SIM_SEED=").nth(1).or_else(|| line.split("failed seed").nth(1));
        let digits: String = rest
            .unwrap_or_default()
            .chars()
            .skip_while(|character| !character.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        if !digits.is_empty() && !seeds.contains(&digits) {
            seeds.push(digits);
        }
    }
    seeds
}

/// Every trace hash that was printed, in order.
fn trace_hashes(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| line.split_once("trace hash"));
    lines
        .filter_map(|(_, rest)| rest.split([' ', ':', '=', ',']).find(|word| !word.is_empty()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn campaigns_find_nothing() {
    let _turn = ONE_AT_A_TIME.lock();
    let (passed, printed) = run(campaign());
    let seeds = failing_seeds(&printed);
    let replays: Vec<_> = seeds.iter().map(|seed| format!("  SIM_SEED={seed} cargo sim")).collect();
    assert!(passed, "the campaign failed; seeds {seeds:?}; replay with\n{}", replays.join("\n"));
    let least = match std::env::var_os("SIM_SEED") {
        Some(_) => 1,
        None if std::env::var_os("SIM_SECONDS").is_some() => 1,
        None => tools::setting("SIM_SEEDS", SEEDS_MIN),
    };
    let seeds = seeds_reported(&printed);
    assert!(seeds >= least, "the campaign reports {seeds} seeds where at least {least} should have run");
}

/// What campaigns found once, and what others got wrong, as scenarios.
#[test]
fn scenarios_and_regressions_hold() {
    let _turn = ONE_AT_A_TIME.lock();
    for target in ["regressions", "scenarios"] {
        let (passed, printed) = run(simulated(target));
        assert!(passed, "a scenario of {target} fails");
        assert!(printed.contains("test result: ok. ") && !printed.contains("ok. 0 passed"), "scenarios ran");
    }
}

/// Bugs that need a moment which no campaign draws often enough are made in the log's own tests.
#[test]
fn the_logs_own_tests_see_its_seeded_bugs() {
    let _turn = ONE_AT_A_TIME.lock();
    let mut command = with_feature("ramkeep-log", "log", "mutants");
    command.arg("seeded_bug");
    let (passed, printed) = run(command);
    assert!(passed, "a seeded bug of the log is not seen");
    assert!(printed.contains("test result: ok. ") && !printed.contains("ok. 0 passed"), "they ran");
}

#[test]
fn one_seed_gives_the_same_trace_in_two_processes() {
    let _turn = ONE_AT_A_TIME.lock();
    let traces = [(); 2].map(|()| {
        let mut command = campaign();
        let seed = std::env::var("SIM_SEED").unwrap_or_else(|_| TRACED_SEED.to_owned());
        command.env_remove("SIM_SEEDS").env("SIM_SEED", seed).env("SIM_TRACE", "1");
        let (passed, printed) = run(command);
        assert!(passed, "the traced seed should pass");
        trace_hashes(&printed)
    });
    assert!(!traces[0].is_empty(), "the campaign prints a line with `trace hash`");
    assert_eq!(traces[0], traces[1], "the same seed took two ways: something leaks into the simulation");
}

#[test]
fn reports_are_read_as_they_are_printed() {
    assert_eq!(seeds_reported("x\ncampaign: 40 seeds, 12 faults\ncampaign: 2 seeds"), 42);
    assert_eq!(seeds_reported("campaign: nothing"), 0);
    assert_eq!(failing_seeds("replay: SIM_SEED=17 cargo sim\nseed 3 ok"), ["17"]);
    assert_eq!(trace_hashes("seed 1 trace hash: 00ff, 3 events"), ["00ff"]);
}
