//! What the engine is told about the node it runs in, and what it asks of it.
//!
//! Lives here: plain facts that INFO and its kin print, and the actions that only the node can take.

use crate::error::ErrorReply;
use crate::session::SessionId;
use crate::time::Now;

/// Facts set at the start.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub process_id: u32,
    pub port: u16,
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    pub executable: String,
    /// Absolute path, or empty without one.
    pub config_file: String,
    pub data_directory: String,
    pub operating_system: String,
    pub started_at: Now,
    pub total_system_memory_bytes: u64,
}

/// Facts of the log and the process, refreshed by the tick.
#[derive(Clone, Debug, Default)]
pub struct LogFacts {
    pub last_position: u64,
    pub committed_position: u64,
    pub term: u64,
    pub log_bytes: u64,
    pub segments: u64,
    pub free_disk_bytes: u64,
    pub resident_memory_bytes: u64,
    pub user_cpu_us: u64,
    pub system_cpu_us: u64,
    /// Middle and tail of the time from proposal to commit, over the last window.
    pub commit_p50_us: u64,
    pub commit_p99_us: u64,
    pub withheld_reply_bytes: u64,
    /// Replicas that may acknowledge besides this node.
    pub replicas: u64,
    /// Entries replayed so far, and how much of the log that is, while loading.
    pub loading_percent: u8,
}

/// Whether commands on data are taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Availability {
    /// Primary with a lease and room in the log.
    Primary,
    /// Reads go on, writes get this error: no room, a fenced disk.
    ReadOnly(ErrorReply),
    /// Nothing but what tells of the node: replaying, a fenced disk.
    Unavailable(ErrorReply),
    /// No primary with a lease, as far as this node knows: all that reads or changes data gets this error.
    NoPrimary(ErrorReply),
    /// It applies what another executes: sessions that asked for it may read.
    Replica {
        /// What a write is answered, READONLY asked for or not.
        write: ErrorReply,
        /// What a read is answered where READONLY was not asked for.
        read: ErrorReply,
    },
}

/// What a handler asks of the node; taken after the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Close another client's connection.
    Close(SessionId),
    Shutdown,
    /// CONFIG REWRITE: the session waits for the outcome.
    RewriteConfig {
        session: SessionId,
    },
    /// DEBUG LOADAOF: wait until all is committed, then rebuild the data from the log.
    Rebuild {
        session: SessionId,
    },
    /// DEBUG SLEEP: the whole node stands still.
    Sleep {
        microseconds: u64,
    },
    /// Parameters changed that the node itself acts on.
    ParametersChanged,
}

/// Why a session takes no further command for now; its reply comes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// WAIT: the number of replicas that acknowledged, at the deadline or as soon as it is met.
    Wait { replicas: i64, deadline_ns: Option<u64> },
    /// WAITAOF: local and replica counts.
    WaitLog { local: i64, replicas: i64, deadline_ns: Option<u64> },
    /// An action's outcome.
    Action,
}
