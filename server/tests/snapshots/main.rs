//! Snapshots of whole nodes: carried to others, and cut short at every step.
#![cfg(not(madsim))]

mod common;
mod crash;
mod replaced;
mod transfer;
