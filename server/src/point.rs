//! Named places at which a process may end: something was done, and what follows from it was not.
//!
//! Lives here: their names. Not here: ending the process there, which only a simulated host does ([`ramkeep_net::Host`]).
//!
//! A campaign visits each and ends processes and machines there. Outside of simulation they cost nothing.

macro_rules! points {
    ($($name:ident = $text:literal;)*) => {
        $(pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

/// What snapshots went through, to be counted.
pub const OF_SNAPSHOTS: &[&str] =
    &[SNAPSHOT_NAMED, CUT_DONE, SNAPSHOT_FETCHED, FETCHED_AFTER_BREAK, ANEW_OVER_DATA, ANEW_WITHOUT_DATA];

/// Visited by a node that has no peers only.
pub const OF_A_NODE_ALONE: &[&str] = &[WRITE_MADE];

points! {
    REQUESTS_RECEIVED = "requests received, not executed";
    REQUESTS_EXECUTED = "requests executed, not proposed";
    WRITE_ISSUED = "write of the log issued";
    WRITE_SYNCED = "write of the log synced, not told";
    WRITE_TOLD = "write of the log told";
    WRITE_MADE = "write of the log made by the shard's thread, not told";
    MESSAGE_MADE = "message made, not sent";
    MESSAGES_SENT = "messages sent";
    MESSAGES_RECEIVED = "messages received, not taken";
    MESSAGES_TAKEN = "messages taken";
    REPLY_RELEASED = "reply released, not sent";
    REPLY_SENT = "reply sent";
    ENTRIES_APPLIED = "entries applied";
    VOTE_ISSUED = "vote issued";
    VOTE_SAVED = "vote saved, not told";
    VOTE_TOLD = "vote told";
    SEGMENT_MADE = "segment made, not told";
    SNAPSHOT_BEGUN = "snapshot begun";
    SNAPSHOT_APPENDED = "piece of a snapshot written";
    SNAPSHOT_WRITTEN = "snapshot written, not read back";
    SNAPSHOT_READ_BACK = "snapshot read back, without its name";
    SNAPSHOT_NAMED = "snapshot named, nothing cut";
    PIECE_READ = "piece of a snapshot read for another node, not sent";
    SNAPSHOT_FETCHED = "snapshot fetched";
    FETCHED_AFTER_BREAK = "snapshot fetched in spite of a break";
    ANEW_OVER_DATA = "started anew from a snapshot, over data";
    ANEW_WITHOUT_DATA = "started anew from a snapshot, without data";
    CUT_BEGUN = "log to be cut";
    CUT_HALF_DONE = "segment removed, not durably";
    CUT_DONE = "log cut";
    REBUILD_BEGUN = "rebuild begun";
    STARTED = "directory opened";
    SNAPSHOT_LOADED = "snapshot loaded";
    LOG_READ = "log read";
    TAKES_PART = "replica begun";
}
