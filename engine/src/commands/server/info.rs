//! INFO: the node in sections of `field:value` lines, in the words that clients and exporters read.
//!
//! Not here: counting (`crate::stats`, `crate::data`) and what the node finds out about itself
//! (`crate::node`).
//!
//! Invariant: INFO waits for no commit: it must answer when nothing else does.

use super::{REDIS_VERSION, VALKEY_VERSION};
use crate::call::Call;
use crate::data::DATABASE_COUNT;
use crate::error::Result;
use crate::{Availability, Engine, ShardRole};
use std::fmt::Write as _;

type Section = fn(&Call<'_>, &mut String);

/// Every section; the last column says whether it is shown unasked.
const SECTIONS: [(&str, Section, bool); 13] = [
    ("Server", server, true),
    ("Clients", clients, true),
    ("Memory", memory, true),
    ("Persistence", persistence, true),
    ("Stats", stats, true),
    ("Replication", replication, true),
    ("CPU", cpu, true),
    ("Modules", modules, true),
    ("Commandstats", command_stats, false),
    ("Errorstats", error_stats, true),
    ("Latencystats", latency_stats, false),
    ("Cluster", cluster, true),
    ("Keyspace", keyspace, true),
];

pub(super) fn info(call: &mut Call<'_>) -> Result {
    let asked: Vec<String> =
        call.args.iter().skip(1).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let names = |wanted: &str| asked.iter().any(|name| name == wanted);
    let is_default = asked.is_empty() || names("default");
    let is_all = names("all") || names("everything");
    call.engine.count_clients();
    let mut text = String::new();
    let all = SECTIONS.into_iter().chain([("Durability", durability as Section, true)]);
    for (title, section, is_usual) in all {
        if is_all || (is_default && is_usual) || names(&title.to_ascii_lowercase()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write!(text, "# {title}\r\n").expect("a string takes everything");
            section(call, &mut text);
        }
    }
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn line(text: &mut String, field: &str, value: impl std::fmt::Display) {
    write!(text, "{field}:{value}\r\n").expect("a string takes everything");
}

fn uptime_seconds(call: &Call<'_>) -> u64 {
    call.now.monotonic_ns.saturating_sub(call.engine.node.started_at.monotonic_ns) / 1_000_000_000
}

fn server(call: &Call<'_>, text: &mut String) {
    let node = &call.engine.node;
    let settings = call.engine.config.settings();
    line(text, "redis_version", REDIS_VERSION);
    line(text, "server_name", "valkey");
    line(text, "valkey_version", VALKEY_VERSION);
    line(text, "ramkeep_version", env!("CARGO_PKG_VERSION"));
    line(text, "redis_git_sha1", "00000000");
    line(text, "redis_git_dirty", 0);
    line(text, "redis_mode", "standalone");
    line(text, "server_mode", "standalone");
    line(text, "os", &node.operating_system);
    line(text, "arch_bits", usize::BITS);
    line(text, "process_id", node.process_id);
    line(text, "run_id", &node.run_id);
    line(text, "tcp_port", node.port);
    line(text, "server_time_usec", call.now.wall_us);
    line(text, "uptime_in_seconds", uptime_seconds(call));
    line(text, "uptime_in_days", uptime_seconds(call) / 86_400);
    line(text, "hz", settings.hz);
    line(text, "configured_hz", settings.hz);
    line(text, "executable", &node.executable);
    line(text, "config_file", &node.config_file);
}

fn clients(call: &Call<'_>, text: &mut String) {
    let sessions = &call.engine.sessions;
    let blocked = sessions.iter().filter(|session| session.blocked.is_some()).count();
    let (watched_keys, watching_clients) = call.engine.data.watch_counts();
    // The client that asks is out of the registry meanwhile.
    line(text, "connected_clients", sessions.len() + 1);
    line(text, "cluster_connections", 0);
    line(text, "maxclients", call.engine.config.settings().clients_max);
    line(text, "blocked_clients", blocked);
    line(text, "tracking_clients", 0);
    line(text, "pubsub_clients", 0);
    line(text, "watching_clients", watching_clients);
    line(text, "total_watched_keys", watched_keys);
    line(text, "total_blocking_keys", 0);
    line(text, "total_blocking_keys_on_nokey", 0);
}

fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

fn memory(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    let used = engine.used_memory();
    let resident = engine.log.resident_memory_bytes;
    let settings = engine.config.settings();
    let peak = engine.stats.used_memory_peak.max(used);
    line(text, "used_memory", used);
    line(text, "used_memory_human", human(used));
    line(text, "used_memory_rss", resident);
    line(text, "used_memory_rss_human", human(resident));
    line(text, "used_memory_peak", peak);
    line(text, "used_memory_peak_human", human(peak));
    line(text, "used_memory_peak_perc", format!("{:.2}%", used as f64 * 100.0 / peak.max(1) as f64));
    line(text, "used_memory_overhead", engine.clients_bytes());
    line(text, "used_memory_startup", 0);
    line(text, "used_memory_dataset", engine.data.used_memory());
    line(text, "total_system_memory", engine.node.total_system_memory_bytes);
    line(text, "total_system_memory_human", human(engine.node.total_system_memory_bytes));
    line(text, "maxmemory", settings.maxmemory_bytes);
    line(text, "maxmemory_human", human(settings.maxmemory_bytes));
    line(text, "maxmemory_policy", policy(engine));
    line(text, "mem_fragmentation_ratio", format!("{:.2}", resident as f64 / used.max(1) as f64));
    line(text, "mem_clients_normal", engine.clients_bytes());
    line(text, "mem_not_counted_for_evict", 0);
    line(text, "number_of_cached_scripts", 0);
    line(text, "lazyfree_pending_objects", 0);
    line(text, "lazyfreed_objects", 0);
    line(text, "number_of_functions", 0);
    line(text, "number_of_libraries", 0);
    line(text, "mem_clients_slaves", 0);
    line(text, "mem_allocator", engine.node.allocator);
}

fn policy(engine: &Engine) -> String {
    let text = engine.config.value_text("maxmemory-policy").unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

fn is_loading(engine: &Engine) -> bool {
    matches!(&engine.availability, Availability::Unavailable(error) if error.code() == b"LOADING")
}

/// Whether writes are refused because of the disk or the log; a replica or a lost quorum is no such thing.
fn has_failing_log(engine: &Engine) -> bool {
    match &engine.availability {
        Availability::ReadOnly(error) | Availability::Unavailable(error) => error.code() == b"MISCONF",
        Availability::Primary | Availability::NoPrimary(_) | Availability::Replica { .. } => false,
    }
}

fn persistence(call: &Call<'_>, text: &mut String) {
    let engine = &*call.engine;
    line(text, "loading", u8::from(is_loading(engine)));
    if is_loading(engine) {
        line(text, "loading_loaded_perc", engine.log.loading_percent);
    }
    line(text, "async_loading", 0);
    let snapshots = &engine.snapshots;
    let seconds = |seconds: Option<u64>| seconds.map_or(-1, u64::cast_signed);
    let started_at_s = (engine.node.started_at.wall_us / 1_000_000).cast_signed();
    line(text, "rdb_changes_since_last_save", engine.data.changes().saturating_sub(snapshots.changes));
    line(text, "rdb_bgsave_in_progress", u8::from(snapshots.is_running));
    line(text, "rdb_last_save_time", snapshots.last_at_s.unwrap_or(started_at_s));
    line(text, "rdb_last_bgsave_status", if snapshots.has_failed { "err" } else { "ok" });
    line(text, "rdb_last_bgsave_time_sec", seconds(snapshots.last_seconds));
    line(text, "rdb_current_bgsave_time_sec", seconds(snapshots.running_seconds(call.now)));
    line(text, "rdb_saves", snapshots.count);
    line(text, "rdb_last_cow_size", snapshots.kept_bytes_peak);
    line(text, "rdb_last_load_keys_expired", 0);
    line(text, "rdb_last_load_keys_loaded", snapshots.loaded_keys);
    line(text, "aof_enabled", 1);
    line(text, "aof_rewrite_in_progress", 0);
    line(text, "aof_rewrite_scheduled", 0);
    line(text, "aof_last_bgrewrite_status", "ok");
    line(text, "aof_last_write_status", if has_failing_log(engine) { "err" } else { "ok" });
    line(text, "aof_current_size", engine.log.log_bytes);
}

fn stats(call: &Call<'_>, text: &mut String) {
    let (stats, data) = (&call.engine.stats, &call.engine.data.stats);
    line(text, "total_connections_received", stats.connections_received);
    line(text, "total_commands_processed", stats.commands_processed);
    line(text, "instantaneous_ops_per_sec", stats.operations.per_second());
    line(text, "total_net_input_bytes", stats.bytes_in);
    line(text, "total_net_output_bytes", stats.bytes_out);
    line(text, "rejected_connections", stats.rejected_connections);
    line(text, "expired_keys", data.expired_keys);
    line(text, "evicted_keys", data.evicted_keys);
    line(text, "evicted_clients", stats.evicted_clients);
    line(text, "evicted_scripts", 0);
    line(text, "keyspace_hits", data.keyspace_hits);
    line(text, "keyspace_misses", data.keyspace_misses);
    line(text, "pubsub_channels", 0);
    line(text, "pubsub_patterns", 0);
    line(text, "pubsubshard_channels", 0);
    line(text, "latest_fork_usec", 0);
    line(text, "total_forks", 0);
    line(text, "total_error_replies", stats.error_replies);
    line(text, "unexpected_error_replies", 0);
    line(text, "acl_access_denied_auth", stats.acl_access_denied_auth);
    line(text, "acl_access_denied_cmd", 0);
    line(text, "acl_access_denied_key", 0);
    line(text, "acl_access_denied_channel", 0);
    line(text, "tracking_total_keys", 0);
    line(text, "client_query_buffer_limit_disconnections", stats.query_buffer_limit_disconnections);
    line(text, "client_output_buffer_limit_disconnections", stats.output_buffer_limit_disconnections);
}

fn replication(call: &Call<'_>, text: &mut String) {
    let log = &call.engine.log;
    let is_primary = log.role == ShardRole::Primary;
    line(text, "role", if is_primary { "master" } else { "slave" });
    if !is_primary {
        let primary = log.members.iter().find(|member| Some(member.id) == log.primary_id);
        line(text, "master_host", primary.map_or("", |member| &member.address));
        line(text, "master_port", primary.map_or(0, |member| member.port));
        line(text, "master_link_status", if log.primary_id.is_some() { "up" } else { "down" });
        let heard_seconds = log.primary_heard_ms.map_or(-1, |milliseconds| (milliseconds / 1000) as i64);
        line(text, "master_last_io_seconds_ago", heard_seconds);
        line(text, "master_sync_in_progress", 0);
        line(text, "slave_read_repl_offset", log.last_position);
        line(text, "slave_repl_offset", log.applied_position);
        line(text, "slave_priority", if log.role == ShardRole::LogOnly { 0 } else { 100 });
        line(text, "slave_read_only", 1);
        line(text, "replica_announced", 1);
    }
    line(text, "connected_slaves", if is_primary { log.replicas } else { 0 });
    if is_primary {
        let replicas = log.members.iter().filter(|member| member.is_heard && !member.is_log_only);
        for (index, replica) in replicas.enumerate() {
            let lag_seconds = replica.silent_ms.unwrap_or_default() / 1000;
            let offset = log.replica_offset(replica);
            let value = format!(
                "ip={},port={},state=online,offset={offset},lag={lag_seconds},type=replica",
                replica.address, replica.port
            );
            line(text, &format!("slave{index}"), value);
        }
    }
    line(text, "master_failover_state", "no-failover");
    line(text, "master_replid", history_id(call.engine));
    line(text, "master_replid2", "0".repeat(40));
    line(text, "master_repl_offset", log.committed_position);
    line(text, "second_repl_offset", -1);
    line(text, "repl_backlog_active", 0);
}

/// 40 hexadecimal digits that stand for one history of writes: the same on all nodes of a cluster, whoever leads. A node
/// alone is known by its process.
fn history_id(engine: &Engine) -> String {
    let cluster = &engine.config.settings().cluster_id;
    if cluster.is_empty() {
        return engine.node.run_id.clone();
    }
    // FNV-1a with 64 bits, five times over the name behind another byte.
    let hash = |salt: u8| {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        std::iter::once(salt).chain(cluster.bytes()).fold(0xcbf2_9ce4_8422_2325, mix)
    };
    (0..5).map(|salt| format!("{:08x}", hash(salt) >> 32)).collect()
}

fn cpu(call: &Call<'_>, text: &mut String) {
    let seconds = |microseconds: u64| format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
    line(text, "used_cpu_sys", seconds(call.engine.log.system_cpu_us));
    line(text, "used_cpu_user", seconds(call.engine.log.user_cpu_us));
    line(text, "used_cpu_sys_children", seconds(0));
    line(text, "used_cpu_user_children", seconds(0));
}

fn command_stats(call: &Call<'_>, text: &mut String) {
    for (command, stats) in call.engine.stats.by_name() {
        let microseconds = stats.duration_ns / 1000;
        let per_call = microseconds as f64 / stats.calls.max(1) as f64;
        let value = format!(
            "calls={},usec={microseconds},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
            stats.calls, stats.rejected_calls, stats.failed_calls
        );
        line(text, &format!("cmdstat_{}", command.name), value);
    }
}

fn latency_stats(call: &Call<'_>, text: &mut String) {
    let shares = &call.engine.config.settings().latency_tracking_percentiles;
    for (command, stats) in call.engine.stats.by_name() {
        if stats.latency.count() == 0 {
            continue;
        }
        let values: Vec<String> = shares
            .iter()
            .map(|share| {
                let name = crate::config::percentile_text(*share);
                format!("p{name}={}.000", stats.latency.percentile(*share / 100.0))
            })
            .collect();
        line(text, &format!("latency_percentiles_usec_{}", command.name), values.join(","));
    }
}

fn error_stats(call: &Call<'_>, text: &mut String) {
    for (code, count) in &call.engine.stats.errors {
        line(text, &format!("errorstat_{}", String::from_utf8_lossy(code)), format!("count={count}"));
    }
}

/// There are none.
fn modules(_: &Call<'_>, _: &mut String) {}

fn cluster(_: &Call<'_>, text: &mut String) {
    line(text, "cluster_enabled", 0);
}

fn keyspace(call: &Call<'_>, text: &mut String) {
    let now_ms = call.engine.data.now_ms();
    for number in 0..DATABASE_COUNT {
        let database = &call.engine.data.databases()[number];
        if !database.is_empty() {
            let value = format!(
                "keys={},expires={},avg_ttl={}",
                database.len(),
                database.expires_len(),
                database.average_ttl_ms(now_ms)
            );
            line(text, &format!("db{number}"), value);
        }
    }
}

/// Our own: what an OK rests on.
fn durability(call: &Call<'_>, text: &mut String) {
    let log = &call.engine.log;
    let voters = log.voters.max(1);
    line(text, "zones", voters);
    line(text, "zones_needed_for_ok", voters / 2 + 1);
    let role = match log.role {
        ShardRole::Primary => "primary",
        ShardRole::Replica => "replica",
        ShardRole::LogOnly => "log",
    };
    line(text, "shard_role", role);
    line(text, "term", log.term);
    line(text, "last_position", log.last_position);
    line(text, "durable_position", log.durable_position);
    line(text, "committed_position", log.committed_position);
    line(text, "applied_position", log.applied_position);
    if let Some(left_ms) = log.lease_left_ms {
        line(text, "lease_left_ms", left_ms);
    }
    if log.members.len() > 1 {
        for (index, member) in log.members.iter().enumerate() {
            let role = if member.is_log_only { "log" } else { "engine" };
            let mut value = format!("id={},name={},zone={},role={role}", member.id, member.name, member.zone);
            // Only who leads hears from the others.
            if log.role == ShardRole::Primary {
                let silent_ms = member.silent_ms.map_or(-1, |milliseconds| milliseconds as i64);
                write!(value, ",matched={},silent_ms={silent_ms}", member.matched_position)
                    .expect("a string takes everything");
            }
            line(text, &format!("voter{index}"), value);
        }
    }
    line(text, "rebuilds", log.rebuilds);
    line(text, "uncommitted_keys", call.engine.data.uncommitted_keys());
    line(text, "commit_p50_us", log.commit_p50_us);
    line(text, "commit_p99_us", log.commit_p99_us);
    line(text, "log_bytes", log.log_bytes);
    line(text, "log_segments", log.segments);
    line(text, "free_disk_bytes", log.free_disk_bytes);
    let snapshots = &call.engine.snapshots;
    line(text, "snapshot_position", snapshots.last_position);
    line(text, "snapshot_bytes", snapshots.last_bytes);
    line(text, "snapshot_keys", snapshots.last_keys);
    line(text, "digest_position", log.digest_position);
    line(text, "digest_agreed", log.digest_agreed);
    line(text, "digest_differs", log.digest_differs);
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorReply;
    use crate::testing::Bench;
    use crate::{Availability, MemberFacts, ShardRole};

    fn info(bench: &mut Bench, sections: &str) -> String {
        bench.run(0, &format!("INFO {sections}")).replace("\\r\\n", "\n").trim_matches('"').to_owned()
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let mut bench = Bench::new();
        let titles = |text: &str| {
            let titles = text.lines().filter_map(|line| line.strip_prefix("# "));
            titles.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            titles(&info(&mut bench, "")),
            "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats Cluster Keyspace Durability"
        );
        assert_eq!(titles(&info(&mut bench, "keyspace CLIENTS nosuch")), "Clients Keyspace");
        assert_eq!(titles(&info(&mut bench, "server default")), titles(&info(&mut bench, "")));
        assert!(titles(&info(&mut bench, "all")).contains("Commandstats Errorstats Latencystats"));
        assert_eq!(info(&mut bench, "nosuch"), "");
    }

    fn fact(text: &str, name: &str) -> String {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("no {name} in:\n{text}")).to_owned()
    }

    #[test]
    fn the_log_fails_only_where_the_disk_does() {
        let mut bench = Bench::new();
        let error = |text: &'static str| ErrorReply::new(text);
        let replica = Availability::Replica { write: error("READONLY no"), read: error("MOVED no") };
        for (availability, expected) in [
            (Availability::Primary, "ok"),
            (replica, "ok"),
            (Availability::ReadOnly(error("CLUSTERDOWN no quorum")), "ok"),
            (Availability::NoPrimary(error("CLUSTERDOWN no quorum")), "ok"),
            (Availability::ReadOnly(error("MISCONF The log cannot grow")), "err"),
            (Availability::Unavailable(error("MISCONF This node has failed")), "err"),
        ] {
            bench.engine.availability = availability;
            assert_eq!(fact(&info(&mut bench, "persistence"), "aof_last_write_status"), expected);
        }
    }

    #[test]
    fn only_a_primary_tells_of_the_others_and_none_is_ahead_of_what_is_committed() {
        let mut bench = Bench::new();
        let member = |id| MemberFacts {
            id,
            is_heard: true,
            matched_position: 12,
            silent_ms: Some(3),
            ..MemberFacts::default()
        };
        bench.engine.log.members = vec![member(1), member(2)];
        bench.engine.log.committed_position = 10;
        let text = info(&mut bench, "replication durability");
        assert!(text.contains("offset=10,") && text.contains("matched=12,silent_ms=3"), "{text}");
        assert_eq!(fact(&text, "master_repl_offset"), "10");
        bench.engine.log.role = ShardRole::Replica;
        let text = info(&mut bench, "replication durability");
        assert!(text.contains("voter1:id=2") && !text.contains("silent_ms"), "{text}");
    }

    #[test]
    fn a_history_is_known_by_its_cluster() {
        let id = |cluster: &str| {
            let mut bench = Bench::new();
            bench.engine.config.set_at_start("cluster-id", &[cluster.as_bytes()]).expect("any text");
            fact(&info(&mut bench, "replication"), "master_replid")
        };
        assert_eq!(id("shop"), id("shop"));
        assert_ne!(id("shop"), id("shoq"));
        assert!(id("shop").len() == 40 && id("shop").bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn counters_tell_what_ran() {
        let mut bench = Bench::new();
        bench.check(
            "
            > SET a 1 EX 100
            OK
            > GET
            (error) ERR wrong number of arguments for 'get' command
            > ECHO
            (error) ERR wrong number of arguments for 'echo' command
            > HSET h f v
            (integer) 1
            > GET h
            (error) WRONGTYPE Operation against a key holding the wrong kind of value
            ",
        );
        let text = info(&mut bench, "everything");
        for line in [
            "errorstat_ERR:count=2",
            "errorstat_WRONGTYPE:count=1",
            "total_error_replies:3",
            "db0:keys=2,expires=1,avg_ttl=100000",
            "cmdstat_get:calls=1,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=1",
            "connected_clients:4",
            "redis_version:7.2.4",
            "aof_enabled:1",
            "loading:0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in:\n{text}");
        }
    }
}
