//! Every directive: those of Redis 7.0 and Valkey 8.0, and Ramkeep's own.
//!
//! Lives here: one row per directive, by theme. Not here: what the values mean to the code that reads them
//! (`settings`).
//!
//! Invariant: every default is a valid value of its kind, and no name stands in two rows.

use super::directive::{Directive, Kind, TextRule, Treatment};
use Kind::{
    Addresses, Boolean, Clamped, Events, Integer, Joined, Members, Memory, MemoryOrPercent, Octal, OomScores,
    OutputLimits, Percentiles, SavePoints, ShutdownFlags, Text, Word,
};
use TextRule::{Any, FileName, Hostname, Routes, Title};
use Treatment::{Harmless, Honoured, Refused};

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const NATURAL: Kind = Integer { min: 0, max: INT };
const LONG_NATURAL: Kind = Integer { min: 0, max: LONG };
const POSITIVE: Kind = Integer { min: 1, max: INT };
const PORT: Kind = Integer { min: 0, max: 65_535 };
const BYTES: Kind = Memory { min: 0, max: i64::MAX as u64 };
const ALL_BYTES: Kind = Memory { min: 0, max: u64::MAX };
const MIB: u64 = 1024 * 1024;

const LOG: &str = "every OK is on disk through the transaction log, whatever this says";
const REWRITE: &str = "the transaction log has no append-only file to rewrite or to repair";
const SNAPSHOT: &str = "snapshots are made by the log's length and by BGSAVE, each checked when read";
const REPLICATION: &str = "this node is the only copy; there is no replication stream";
const CLUSTER: &str = "this node is no member of a Redis Cluster";
const TLS: &str = "there is no TLS: connections would not be encrypted";
const TLS_DETAIL: &str = "there is no TLS, and no TLS port can be opened";
const THREADS: &str = "one thread serves commands; the log has threads of its own";
const DEFRAG: &str = "memory is not defragmented by moving values";
const SERVICE: &str = "the process stays in the foreground; leave this to the service manager";
const LOGGING: &str = "messages go to standard output and standard error; redirect them there";
const TABLES: &str = "the tables grow and shrink step by step, always";
const LAZY: &str = "big values are always freed in small steps";
const PLATFORM: &str = "the operating system's own settings are left alone";
const TITLE: &str = "the process title stays as it was started";
const ACL: &str = "there is one user, 'default', with the password of 'requirepass'";
const MODULES: &str = "modules cannot be loaded";
const CRASH: &str = "a failed assertion prints its message and stops the node";
const LATER_TYPES: &str = "the types concerned do not exist yet";
const TRACKING: &str = "client-side caching does not exist yet";
const DUMP: &str = "RESTORE always checks its payload";

const POLICIES: Kind = Word(&[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
]);
const ALLOWED: Kind = Word(&["no", "yes", "local"]);

const fn row(name: &'static str, kind: Kind, default: &'static str, treatment: Treatment) -> Directive {
    Directive::new(name, kind, default, treatment)
}

