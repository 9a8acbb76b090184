//! Attacks on real processes.
//!
//! Comes with replication: the workloads and checkers of `ramkeep-sim` against processes behind a faulty proxy.
//! Until then real processes are killed by the end-to-end tests in `tests`.
