//! Running cargo from inside a test that cargo itself has started.
//!
//! Lives here: a cargo command whose environment is that of a fresh shell.
//! Not here: what is built with it.
//!
//! Invariant: nothing that the outer cargo set for *its* build reaches the inner one, so an inner
//! build is the same whether it is started by a test or by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a user may have set on purpose, and the inner cargo must keep.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_BUILD_JOBS",
    "CARGO_TERM_",
];

/// The folder that holds the workspace's manifest.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests stand one folder below the workspace")
        .to_path_buf()
}

/// `cargo` in the workspace, free of what the outer build set.
pub fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_cargo = text.starts_with("CARGO_") || text == "CARGO";
        if of_cargo && !KEPT.iter().any(|kept| text.starts_with(kept)) {
            command.env_remove(&name);
        }
    }
    for name in ["LD_LIBRARY_PATH", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(name);
    }
    command
}

/// Folder of the running test's profile, as `target/debug`.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.parent().and_then(Path::parent).expect("test programs stand in target/<profile>/deps").to_path_buf()
}

/// Builds `ramkeep` in the profile of the running test and returns its path.
///
/// `cargo test` builds a binary only for tests of its own package, and these are another one.
pub fn build_server() -> PathBuf {
    build("ramkeep-server", "ramkeep")
}

/// Builds a program of the workspace in the profile of the running test and returns its path.
pub fn build(package: &str, program: &str) -> PathBuf {
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder.parent().expect("a profile folder stands in a target folder");
    let status = command()
        .args(["build", "--quiet", "--locked", "-p", package, "--bin", program])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .status()
        .expect("cargo starts: it has started this test");
    assert!(status.success(), "{program} does not build");
    folder.join(program)
}
