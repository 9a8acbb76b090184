//! The process around a run: arguments in, the summary out, the server built where it is not there.
//!
//! Exit codes: 0 it passed; 1 something was found; 2 it could not be played.
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use ramkeep_drive::process::{ENDS_WITH_INPUT, Program};
use ramkeep_jepsen::options::{Hidden, Invocation, RunOptions};
use ramkeep_net::Host;

pub fn main() -> ExitCode {
    let Invocation { command, run } = Invocation::parse();
    let host = Host::real();
    let outcome = match command {
        Some(Hidden::FakeServer { flaw, port }) => fake(host, flaw, port),
        None => attack(&host, &run),
    };
    match outcome {
        Ok(is_passed) => ExitCode::from(u8::from(!is_passed)),
        Err(why) => {
            eprintln!("ramkeep-jepsen: {why}");
            ExitCode::from(2)
        }
    }
}

fn fake(host: Host, flaw: String, port: u16) -> Result<bool, String> {
    if host.environment(ENDS_WITH_INPUT).is_some() {
        host.end_with_standard_input("the process that started this server has ended");
    }
    let serving = ramkeep_net::run(ramkeep_jepsen::fake::serve(host, flaw, port));
    let ended = serving.and_then(|inner| inner);
    ended.map(|()| true).map_err(|error| error.to_string())
}

fn attack(host: &Host, options: &RunOptions) -> Result<bool, String> {
    let program = program(options)?;
    let running = ramkeep_net::run(ramkeep_jepsen::run::run(host, options, program));
    let summary = running.map_err(|error| error.to_string())??;
    println!("{summary}");
    Ok(summary.is_passed())
}

fn program(options: &RunOptions) -> Result<Program, String> {
    let own = std::env::current_exe().map_err(|error| format!("no path of this program: {error}"))?;
    if let Some(flaw) = &options.canary {
        return Ok(Program::Fake { path: own, flaw: flaw.clone() });
    }
    let path = options.program.clone().unwrap_or_else(|| own.with_file_name("ramkeep"));
    if options.program.is_none() {
        build(&path)?;
    }
    let path: PathBuf = path.canonicalize().map_err(|error| {
        format!(
            "{}: {error}; build it with `cargo build -p ramkeep-server`, or name it with --program",
            path.display()
        )
    })?;
    Ok(Program::Ramkeep(path))
}

/// Under `cargo run` the server is built too: cargo builds only the program that it runs.
fn build(path: &Path) -> Result<(), String> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let profile = match path.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "ramkeep-server", "--bin", "ramkeep", "--profile", profile])
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the server does not build".into()) }
}
