//! One run from a seed: what is drawn, and (under the simulator) how it is played.

pub mod options;

#[cfg(madsim)]
mod client;
#[cfg(madsim)]
pub mod run;
