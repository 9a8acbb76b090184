//! The primary's lease: until when its reads need no round trip.
//!
//! Lives here: the stamps that heartbeats carry, and the end that a majority's answer gives.
//! Not here: clocks (the caller's monotonic one counts suspend) and what a read waits for.
//!
//! Invariant: the lease counts from the moment the heartbeats were *sent*, so it ends before any follower that
//! answered them would vote for another. Once leadership was offered to another there is none in that term.

use crate::bytes_at::u64_at;
use crate::types::{NodeId, Term};

const CONTEXT_BYTES: usize = 32;
const LEASE: u64 = 1;
const READ: u64 = 2;

/// What a read-index round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Renews the lease; sent at this time.
    Lease { stamp_ns: u64 },
    /// Asked for by the caller.
    Read { context: u64 },
}

impl Round {
    /// Context of a round: member, term, kind, value; each 8 bytes, little-endian.
    pub fn encode(self, member: NodeId, term: Term) -> Vec<u8> {
        let (kind, value) = match self {
            Self::Lease { stamp_ns } => (LEASE, stamp_ns),
            Self::Read { context } => (READ, context),
        };
        [member.0, term.0, kind, value].iter().flat_map(|field| field.to_le_bytes()).collect()
    }

    /// Reads a context that this member made in `term`; any other is nobody's.
    pub fn decode(bytes: &[u8], member: NodeId, term: Term) -> Option<Self> {
        if bytes.len() != CONTEXT_BYTES || u64_at(bytes, 0) != member.0 || u64_at(bytes, 8) != term.0 {
            return None;
        }
        let value = u64_at(bytes, 24);
        match u64_at(bytes, 16) {
            LEASE => Some(Self::Lease { stamp_ns: value }),
            READ => Some(Self::Read { context: value }),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lease {
    duration_ns: u64,
    end_ns: u64,
    given_up_in: Option<Term>,
}

impl Lease {
    pub fn new(duration_ns: u64) -> Self {
        Self { duration_ns, ..Self::default() }
    }

    pub fn renew(&mut self, stamp_ns: u64, term: Term) {
        if self.given_up_in != Some(term) {
            self.end_ns = self.end_ns.max(stamp_ns.saturating_add(self.duration_ns));
        }
    }

    pub fn left_ns(&self, now_ns: u64) -> u64 {
        self.end_ns.saturating_sub(now_ns)
    }

    pub fn is_valid(&self, now_ns: u64) -> bool {
        now_ns < self.end_ns
    }

    /// Leadership ended, or was lost.
    pub fn end(&mut self) {
        self.end_ns = 0;
    }

    pub fn is_given_up(&self, term: Term) -> bool {
        self.given_up_in == Some(term)
    }

    /// Leadership of `term` is offered to another.
    pub fn give_up(&mut self, term: Term) {
        self.end_ns = 0;
        self.given_up_in = Some(term);
    }
}
