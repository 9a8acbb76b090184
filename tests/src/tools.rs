//! Programs of others that tests use: Python, Node, redis-cli.
//!
//! Lives here: where they are looked for, and what happens when they are missing.
//!
//! Invariant: a missing tool never passes in silence. It is printed with a count, and under `CI=true`
//! it fails the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cargo;

/// Says that a test could not run for want of a tool; under `CI=true` that is a failure.
pub fn skip(test: &str, why: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    assert!(!is_ci(), "{test}: {why}; under CI=true a skipped test is a failed one");
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    eprintln!("SKIPPED ({count} so far in this target) {test}: {why}");
}

pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// A number from the environment, or `default`.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} should be a number, not {text:?}")),
        Err(_) => default,
    }
}

/// A Python that has `modules`: `RAMKEEP_PYTHON`, the environment that `.ci/run` makes, or the system's.
pub fn python(modules: &[&str]) -> Option<PathBuf> {
    let imports = format!("import {}", modules.join(", "));
    let candidates = std::env::var_os("RAMKEEP_PYTHON")
        .map(PathBuf::from)
        .into_iter()
        .chain([cargo::workspace().join("target/ci/python/bin/python"), PathBuf::from("python3")]);
    first_that_runs(candidates, &["-c", &imports])
}

/// A Node that finds `modules`, with the folder to look for them in.
pub fn node(modules: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let folder = std::env::var_os("RAMKEEP_NODE_PATH")
        .map_or_else(|| cargo::workspace().join("target/ci/node/node_modules"), PathBuf::from);
    let all_there = modules.iter().all(|module| folder.join(module).is_dir());
    let node = first_that_runs([PathBuf::from("node")], &["--version"])?;
    all_there.then_some((node, folder))
}

/// A program on the search path.
pub fn program(name: &str) -> Option<PathBuf> {
    first_that_runs([PathBuf::from(name)], &["--version"])
}

fn first_that_runs(candidates: impl IntoIterator<Item = PathBuf>, arguments: &[&str]) -> Option<PathBuf> {
    candidates.into_iter().find(|candidate| {
        Command::new(candidate)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Runs a command to its end and fails with everything it printed if it did not succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let text = printed(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// All that a finished command printed.
pub fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// A file of the tests' folder.
pub fn file(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}
