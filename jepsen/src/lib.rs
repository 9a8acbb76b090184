//! Attacks on real processes.
//!
//! Lives here: a TCP proxy that is faulty on order, a cluster whose nodes are killed, paused and damaged, the schedule
//! of faults that a seed draws, and the run that ties them to the workloads and checkers of `ramkeep-check`.
//! Not here: processes and clients (`ramkeep-drive`), what is asked and how answers are judged (`ramkeep-check`), the
//! same under simulation (`ramkeep-sim`).
//!
//! Unlike in simulation the seed repeats only what is drawn, not the moments at which processes run.
#![cfg(not(madsim))]

pub mod cluster;
pub mod damage;
pub mod fake;
pub mod nemesis;
pub mod options;
pub mod proxy;
pub mod report;
pub mod run;
pub mod small_disk;
pub mod trial;
