//! Tests of the log as its users see it, in one program, so that all share one simulated disk and cluster.

mod codec;
mod common;
mod doubt;
mod single;
mod three;
mod transcripts;
