//! What a run is told on its command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Attacks real processes of Ramkeep and judges every answer.
#[derive(Clone, Debug, Parser)]
#[command(name = "ramkeep-jepsen", version, args_conflicts_with_subcommands = true)]
pub struct Invocation {
    #[command(subcommand)]
    pub command: Option<Hidden>,
    #[command(flatten)]
    pub run: RunOptions,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Hidden {
    /// A server that is wrong on purpose.
    #[command(hide = true)]
    FakeServer { flaw: String, port: u16 },
}

#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Time of faults; the final read and the checks come after it.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Repeats what was drawn: faults, their order, calls. Chosen by the system without it.
    #[arg(long)]
    pub seed: Option<u64>,
    /// 1, or 3 in three zones.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3))]
    pub nodes: u32,
    /// Clients whose calls go into the history.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub clients: u32,
    /// Calls a second of all of them together, at most.
    #[arg(long, default_value_t = 1500)]
    pub rate: u32,
    /// Writers of keys that are written once and counted.
    #[arg(long, default_value_t = 4)]
    pub mark_writers: u32,
    /// Writes a second of all of them together, at most.
    #[arg(long, default_value_t = 1500)]
    pub mark_rate: u32,
    /// Only these faults, separated by commas; their names stand in the summary.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Writes the history here, as JSON lines.
    #[arg(long)]
    pub history: Option<PathBuf>,
    /// Where the nodes keep their data; a temporary folder without it.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Keeps the folder even when all was well.
    #[arg(long)]
    pub keep: bool,
    /// The server; without it `ramkeep` beside this program.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Ports from here on; free ones are looked for without it.
    #[arg(long)]
    pub base_port: Option<u16>,
    /// Attacks a server that is wrong on purpose: forgets, skips, stale. The run must then fail.
    #[arg(long)]
    pub canary: Option<String>,
    /// Fails unless the run had at least these: failovers, kills, pauses, cuts, damaged, replaced, full-members, acked,
    /// separated by commas as `kills=30`.
    #[arg(long, value_delimiter = ',')]
    pub at_least: Vec<String>,
}
