//! A shard of three replicas in one test: messages as values, no runtime.

mod common;
#[allow(dead_code)]
#[path = "../../log/tests/common/mod.rs"]
mod log_common;

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
