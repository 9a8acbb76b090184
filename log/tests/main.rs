//! Tests of the log as its users see it, in one program, so that all share one simulated disk and cluster.

mod changes;
mod codec;
mod common;
mod single;
mod three;
mod transcripts;
