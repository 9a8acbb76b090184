//! Subcommands beside `server`: each takes what was read and gives text and an exit code.
//!
//! Not here: the command line itself (`options`), opening files and printing (`main`).

pub mod client;
pub mod config_check;
pub mod demo;
pub mod dev;
pub mod log;
pub mod snapshot;
pub mod status;

/// What a subcommand prints, and how it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output, with its last line's end.
    pub text: String,
    /// 0: fine; 1: something was found.
    pub exit_code: u8,
}
