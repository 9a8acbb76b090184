//! The server: a shard on real or simulated sockets, clocks and disks.
//!
//! Lives here: configuration and command line, connections, the log's files, start and end of a node.
//! Not here: what commands do (`ramkeep-engine`), when replies may leave (`ramkeep-shard`).

pub mod banner;
mod book;
pub mod cli;
mod comparison;
pub mod config_file;
mod connection;
pub mod founding;
pub mod holdings;
mod install;
mod joining;
pub mod listeners;
mod log_driver;
pub mod members;
pub mod node;
pub mod options;
pub mod peers;
pub mod point;
mod profile;
mod quarantine;
pub mod roster;
mod round;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod transfer;
mod tunnel;
mod wire;
