//! Numbers as text, to the letter as Redis reads and prints them.
//!
//! Lives here: 64-bit integers, doubles, and the 80-bit floats of INCRBYFLOAT.

pub mod double;
pub mod integer;
