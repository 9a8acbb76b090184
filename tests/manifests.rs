//! Do the crates know only what they may know?
//!
//! Reads the manifests through cargo and fails on a dependency that points the wrong way, on a runtime
//! in a pure crate, and on simulation code in the release build. The map is docs/src/architecture.md.
#![allow(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::collections::{BTreeMap, BTreeSet};

use ramkeep_tests::cargo;
use ramkeep_tests::tools;
use serde_json::Value;

/// Which crates of ours each crate may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("log", &[]),
    ("shard", &["engine", "log"]),
    ("net", &[]),
    ("check", &[]),
    ("drive", &["check", "net"]),
    ("server", &["drive", "check", "net", "shard", "engine", "log"]),
    ("sim", &["check", "server", "net", "shard", "engine", "log"]),
    ("jepsen", &["drive", "check", "net"]),
    ("tests", &["check", "server", "net", "shard", "engine", "log"]),
];

/// Crates without runtime, files, sockets, clocks, threads or randomness of the system.
const PURE: &[&str] = &["engine", "log", "shard", "check"];

/// What would bring such things in.
const RUNTIMES: &[&str] = &[
    "tokio",
    "madsim",
    "madsim-tokio",
    "mio",
    "socket2",
    "async-std",
    "smol",
    "polling",
    "io-uring",
    "nix",
    "rustix",
    "rand",
    "getrandom",
    "num_cpus",
    "rayon",
    "crossbeam",
    "parking_lot",
];

/// What only `net` may name; `sim` names the simulator's crate itself.
const RUNTIME_CRATES: &[&str] = &["tokio", "tokio-util", "madsim", "madsim-tokio"];

struct Dependency {
    of: String,
    on: String,
    /// Only for tests.
    is_dev: bool,
}

fn dependencies() -> Vec<Dependency> {
    let mut command = cargo::command();
    let output =
        command.args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--quiet"]).output();
    let output = output.expect("cargo starts: it has started this test");
    assert!(output.status.success(), "{}", tools::printed(&output));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().expect("metadata lists packages") {
        for dependency in package["dependencies"].as_array().expect("packages list dependencies") {
            let name = |value: &Value| value.as_str().expect("names are strings").to_owned();
            found.push(Dependency {
                of: name(&package["name"]),
                on: name(&dependency["name"]),
                is_dev: dependency["kind"] == "dev",
            });
        }
    }
    assert!(!found.is_empty(), "the workspace has dependencies");
    found
}

fn ours(name: &str) -> Option<&str> {
    name.strip_prefix("ramkeep-")
}

#[test]
fn dependencies_point_the_way_the_map_says() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = BTreeSet::new();
    for dependency in dependencies() {
        let of = ours(&dependency.of).expect("every package of the workspace is a ramkeep-*");
        let Some(on) = ours(&dependency.on) else { continue };
        let Some(may) = allowed.get(of) else { panic!("{of} is not on the map: add it there and here") };
        if !may.contains(&on) {
            wrong.insert(format!("{of} -> {on}"));
        }
    }
    assert!(wrong.is_empty(), "dependencies in a forbidden direction: {wrong:?}");
}

#[test]
fn pure_crates_name_no_runtime() {
    let wrong: Vec<_> = dependencies()
        .into_iter()
        .filter(|dependency| !dependency.is_dev)
        .filter(|dependency| ours(&dependency.of).is_some_and(|name| PURE.contains(&name)))
        .filter(|dependency| RUNTIMES.contains(&dependency.on.as_str()))
        .map(|dependency| format!("{} -> {}", dependency.of, dependency.on))
        .collect();
    assert!(wrong.is_empty(), "a pure crate has reached for the world: {wrong:?}");
}

#[test]
fn only_net_names_the_runtime() {
    let wrong: Vec<_> = dependencies()
        .into_iter()
        .filter(|dependency| RUNTIME_CRATES.contains(&dependency.on.as_str()))
        .filter(|dependency| match ours(&dependency.of) {
            Some("net") => false,
            Some("sim") => dependency.on != "madsim",
            _ => true,
        })
        .map(|dependency| format!("{} -> {}", dependency.of, dependency.on))
        .collect();
    assert!(wrong.is_empty(), "only net may name tokio or madsim: {wrong:?}");
}

/// Package names in the release server's tree, outside packages for tests and the simulator's flag.
fn release_tree(arguments: &[&str]) -> String {
    let mut command = cargo::command();
    command.args(["tree", "-p", "ramkeep-server", "-e", "normal,build", "--prefix", "none", "--locked"]);
    let output = command.args(arguments).env_remove("RUSTFLAGS").output();
    let output = output.expect("cargo starts: it has started this test");
    // An inverted tree of an absent package is an error; its text says so.
    tools::printed(&output)
}

#[test]
fn the_release_server_holds_no_simulator() {
    let tree = release_tree(&[]);
    assert!(tree.contains("ramkeep-engine"), "the tree is the server's:\n{tree}");
    let wrong: Vec<_> = tree
        .lines()
        .filter(|line| line.starts_with("madsim") && !line.starts_with("madsim-tokio "))
        .collect();
    assert!(wrong.is_empty(), "simulation code in the release build: {wrong:?}");
}

/// rand 0.8 asks the system for randomness unseen by the simulator: only those may bring it who never draw from it.
#[test]
fn old_random_generators_come_only_through_raft_and_madsim() {
    let mut command = cargo::command();
    command.args(["tree", "--workspace", "-i", "rand@0.8", "-e", "normal,build", "--depth", "1"]);
    let output = command.args(["--prefix", "none", "--target", "all", "--locked"]).output();
    let tree = tools::printed(&output.expect("cargo starts: it has started this test"));
    if tree.contains("did not match any packages") {
        return;
    }
    assert!(tree.starts_with("rand v0.8"), "cargo tree answers about rand:\n{tree}");
    let known = ["raft", "madsim", "rand_xoshiro", "rand"];
    let wrong: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && !known.contains(name) && !name.starts_with("madsim-"))
        .collect();
    assert!(wrong.is_empty(), "rand 0.8 is also used by {wrong:?}");
}

/// Adds the text of every source file below.
fn read_sources(directory: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a folder of the workspace") {
        let path = entry.expect("an entry of the folder").path();
        if path.is_dir() && !path.ends_with("target") {
            read_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(&path).expect("sources are text");
        }
    }
}

/// The page on simulation says by which tests each story is played.
#[test]
fn every_story_names_tests_that_exist() {
    let root = cargo::workspace();
    let page = std::fs::read_to_string(root.join("docs/src/simulation.md")).expect("the page is there");
    let (_, stories) = page.split_once("\n## Stories\n").expect("the page has them");
    let (stories, _) = stories.split_once("\n## ").expect("something follows");
    let mut sources = String::new();
    ["log", "shard", "server", "sim", "tests"]
        .iter()
        .for_each(|name| read_sources(&root.join(name), &mut sources));
    let rows = stories.lines().filter(|line| line.starts_with("| ")).map(|line| line.rsplit(" | ").next());
    let named = rows.flatten().flat_map(|players| players.split('`').skip(1).step_by(2));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 50, "the table was read: {} tests", named.len());
    for test in named {
        assert!(
            sources.contains(&format!("#[test]\nfn {test}()"))
                || sources.contains(&format!("#[test]\n    fn {test}()")),
            "no test: {test}"
        );
    }
}
