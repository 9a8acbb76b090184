//! Can a run fail? Servers that are wrong on purpose, as real processes, under the whole of a run.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::process::Command;

/// Runs a few seconds against a flawed server; what was printed. The run must fail, and for its findings.
fn run(flaw: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("canary-{flaw}"));
    let output = Command::new(env!("CARGO_BIN_EXE_ramkeep-jepsen"))
        .args(["--seconds", "4", "--seed", "7", "--canary", flaw, "--dir"])
        .arg(&folder)
        .output()
        .expect("the program was built for this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // A failed run leaves its folder for a look; here the failure is wanted.
    let _ = std::fs::remove_dir_all(folder);
    text
}

/// The number behind `LOST` in the line that counts writes.
fn lost(text: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with("writes:")).expect("the summary counts writes");
    let number = line.rsplit(' ').next().expect("a line has a last word");
    number.parse().unwrap_or_else(|_| panic!("no number at the end of {line}"))
}

#[test]
fn a_server_that_forgets_at_a_kill_loses_writes() {
    let text = run("forgets");
    assert!(lost(&text) > 100, "{text}");
    assert!(text.contains("linearizable: NO"), "{text}");
}

#[test]
fn a_write_in_a_thousand_that_is_not_done_is_found() {
    let text = run("skips");
    assert!((1..100).contains(&lost(&text)), "{text}");
    assert!(text.contains("was acknowledged, the final read shows Null"), "{text}");
}

#[test]
fn a_stale_read_in_a_hundred_is_found_though_nothing_is_lost() {
    let text = run("stale");
    assert!(text.contains("linearizable: NO"), "{text}");
}
