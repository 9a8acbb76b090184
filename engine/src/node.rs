//! What the engine is told about the node it runs in, and what it asks of it.
//!
//! Lives here: plain facts that INFO and its kin print, and the actions that only the node can take.

use crate::config::Member;
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
    /// Name of what gives memory out.
    pub allocator: &'static str,
    /// Absolute path, or empty without one.
    pub config_file: String,
    pub data_directory: String,
    pub operating_system: String,
    pub started_at: Now,
    pub total_system_memory_bytes: u64,
}

/// What this node is to its shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardRole {
    /// Executes, or is alone and about to.
    #[default]
    Primary,
    /// Applies what the primary executed.
    Replica,
    /// Keeps the log and no data.
    LogOnly,
}

/// A member of the shard, as INFO shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFacts {
    pub id: u64,
    pub name: String,
    pub zone: String,
    pub address: String,
    pub port: u16,
    pub is_log_only: bool,
    /// It answers this primary.
    pub is_heard: bool,
    /// Since it last said something; `None`: never.
    pub silent_ms: Option<u64>,
    /// Everything up to here is durable there, as far as this node knows.
    pub matched_position: u64,
}

/// Facts of the log and the process, refreshed by the tick.
#[derive(Clone, Debug, Default)]
pub struct LogFacts {
    pub last_position: u64,
    pub committed_position: u64,
    /// Up to here the data are what the log says.
    pub applied_position: u64,
    /// Up to here the log is durable here.
    pub durable_position: u64,
    pub term: u64,
    pub role: ShardRole,
    pub own_id: u64,
    pub primary_id: Option<u64>,
    /// Since the primary was last heard.
    pub primary_heard_ms: Option<u64>,
    pub voters: u64,
    /// What is left of the primary's lease; `None` for the only voter, which needs none.
    pub lease_left_ms: Option<u64>,
    /// How often a deposed primary read its data again from the log since the start.
    pub rebuilds: u64,
    pub members: Vec<MemberFacts>,
    pub log_bytes: u64,
    pub segments: u64,
    pub free_disk_bytes: u64,
    /// Position after which the data were last digested, to be compared with other replicas.
    pub digest_position: u64,
    /// Replicas, this one among them, with the same digest there.
    pub digest_agreed: u64,
    /// Position after which replicas were found to differ; 0 if they do not.
    pub digest_differs: u64,
    pub resident_memory_bytes: u64,
    pub user_cpu_us: u64,
    pub system_cpu_us: u64,
    /// Middle and tail of the time from proposal to commit, over the last window.
    pub commit_p50_us: u64,
    pub commit_p99_us: u64,
    pub withheld_reply_bytes: u64,
    /// Replicas with the data that answer this primary.
    pub replicas: u64,
    /// Entries replayed so far, and how much of the log that is, while loading.
    pub loading_percent: u8,
}

impl LogFacts {
    /// What a replica has, as Redis's clients compare it with the primary's own offset: what is committed and no more.
    pub fn replica_offset(&self, replica: &MemberFacts) -> u64 {
        replica.matched_position.min(self.committed_position)
    }
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
    /// CLIENT UNPAUSE: calls that a pause held up go on.
    Resume,
    /// CLIENT UNBLOCK: a session's wait ends as at its deadline, or with an error.
    Unblock {
        session: SessionId,
        with_error: bool,
    },
    /// CONFIG SET of where clients come in: the session waits for the outcome.
    Listen {
        session: SessionId,
    },
    /// CONFIG REWRITE: the session waits for the outcome.
    RewriteConfig {
        session: SessionId,
    },
    /// RAMKEEP: the session waits for the answer.
    Cluster {
        session: SessionId,
        request: ClusterRequest,
    },
    /// DEBUG LOADAOF: wait until all is committed, then rebuild the data from the log.
    Rebuild {
        session: SessionId,
    },
    /// BGSAVE, SAVE, DEBUG RELOAD.
    Snapshot {
        asked: SnapshotAsked,
    },
    /// DEBUG SLEEP: the whole node stands still.
    Sleep {
        microseconds: u64,
    },
    /// A client sent what only a browser sends; its connection ends. An operator should know.
    CrossProtocol {
        address: String,
    },
    /// Parameters changed that the node itself acts on.
    ParametersChanged,
}

/// Who asked for a snapshot, and waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotAsked {
    InBackground,
    /// The session waits for its end.
    Save(SessionId),
    /// The session waits until the data were read again from it.
    Reload(SessionId),
}

/// What an operator asks of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    Status,
    /// Hand the primary's role over, to a node of this name or to any.
    Failover {
        to: Option<String>,
    },
    Members(MembersRequest),
    /// Exchange nothing with other nodes.
    Cut,
    Heal,
}

/// What an operator asks about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersRequest {
    List,
    /// A node that runs and waits becomes a member.
    Add(Member),
    /// The node of this name leaves.
    Remove(String),
    /// `with` takes the place of the node of this name; without it the same node does, which has lost its data.
    Replace {
        name: String,
        with: Option<Member>,
    },
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
    /// CLIENT PAUSE: the next call is not executed yet.
    Pause,
}
