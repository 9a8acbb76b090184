//! The program `ramkeep-jepsen`: attacks real processes and says what it found.

#[cfg(not(madsim))]
mod process;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    process::main()
}

/// Simulated builds have no processes to attack.
#[cfg(madsim)]
fn main() {}
