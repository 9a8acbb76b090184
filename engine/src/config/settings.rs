//! The settings that code reads, typed and with their units.
//!
//! Lives here: one field per honoured directive. Not here: those that are only kept and read back.
//!
//! Invariant: the settings follow the values; they are built anew after every change.

use super::directive::find;
use super::members::{Member, Own};
use super::value::{Events, OutputLimits, Value};

/// What runs by the configuration reads this.
#[derive(Clone, PartialEq)]
pub struct Settings {
    // Network and clients
    pub bind: Vec<String>,
    pub port: u16,
    pub protected_mode: bool,
    pub insecure: bool,
    /// None: no password is asked for.
    pub requirepass: Option<Vec<u8>>,
    pub tcp_backlog: u32,
    /// 0: off.
    pub tcp_keepalive_s: u32,
    /// 0: idle clients stay.
    pub timeout_s: u32,
    pub clients_max: u32,
    pub query_buffer_bytes_max: u64,
    pub output_limits: OutputLimits,
    pub bulk_bytes_max: u64,
    /// 0: until the client or the wall says so.
    pub shutdown_timeout_s: u32,
    /// HELLO gives Redis's name and version.
    pub extended_redis_compatibility: bool,

    // Memory and expiry
    /// 0: no limit.
    pub maxmemory_bytes: u64,
    /// 0: no limit.
    pub maxmemory_clients_bytes: u64,
    pub maxmemory_policy: EvictionPolicy,
    pub maxmemory_samples: u32,
    pub lfu_log_factor: u32,
    pub lfu_decay_minutes: u32,
    /// Background turns per second.
    pub hz: u32,
    /// 1 to 10.
    pub active_expire_effort: u32,

    // Data types
    pub databases: u32,
    pub hash_listpack_entries_max: u64,
    pub hash_listpack_value_bytes_max: u64,

    // Observation
    pub busy_reply_threshold_ms: u64,
    pub notify_keyspace_events: Events,
    /// None: nothing is logged.
    pub slowlog_slower_than_us: Option<u64>,
    pub slowlog_entries_max: u64,
    /// 0: off.
    pub latency_monitor_threshold_ms: u64,
    pub latency_tracking: bool,
    pub latency_tracking_percentiles: Vec<f64>,
    pub log_level: &'static str,
    pub log_format: LogFormat,
    pub enable_debug_command: Allowed,
    pub enable_protected_configs: Allowed,

    // Cluster
    /// Which of `members` this node is.
    pub node_name: String,
    pub zone: String,
    /// Empty: as `members` says.
    pub node_role: String,
    /// A name, or a UUID.
    pub cluster_id: String,
    /// Empty: a node alone.
    pub members: Vec<Member>,
    /// Where this node reaches some of them, by name, whatever `members` and the log say.
    pub peer_routes: Vec<(String, String)>,
    /// This node founds no cluster with them: it waits until it is added.
    pub join_cluster: bool,
    /// Directories of earlier data that were set aside, at most; 0: none ever is.
    pub quarantines_max: usize,
    /// Empty: peers on this machine only, not authenticated.
    pub peer_secret: Vec<u8>,

    // Durability
    pub dir: Vec<u8>,
    pub segment_size_bytes: u64,
    /// Strings in snapshots are compressed.
    pub rdb_compression: bool,
    /// Snapshots held here at most.
    pub snapshots_max: usize,
    /// A snapshot is made when the log has grown by this, or by the size of the data if that is more. 0: never.
    pub snapshot_log_bytes: u64,
    /// Growth of the log after which replicas digest their data and compare; 0: never.
    pub digest_log_bytes: u64,
    pub unavailable_wait_ms: u32,
    pub withheld_replies_bytes_max: u64,
    pub withheld_replies_node_bytes_max: u64,
}

/// What goes first when memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionPolicy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllKeysLru,
    AllKeysLfu,
    AllKeysRandom,
    NoEviction,
}

impl EvictionPolicy {
    /// Whether keys without a deadline always stay.
    pub fn spares_lasting(self) -> bool {
        matches!(
            self,
            EvictionPolicy::VolatileLru
                | EvictionPolicy::VolatileLfu
                | EvictionPolicy::VolatileRandom
                | EvictionPolicy::VolatileTtl
        )
    }

