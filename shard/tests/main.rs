//! A shard of three replicas in one test: messages as values, no runtime.

mod common;
/// The disk of the log's own tests.
#[path = "../../log/tests/common/disk.rs"]
mod disk;

mod comparison;
mod freshness;
mod handover;
mod lives;
mod log_only;
mod moves;
mod pauses;
mod reads;
mod snapshots;
mod step_down;
mod traps;
