//! The whole system under a seed: faults drawn from it, and what became of the workloads meanwhile.
//!
//! Lives here: campaigns and the marks of rare places. Not here: workloads, histories and checkers (`check`), the
//! server, and the simulated network and disk (`net`).
//!
//! The way of a run: `campaign::options` draws a plan from the seed, the campaign carries it out, `check` judges.

pub mod campaign;
pub mod reached;
#[cfg(madsim)]
pub mod scene;

pub use ramkeep_check::{call, checker, client, history, random, reply, session, workload};