    /// Whether access frequency, not recency, is to be kept per key.
    pub fn counts_frequency(self) -> bool {
        matches!(self, EvictionPolicy::VolatileLfu | EvictionPolicy::AllKeysLfu)
    }
}

/// Form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Who may do what is dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    No,
    Yes,
    /// Connections from this machine only.
    Local,
}

impl Allowed {
    /// Whether a client may, being on this machine or not.
    pub fn permits(self, client_is_local: bool) -> bool {
        match self {
            Allowed::No => false,
            Allowed::Yes => true,
            Allowed::Local => client_is_local,
        }
    }
}

impl Settings {
    /// What this node says of itself beside the list of members.
    pub fn own(&self) -> Own<'_> {
        Own {
            name: &self.node_name,
            joins: self.join_cluster,
            zone: &self.zone,
            role: &self.node_role,
            cluster: &self.cluster_id,
            secret: &self.peer_secret,
        }
    }

    /// Reads the typed settings out of the values, which stand in the order of the table.
    pub(super) fn from_values(values: &[Value]) -> Settings {
        let from = Source(values);
        Settings {
            bind: from.addresses("bind"),
            port: from.number("port"),
            protected_mode: from.boolean("protected-mode"),
            insecure: from.boolean("insecure"),
            requirepass: Some(from.text("requirepass")).filter(|password| !password.is_empty()),
            tcp_backlog: from.number("tcp-backlog"),
            tcp_keepalive_s: from.number("tcp-keepalive"),
            timeout_s: from.number("timeout"),
            clients_max: from.number("maxclients"),
            query_buffer_bytes_max: from.bytes("client-query-buffer-limit"),
            output_limits: from.output_limits("client-output-buffer-limit"),
            bulk_bytes_max: from.bytes("proto-max-bulk-len"),
            shutdown_timeout_s: from.number("shutdown-timeout"),
            extended_redis_compatibility: from.boolean("extended-redis-compatibility"),
            maxmemory_bytes: from.bytes("maxmemory"),
            maxmemory_clients_bytes: from.bytes_or_part("maxmemory-clients", from.bytes("maxmemory")),
            maxmemory_policy: from.policy("maxmemory-policy"),
            maxmemory_samples: from.number("maxmemory-samples"),
            lfu_log_factor: from.number("lfu-log-factor"),
            lfu_decay_minutes: from.number("lfu-decay-time"),
            hz: from.number("hz"),
            active_expire_effort: from.number("active-expire-effort"),
            databases: from.number("databases"),
            hash_listpack_entries_max: from.number("hash-max-listpack-entries"),
            hash_listpack_value_bytes_max: from.bytes("hash-max-listpack-value"),
            busy_reply_threshold_ms: from.number("busy-reply-threshold"),
            notify_keyspace_events: from.events("notify-keyspace-events"),
            slowlog_slower_than_us: u64::try_from(from.integer("slowlog-log-slower-than")).ok(),
            slowlog_entries_max: from.number("slowlog-max-len"),
            latency_monitor_threshold_ms: from.number("latency-monitor-threshold"),
            latency_tracking: from.boolean("latency-tracking"),
            latency_tracking_percentiles: from.percentiles("latency-tracking-info-percentiles"),
            log_level: from.word("loglevel"),
            log_format: if from.word("log-format") == "json" { LogFormat::Json } else { LogFormat::Text },
            enable_debug_command: from.allowed("enable-debug-command"),
            enable_protected_configs: from.allowed("enable-protected-configs"),
            node_name: from.string("node-name"),
            zone: from.string("zone"),
            node_role: from.string("node-role"),
            cluster_id: from.string("cluster-id"),
            members: from.members("member"),
            peer_routes: super::value::routes(&from.text("peer-routes")).unwrap_or_default(),
            join_cluster: from.boolean("join-cluster"),
            quarantines_max: from.number("quarantine-keep"),
            peer_secret: from.text("peer-secret"),
            dir: from.text("dir"),
            segment_size_bytes: from.bytes("segment-size-bytes"),
            rdb_compression: from.boolean("rdbcompression"),
            snapshots_max: from.number("snapshot-keep"),
            snapshot_log_bytes: from.bytes("snapshot-log-bytes"),
            digest_log_bytes: from.bytes("digest-log-bytes"),
            unavailable_wait_ms: from.number("unavailable-wait-ms"),
            withheld_replies_bytes_max: from.bytes("withheld-replies-max-bytes"),
            withheld_replies_node_bytes_max: from.bytes("withheld-replies-node-max-bytes"),
        }
    }
}

