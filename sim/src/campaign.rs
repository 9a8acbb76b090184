//! One run from a seed: what is drawn, and (under the simulator) how it is played.

#[cfg(madsim)]
pub mod bugs;
pub mod options;

#[cfg(madsim)]
mod client;
#[cfg(madsim)]
mod cluster;
#[cfg(madsim)]
mod damage;
#[cfg(madsim)]
pub mod node;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
mod watch;
