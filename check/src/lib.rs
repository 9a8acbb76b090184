//! What is asked of a server and whether its answers can be true. Pure.
//!
//! Lives here: workloads that yield calls, a client without a socket, histories of what was asked and answered, and
//! the checkers that judge them. Simulated campaigns, attacks on real processes and the demonstration share it.
//! Not here: the server, faults, sockets and clocks.
//!
//! The way of a run: `workload` yields commands, `session` carries them over `client`, `history` records them, `checker` judges.

pub mod call;
pub mod checker;
pub mod client;
pub mod history;
pub mod random;
pub mod reply;
pub mod session;
pub mod workload;