/// Values by name. A name or kind that does not fit the table is a mistake in `from_values`, found by any test that
/// builds a configuration.
struct Source<'a>(&'a [Value]);

impl<'a> Source<'a> {
    fn value(&self, name: &str) -> &'a Value {
        let (index, _) =
            find(name.as_bytes()).unwrap_or_else(|| unreachable!("'{name}' stands in the table"));
        &self.0[index]
    }

    fn boolean(&self, name: &str) -> bool {
        let Value::Boolean(value) = self.value(name) else { unreachable!("'{name}' is a boolean") };
        *value
    }

    fn integer(&self, name: &str) -> i64 {
        let Value::Integer(value) = self.value(name) else { unreachable!("'{name}' is an integer") };
        *value
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> T {
        T::try_from(self.integer(name))
            .unwrap_or_else(|_| unreachable!("the range of '{name}' fits its type"))
    }

    fn bytes(&self, name: &str) -> u64 {
        let Value::Memory(bytes) = self.value(name) else { unreachable!("'{name}' is a size") };
        *bytes
    }

    /// A size, or so many percent of `whole`.
    fn bytes_or_part(&self, name: &str, whole: u64) -> u64 {
        match self.value(name) {
            Value::Memory(bytes) => *bytes,
            Value::Percent(percent) => whole / 100 * u64::from(*percent),
            _ => unreachable!("'{name}' is a size or a part"),
        }
    }

    fn word(&self, name: &str) -> &'static str {
        let Value::Word(word) = self.value(name) else { unreachable!("'{name}' is a word") };
        word
    }

    fn text(&self, name: &str) -> Vec<u8> {
        let Value::Text(text) = self.value(name) else { unreachable!("'{name}' is a text") };
        text.clone()
    }

    fn string(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.text(name)).into_owned()
    }

    fn members(&self, name: &str) -> Vec<Member> {
        let Value::Members(members) = self.value(name) else { unreachable!("'{name}' holds members") };
        members.clone()
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let Value::Addresses(addresses) = self.value(name) else { unreachable!("'{name}' holds addresses") };
        addresses.clone()
    }

    fn output_limits(&self, name: &str) -> OutputLimits {
        let Value::OutputLimits(limits) = self.value(name) else {
            unreachable!("'{name}' holds output limits")
        };
        *limits
    }

    fn events(&self, name: &str) -> Events {
        let Value::Events(events) = self.value(name) else { unreachable!("'{name}' holds event classes") };
        *events
    }

    fn percentiles(&self, name: &str) -> Vec<f64> {
        let Value::Percentiles(percentiles) = self.value(name) else {
            unreachable!("'{name}' holds percentiles")
        };
        percentiles.clone()
    }

    fn allowed(&self, name: &str) -> Allowed {
        match self.word(name) {
            "yes" => Allowed::Yes,
            "local" => Allowed::Local,
            _ => Allowed::No,
        }
    }

    fn policy(&self, name: &str) -> EvictionPolicy {
        match self.word(name) {
            "volatile-lru" => EvictionPolicy::VolatileLru,
            "volatile-lfu" => EvictionPolicy::VolatileLfu,
            "volatile-random" => EvictionPolicy::VolatileRandom,
            "volatile-ttl" => EvictionPolicy::VolatileTtl,
            "allkeys-lru" => EvictionPolicy::AllKeysLru,
            "allkeys-lfu" => EvictionPolicy::AllKeysLfu,
            "allkeys-random" => EvictionPolicy::AllKeysRandom,
            _ => EvictionPolicy::NoEviction,
        }
    }
}
