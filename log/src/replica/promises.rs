//! Saving of term and vote.
//!
//! Lives here: which promise is on disk, which is being written, and the second copy.
//! Not here: what depends on a promise (`replica`), the slot's bytes (`hard_state`).
//!
//! Invariant: one save in flight; a promise is kept as soon as its first copy is synced, and its second copy
//! follows unless a newer promise is waiting.

use super::Output;
use crate::hard_state::{HardState, VOTE_FILE_SLOTS};
use crate::segment::Layout;

#[derive(Debug)]
pub(super) struct Promises {
    layout: Layout,
    latest: HardState,
    /// Counts the promises; `kept` is the last durable one.
    made: u64,
    kept: u64,
    in_flight: Option<InFlight>,
    copies: usize,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    generation: u64,
    promise: u64,
}

impl Promises {
    /// Begins with what was read from the file, which may live only in the page cache: it is saved again.
    pub fn new(layout: Layout, read: HardState) -> Self {
        Self { layout, latest: read, made: 1, kept: 0, in_flight: None, copies: 0 }
    }

    /// Makes a promise. Gives back its number, to be compared with [`Self::kept`].
    pub fn make(&mut self, promise: HardState) -> u64 {
        let generation = self.latest.generation;
        self.latest = HardState { generation, ..promise };
        self.made += 1;
        self.copies = 0;
        self.made
    }

    pub fn latest(&self) -> &HardState {
        &self.latest
    }

    pub fn made(&self) -> u64 {
        self.made
    }

    pub fn kept(&self) -> u64 {
        self.kept
    }

    pub fn poll(&mut self, outputs: &mut Vec<Output>) {
        if self.in_flight.is_some() || self.copies >= VOTE_FILE_SLOTS {
            return;
        }
        self.latest.generation += 1;
        let generation = self.latest.generation;
        self.in_flight = Some(InFlight { generation, promise: self.made });
        outputs.push(Output::SaveHardState {
            generation,
            slot: HardState::slot_of(generation),
            bytes: self.latest.encode(&self.layout),
        });
    }

    /// The save of `generation` is durable.
    pub fn saved(&mut self, generation: u64) {
        let Some(done) = self.in_flight.take_if(|it| it.generation == generation) else { return };
        self.kept = done.promise;
        if done.promise == self.made {
            self.copies += 1;
        }
    }
}
