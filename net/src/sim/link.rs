//! How links and connections are, and what happened on them: plain values.
//!
//! Lives here: delays, chances, sizes, counts. Not here: what they do to bytes (`network`).

/// One direction between two nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Bounds of a segment's delay in microseconds.
    pub latency_us: (u64, u64),
    /// Chance that a segment takes longer, by whatever `slow_us` adds.
    pub slow: f64,
    /// Bounds of what a slow segment takes in addition.
    pub slow_us: (u64, u64),
    /// Chance, per segment, that the connection is reset on the way.
    pub reset: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self { latency_us: (100, 1_000), slow: 0.0, slow_us: (1_000, 200_000), reset: 0.0 }
    }
}

/// A direction's state: how it is, and what stands in its way.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkState {
    pub link: Option<Link>,
    pub is_cut: bool,
    pub stalled_until_ns: u64,
}

/// What holds for all connections.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Every link that has not been set on its own.
    pub link: Link,
    /// Bytes that a sender may have unacknowledged.
    pub send_buffer_bytes: usize,
    /// Bytes that may wait to be read.
    pub receive_buffer_bytes: usize,
    /// Chance that a read or write moves fewer bytes than it could, often a single one.
    pub short_io: f64,
    /// How long a call waits for an answer.
    pub connect_timeout_us: u64,
    /// How long a sender goes on without an acknowledgement.
    pub give_up_us: u64,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            link: Link::default(),
            send_buffer_bytes: 64 << 10,
            receive_buffer_bytes: 64 << 10,
            short_io: 0.0,
            connect_timeout_us: 20_000_000,
            give_up_us: 120_000_000,
        }
    }
}

/// How often each thing has really happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Connections made.
    pub connected: u64,
    /// Calls refused, nobody listening.
    pub refused: u64,
    /// Calls without an answer.
    pub call_timeouts: u64,
    /// Ends of connections that saw a reset.
    pub resets: u64,
    /// Ends that gave up on a silent peer.
    pub silences: u64,
    /// Segments that arrived.
    pub segments: u64,
    /// Times that a segment found its direction cut, stalled or dark.
    pub segments_held: u64,
    /// Segments lost with their machine's power.
    pub segments_lost: u64,
    /// Reads and writes that moved less than they could.
    pub short: u64,
    /// Writes that found no room.
    pub writes_blocked: u64,
}
