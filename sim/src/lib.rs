//! The whole system under a seed: workloads, faults, history and checkers.
//!
//! Lives here: what is needed to attack a server and to judge what it answered. Everything but the campaign's
//! own body is pure and free of any runtime, so that simulated campaigns, real processes and plain tests share it.
//! Not here: the server, and the simulated network and disk (`net`).
//!
//! The way of a run: `campaign::options` draws a plan from the seed, `workload` yields commands, `client` carries
//! them, `history` records them, `checker` judges.

pub mod call;
pub mod campaign;
pub mod checker;
pub mod client;
pub mod history;
pub mod random;
pub mod reached;
pub mod reply;
pub mod workload;
