//! Does a short attack on real processes find nothing?
//!
//! Runs `ramkeep-jepsen` for some seconds: kills, pauses, faulty links, damaged files, a full disk.
//! `RAMKEEP_JEPSEN_SECONDS` makes it longer; docs/src/simulation.md has the full run.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::process::{Command, Stdio};
use std::sync::Mutex;

use ramkeep_tests::cargo;
use ramkeep_tests::server::{Program, fresh_folder};
use ramkeep_tests::tools;

/// An attack that did less has shown nothing.
const AT_LEAST: &str = "kills=1,acked=2000";

/// Two attacks at once would only take the processor from each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn attack(nodes: u32) {
    let _turn = ONE_AT_A_TIME.lock();
    let seconds = tools::setting("RAMKEEP_JEPSEN_SECONDS", 20);
    let seed = tools::setting("RAMKEEP_SEED", u64::from(std::process::id()));
    let folder = fresh_folder();
    let output = Command::new(cargo::build("ramkeep-jepsen", "ramkeep-jepsen"))
        .args(["--nodes", &nodes.to_string(), "--at-least", AT_LEAST])
        .args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()])
        .arg("--program")
        .arg(Program::under_test().path)
        .arg("--dir")
        .arg(&folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program was just built");
    let text = tools::printed(&output);
    println!("{text}");
    assert!(output.status.success(), "seed {seed}: {}", output.status);
    let skips = text.lines().filter(|line| line.starts_with("SKIPPED")).count();
    println!("jepsen: {nodes} node(s), {seconds} s, seed {seed}, {skips} kinds of faults skipped");
}

#[test]
fn a_short_attack_on_one_node_finds_nothing() {
    attack(1);
}

#[test]
fn a_short_attack_on_three_zones_finds_nothing() {
    attack(3);
}