/// All directives, by theme.
#[rustfmt::skip]
pub const DIRECTIVES: &[Directive] = &[
    // Network and clients
    row("bind", Addresses, "127.0.0.1 -::1", Honoured),
    row("port", PORT, "6379", Honoured),
    row("protected-mode", Boolean, "yes", Honoured),
    row("tcp-backlog", NATURAL, "511", Honoured).never(),
    row("tcp-keepalive", NATURAL, "300", Honoured),
    row("timeout", NATURAL, "0", Honoured),
    row("maxclients", Integer { min: 1, max: u32::MAX as i64 }, "10000", Honoured),
    row("client-query-buffer-limit", Memory { min: MIB, max: i64::MAX as u64 }, "1gb", Honoured),
    row("client-output-buffer-limit", OutputLimits, "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", Honoured),
    row("proto-max-bulk-len", Memory { min: MIB, max: i64::MAX as u64 }, "512mb", Honoured),
    row("maxmemory-clients", MemoryOrPercent, "0", Honoured),
    row("requirepass", Text(Any), "", Honoured).sensitive(),
    row("unixsocket", Text(Any), "", Refused("there are no Unix sockets; connect to the port")).never(),
    row("unixsocketperm", Octal { max: 0o777 }, "0", Harmless("there are no Unix sockets")).never(),
    row("unixsocketgroup", Text(Any), "", Harmless("there are no Unix sockets")).never(),
    row("bind-source-addr", Text(Any), "", Harmless(REPLICATION)),
    row("socket-mark-id", Integer { min: 0, max: u32::MAX as i64 }, "0", Harmless(PLATFORM)).never(),
    row("max-new-connections-per-cycle", Integer { min: 1, max: 1000 }, "10", Harmless("new connections are taken one by one between turns")),
    row("max-new-tls-connections-per-cycle", Integer { min: 1, max: 1000 }, "1", Harmless(TLS_DETAIL)),
    row("io-threads", Integer { min: 1, max: 128 }, "1", Harmless(THREADS)).never(),
    row("io-threads-do-reads", Boolean, "no", Harmless(THREADS)).never(),
    row("events-per-io-thread", NATURAL, "2", Harmless(THREADS)).hidden(),
    row("prefetch-batch-max-size", Integer { min: 0, max: 128 }, "16", Harmless("the keys of a whole batch are always prefetched")),
    row("extended-redis-compatibility", Boolean, "no", Honoured),

    // Memory and expiry
    row("maxmemory", ALL_BYTES, "0", Honoured),
    row("maxmemory-policy", POLICIES, "noeviction", Honoured),
    row("maxmemory-samples", Integer { min: 1, max: 64 }, "5", Honoured),
    row("maxmemory-eviction-tenacity", Integer { min: 0, max: 100 }, "10", Harmless("work in a turn is bounded by a count, not by time")),
    row("lfu-log-factor", NATURAL, "10", Honoured),
    row("lfu-decay-time", NATURAL, "1", Honoured),
    row("hz", Clamped { min: 1, max: 500, read_max: INT }, "10", Honoured),
    row("dynamic-hz", Boolean, "yes", Harmless("the number of background turns follows 'hz' alone")),
    row("active-expire-effort", Integer { min: 1, max: 10 }, "1", Honoured),
    row("activerehashing", Boolean, "yes", Harmless(TABLES)),
    row("lazyfree-lazy-eviction", Boolean, "no", Harmless(LAZY)),
    row("lazyfree-lazy-expire", Boolean, "no", Harmless(LAZY)),
    row("lazyfree-lazy-server-del", Boolean, "no", Harmless(LAZY)),
    row("lazyfree-lazy-user-del", Boolean, "no", Harmless(LAZY)),
    row("lazyfree-lazy-user-flush", Boolean, "no", Harmless(LAZY)),
    row("activedefrag", Boolean, "no", Refused(DEFRAG)),
    row("active-defrag-cycle-min", Integer { min: 1, max: 99 }, "1", Harmless(DEFRAG)),
    row("active-defrag-cycle-max", Integer { min: 1, max: 99 }, "25", Harmless(DEFRAG)),
    row("active-defrag-threshold-lower", Integer { min: 0, max: 1000 }, "10", Harmless(DEFRAG)),
    row("active-defrag-threshold-upper", Integer { min: 0, max: 1000 }, "100", Harmless(DEFRAG)),
    row("active-defrag-max-scan-fields", Integer { min: 1, max: LONG }, "1000", Harmless(DEFRAG)),
    row("active-defrag-ignore-bytes", Memory { min: 1, max: i64::MAX as u64 }, "100mb", Harmless(DEFRAG)),
    row("jemalloc-bg-thread", Boolean, "yes", Harmless("another allocator is used")),
    row("disable-thp", Boolean, "yes", Harmless(PLATFORM)).never(),
    row("oom-score-adj", Word(&["no", "yes", "relative", "absolute"]), "no", Harmless(PLATFORM)),
    row("oom-score-adj-values", OomScores, "0 200 800", Harmless(PLATFORM)),

    // Data types
    row("databases", Integer { min: 1, max: INT }, "16", Honoured).never(),
    row("hash-max-listpack-entries", LONG_NATURAL, "512", Honoured).alias(&["hash-max-ziplist-entries"]),
    row("hash-max-listpack-value", BYTES, "64", Honoured).alias(&["hash-max-ziplist-value"]),
    row("list-max-listpack-size", Integer { min: i32::MIN as i64, max: INT }, "-2", Harmless(LATER_TYPES)).alias(&["list-max-ziplist-size"]),
    row("list-compress-depth", NATURAL, "0", Harmless("lists are not compressed")),
    row("set-max-intset-entries", LONG_NATURAL, "512", Harmless(LATER_TYPES)),
    row("set-max-listpack-entries", LONG_NATURAL, "128", Harmless(LATER_TYPES)),
    row("set-max-listpack-value", LONG_NATURAL, "64", Harmless(LATER_TYPES)),
    row("zset-max-listpack-entries", LONG_NATURAL, "128", Harmless(LATER_TYPES)).alias(&["zset-max-ziplist-entries"]),
    row("zset-max-listpack-value", BYTES, "64", Harmless(LATER_TYPES)).alias(&["zset-max-ziplist-value"]),
    row("hll-sparse-max-bytes", BYTES, "3000", Harmless(LATER_TYPES)),
    row("stream-node-max-bytes", BYTES, "4096", Harmless(LATER_TYPES)),
    row("stream-node-max-entries", LONG_NATURAL, "100", Harmless(LATER_TYPES)),
    row("sanitize-dump-payload", Word(&["no", "yes", "clients"]), "no", Harmless(DUMP)),
    row("locale-collate", Text(Any), "", Harmless("SORT ALPHA compares bytes")),

    // Scripts, notifications, observation
    row("busy-reply-threshold", LONG_NATURAL, "5000", Honoured).alias(&["lua-time-limit"]),
    row("notify-keyspace-events", Events, "", Honoured),
    row("tracking-table-max-keys", LONG_NATURAL, "1000000", Harmless(TRACKING)),
    row("slowlog-log-slower-than", Integer { min: -1, max: LONG }, "10000", Honoured),
    row("slowlog-max-len", LONG_NATURAL, "128", Honoured),
    row("latency-monitor-threshold", LONG_NATURAL, "0", Honoured),
    row("latency-tracking", Boolean, "yes", Honoured),
    row("latency-tracking-info-percentiles", Percentiles, "50 99 99.9", Honoured),
    row("loglevel", Word(&["debug", "verbose", "notice", "warning", "nothing"]), "notice", Honoured),
    row("log-format", Word(&["text", "json", "legacy"]), "text", Honoured).fixed(),
    row("log-timestamp-format", Word(&["legacy", "iso8601", "milliseconds"]), "legacy", Harmless("the timestamp follows 'log-format'")),
    row("logfile", Text(Any), "", Harmless(LOGGING)).never(),
    row("syslog-enabled", Boolean, "no", Harmless(LOGGING)).never(),
    row("syslog-ident", Text(Any), "ramkeep", Harmless(LOGGING)).never(),
    row("syslog-facility", Word(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", Harmless(LOGGING)).never(),
    row("hide-user-data-from-log", Boolean, "yes", Harmless("messages never show users' data")),
    row("crash-log-enabled", Boolean, "yes", Harmless(CRASH)),
    row("crash-memcheck-enabled", Boolean, "yes", Harmless(CRASH)),
    row("use-exit-on-panic", Boolean, "no", Harmless(CRASH)).hidden(),
    row("enable-debug-assert", Boolean, "no", Harmless("assertions are always on")).never().hidden(),
    row("watchdog-period", NATURAL, "0", Harmless("there is no software watchdog")).hidden(),
    row("ignore-warnings", Text(Any), "", Harmless("there are no start checks to silence")),
    row("always-show-logo", Boolean, "no", Harmless("there is no logo")).never(),

    // Process
    row("daemonize", Boolean, "no", Harmless(SERVICE)).never(),
    row("supervised", Word(&["upstart", "systemd", "auto", "no"]), "no", Harmless(SERVICE)).never(),
    row("pidfile", Text(Any), "", Harmless(SERVICE)).never(),
    row("set-proc-title", Boolean, "yes", Harmless(TITLE)).never(),
    row("proc-title-template", Text(Title), "{title} {listen-addr} {server-mode}", Harmless(TITLE)),
    row("server-cpulist", Text(Any), "", Harmless(PLATFORM)).alias(&["server_cpulist"]).never(),
    row("bio-cpulist", Text(Any), "", Harmless(PLATFORM)).alias(&["bio_cpulist"]).never(),
    row("aof-rewrite-cpulist", Text(Any), "", Harmless(PLATFORM)).alias(&["aof_rewrite_cpulist"]).never(),
    row("bgsave-cpulist", Text(Any), "", Harmless(PLATFORM)).alias(&["bgsave_cpulist"]).never(),
    row("shutdown-timeout", NATURAL, "10", Honoured),
    row("shutdown-on-sigint", ShutdownFlags, "default", Harmless("every stop drains replies and syncs the log")),
    row("shutdown-on-sigterm", ShutdownFlags, "default", Harmless("every stop drains replies and syncs the log")),
    row("enable-protected-configs", ALLOWED, "no", Honoured).never(),
    row("enable-debug-command", ALLOWED, "no", Honoured).never(),
    row("enable-module-command", ALLOWED, "no", Harmless(MODULES)).never(),

    // Durability: always on
    row("dir", Text(Any), "./ramkeep-data", Honoured).fixed(),
    row("appendonly", Boolean, "yes", Harmless(LOG)),
    row("appendfsync", Word(&["everysec", "always", "no"]), "always", Harmless(LOG)),
    row("no-appendfsync-on-rewrite", Boolean, "no", Harmless(LOG)),
    row("appendfilename", Text(FileName), "appendonly.aof", Harmless(REWRITE)).never(),
    row("appenddirname", Text(FileName), "appendonlydir", Harmless(REWRITE)).never(),
    row("auto-aof-rewrite-percentage", NATURAL, "100", Harmless(REWRITE)),
    row("auto-aof-rewrite-min-size", BYTES, "64mb", Harmless(REWRITE)),
    row("aof-load-truncated", Boolean, "yes", Harmless("recovery cuts a torn tail, which held no acknowledged write")),
    row("aof-use-rdb-preamble", Boolean, "yes", Harmless(REWRITE)),
    row("aof-timestamp-enabled", Boolean, "no", Harmless(REWRITE)),
    row("aof-rewrite-incremental-fsync", Boolean, "yes", Harmless(REWRITE)),
    row("aof-disable-auto-gc", Boolean, "no", Harmless(REWRITE)).hidden(),
    row("save", SavePoints, "", Harmless(SNAPSHOT)),
    row("dbfilename", Text(FileName), "dump.rdb", Harmless(SNAPSHOT)).protected(),
    row("rdbcompression", Boolean, "no", Honoured),
    row("rdbchecksum", Boolean, "yes", Harmless(SNAPSHOT)).never(),
    row("rdb-del-sync-files", Boolean, "no", Harmless(SNAPSHOT)),
    row("rdb-save-incremental-fsync", Boolean, "yes", Harmless(SNAPSHOT)),
    row("rdb-version-check", Word(&["strict", "relaxed"]), "strict", Harmless(SNAPSHOT)),
    row("rdb-key-save-delay", Integer { min: i32::MIN as i64, max: INT }, "0", Harmless(SNAPSHOT)).hidden(),
    row("key-load-delay", Integer { min: i32::MIN as i64, max: INT }, "0", Harmless(SNAPSHOT)).hidden(),
    row("loading-process-events-interval-bytes", Integer { min: 1024, max: INT }, "2097152", Harmless(SNAPSHOT)).hidden(),
    row("stop-writes-on-bgsave-error", Boolean, "yes", Harmless("writes stop when the transaction log cannot be written, always")),

    // Replication
    row("replicaof", Joined, "", Refused("copying from a Redis server is not supported; this node would not follow it")).alias(&["slaveof"]).never(),
    row("primaryauth", Text(Any), "", Harmless(REPLICATION)).alias(&["masterauth"]).sensitive(),
    row("primaryuser", Text(Any), "", Harmless(REPLICATION)).alias(&["masteruser"]).sensitive(),
    row("replica-serve-stale-data", Boolean, "yes", Harmless(REPLICATION)).alias(&["slave-serve-stale-data"]),
    row("replica-read-only", Boolean, "yes", Harmless(REPLICATION)).alias(&["slave-read-only"]),
    row("replica-lazy-flush", Boolean, "no", Harmless(REPLICATION)).alias(&["slave-lazy-flush"]),
    row("replica-ignore-maxmemory", Boolean, "yes", Harmless(REPLICATION)).alias(&["slave-ignore-maxmemory"]),
    row("replica-ignore-disk-write-errors", Boolean, "no", Harmless(REPLICATION)),
    row("replica-announced", Boolean, "yes", Harmless(REPLICATION)),
    row("replica-announce-ip", Text(Any), "", Harmless(REPLICATION)).alias(&["slave-announce-ip"]),
    row("replica-announce-port", PORT, "0", Harmless(REPLICATION)).alias(&["slave-announce-port"]),
    row("replica-priority", NATURAL, "100", Harmless(REPLICATION)).alias(&["slave-priority"]),
    row("min-replicas-to-write", NATURAL, "0", Refused("there are no Redis replicas to wait for: every write would be refused")).alias(&["min-slaves-to-write"]),
    row("min-replicas-max-lag", NATURAL, "10", Harmless(REPLICATION)).alias(&["min-slaves-max-lag"]),
    row("repl-timeout", POSITIVE, "60", Harmless(REPLICATION)),
    row("repl-ping-replica-period", POSITIVE, "10", Harmless(REPLICATION)).alias(&["repl-ping-slave-period"]),
    row("repl-backlog-size", Memory { min: 1, max: i64::MAX as u64 }, "1mb", Harmless(REPLICATION)),
    row("repl-backlog-ttl", LONG_NATURAL, "3600", Harmless(REPLICATION)),
    row("repl-disable-tcp-nodelay", Boolean, "no", Harmless(REPLICATION)),
    row("repl-diskless-sync", Boolean, "yes", Harmless(REPLICATION)),
    row("repl-diskless-sync-delay", NATURAL, "5", Harmless(REPLICATION)),
    row("repl-diskless-sync-max-replicas", NATURAL, "0", Harmless(REPLICATION)),
    row("repl-diskless-load", Word(&["disabled", "on-empty-db", "swapdb", "flush-before-load"]), "disabled", Harmless(REPLICATION)),
    row("dual-channel-replication-enabled", Boolean, "no", Harmless(REPLICATION)),
    row("propagation-error-behavior", Word(&["ignore", "panic", "panic-on-replicas"]), "ignore", Harmless(REPLICATION)),
    row("availability-zone", Text(Any), "", Harmless("there is one zone")),

    // Users
    row("aclfile", Text(Any), "", Refused(ACL)).never(),
    row("acl-pubsub-default", Word(&["allchannels", "resetchannels"]), "resetchannels", Harmless(ACL)),
    row("acllog-max-len", LONG_NATURAL, "128", Harmless(ACL)),

    // Redis Cluster
    row("cluster-enabled", Boolean, "no", Refused("cluster mode does not exist yet")).never(),
    row("cluster-config-file", Text(FileName), "nodes.conf", Harmless(CLUSTER)).never(),
    row("cluster-port", PORT, "0", Harmless(CLUSTER)).never(),
    row("cluster-node-timeout", LONG_NATURAL, "15000", Harmless(CLUSTER)),
    row("cluster-ping-interval", LONG_NATURAL, "0", Harmless(CLUSTER)).hidden(),
    row("cluster-announce-ip", Text(Any), "", Harmless(CLUSTER)),
    row("cluster-announce-client-ipv4", Text(Any), "", Harmless(CLUSTER)),
    row("cluster-announce-client-ipv6", Text(Any), "", Harmless(CLUSTER)),
    row("cluster-announce-hostname", Text(Hostname), "", Harmless(CLUSTER)),
    row("cluster-announce-human-nodename", Text(Any), "", Harmless(CLUSTER)),
    row("cluster-announce-port", PORT, "0", Harmless(CLUSTER)),
    row("cluster-announce-bus-port", PORT, "0", Harmless(CLUSTER)),
    row("cluster-announce-tls-port", PORT, "0", Harmless(CLUSTER)),
    row("cluster-preferred-endpoint-type", Word(&["ip", "hostname", "unknown-endpoint"]), "ip", Harmless(CLUSTER)),
    row("cluster-require-full-coverage", Boolean, "yes", Harmless(CLUSTER)),
    row("cluster-migration-barrier", NATURAL, "1", Harmless(CLUSTER)),
    row("cluster-allow-replica-migration", Boolean, "yes", Harmless(CLUSTER)),
    row("cluster-allow-reads-when-down", Boolean, "no", Harmless(CLUSTER)),
    row("cluster-allow-pubsubshard-when-down", Boolean, "yes", Harmless(CLUSTER)),
    row("cluster-replica-no-failover", Boolean, "no", Harmless(CLUSTER)).alias(&["cluster-slave-no-failover"]),
    row("cluster-replica-validity-factor", NATURAL, "10", Harmless(CLUSTER)).alias(&["cluster-slave-validity-factor"]),
    row("cluster-link-sendbuf-limit", ALL_BYTES, "0", Harmless(CLUSTER)),
    row("cluster-blacklist-ttl", Integer { min: 0, max: u32::MAX as i64 }, "60", Harmless(CLUSTER)),
    row("cluster-slot-stats-enabled", Boolean, "no", Harmless(CLUSTER)),

    // TLS
    row("tls-port", PORT, "0", Refused(TLS)),
    row("tls-cluster", Boolean, "no", Refused(TLS)),
    row("tls-replication", Boolean, "no", Refused(TLS)),
    row("tls-auth-clients", Word(&["no", "yes", "optional"]), "yes", Harmless(TLS_DETAIL)),
    row("tls-prefer-server-ciphers", Boolean, "no", Harmless(TLS_DETAIL)),
    row("tls-session-caching", Boolean, "yes", Harmless(TLS_DETAIL)),
    row("tls-session-cache-size", NATURAL, "20480", Harmless(TLS_DETAIL)),
    row("tls-session-cache-timeout", NATURAL, "300", Harmless(TLS_DETAIL)),
    row("tls-cert-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-key-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-key-file-pass", Text(Any), "", Harmless(TLS_DETAIL)).sensitive(),
    row("tls-client-cert-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-client-key-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-client-key-file-pass", Text(Any), "", Harmless(TLS_DETAIL)).sensitive(),
    row("tls-dh-params-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-ca-cert-file", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-ca-cert-dir", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-protocols", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-ciphers", Text(Any), "", Harmless(TLS_DETAIL)),
    row("tls-ciphersuites", Text(Any), "", Harmless(TLS_DETAIL)),

    // Ramkeep's own
    row("insecure", Boolean, "no", Honoured).fixed(),
    row("node-name", Text(Any), "", Honoured).fixed(),
    row("zone", Text(Any), "", Honoured).fixed(),
    row("node-role", Text(Any), "", Honoured).fixed(),
    row("cluster-id", Text(Any), "", Honoured).fixed(),
    row("member", Members, "", Honoured).fixed(),
    row("peer-routes", Text(Routes), "", Honoured).fixed(),
    row("join-cluster", Boolean, "no", Honoured).fixed(),
    row("quarantine-keep", Integer { min: 0, max: 1000 }, "3", Honoured),
    row("peer-secret", Text(Any), "", Honoured).fixed().sensitive().masked(),
    row("segment-size-bytes", Memory { min: MIB, max: 1024 * MIB }, "64mb", Honoured).fixed(),
    row("snapshot-keep", Integer { min: 1, max: 1000 }, "2", Honoured),
    row("snapshot-log-bytes", BYTES, "1gb", Honoured),
    row("digest-log-bytes", BYTES, "256mb", Honoured),
    row("unavailable-wait-ms", NATURAL, "2000", Honoured),
    row("withheld-replies-max-bytes", Memory { min: MIB, max: i64::MAX as u64 }, "64mb", Honoured),
    row("withheld-replies-node-max-bytes", Memory { min: MIB, max: i64::MAX as u64 }, "512mb", Honoured),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_stands_twice_and_all_are_in_lower_case() {
        let mut seen = BTreeSet::new();
        for name in DIRECTIVES.iter().flat_map(Directive::names) {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-' | b'_' | b'0'..=b'9')),
                "{name}"
            );
        }
    }

    #[test]
    fn every_reason_can_be_read_after_a_dash() {
        for directive in DIRECTIVES {
            if let Harmless(reason) | Refused(reason) = directive.treatment {
                assert!(!reason.is_empty() && !reason.ends_with('.'), "{}: {reason}", directive.name);
            }
        }
    }
}
