//! What the end-to-end tests stand on: real processes, real sockets, real clients.
//!
//! Lives here: starting and killing servers, a small blocking client, the language of the
//! differential scripts, the random command generator, and finding outside tools.
//! Not here: the tests themselves (one file each beside this folder), and the simulator (`sim`).
//!
//! Invariant: every process started here dies with the value that stands for it, by its own id.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests are about real processes, files, sockets and clocks"
)]

pub mod boundary;
pub mod cargo;
pub mod cluster;
pub mod generator;
pub mod known;
pub mod random;
pub mod resp;
pub mod script;
pub mod server;
pub mod tools;
