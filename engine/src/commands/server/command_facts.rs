//! What COMMAND tells about commands and the server itself has no use for.
//!
//! Lives here: tips for clients that spread requests over shards, and key specifications of
//! commands whose keys are used in more than one way.
//! Not here: what admission and handlers read: that stands in each command's declaration.
//!
//! Invariant: tables are sorted by name, and every name is a command.

/// How a client that speaks to many shards sends a command and joins its replies.
pub(super) fn tips(name: &str) -> &'static [&'static str] {
    TIPS.binary_search_by_key(&name, |(command, _)| command).map_or(&[], |index| TIPS[index].1)
}

const TIPS: &[(&str, &[&str])] = &[
    ("client|info", &["nondeterministic_output"]),
    ("client|list", &["nondeterministic_output"]),
    ("client|setinfo", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("client|setname", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("command", &["nondeterministic_output_order"]),
    ("command|docs", &["nondeterministic_output_order"]),
    ("command|info", &["nondeterministic_output_order"]),
    ("command|list", &["nondeterministic_output_order"]),
    ("config|resetstat", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("config|rewrite", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("config|set", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("dbsize", &["request_policy:all_shards", "response_policy:agg_sum"]),
    ("del", &["request_policy:multi_shard", "response_policy:agg_sum"]),
    ("exists", &["request_policy:multi_shard", "response_policy:agg_sum"]),
    ("flushall", &["request_policy:all_shards", "response_policy:all_succeeded"]),
    ("flushdb", &["request_policy:all_shards", "response_policy:all_succeeded"]),
    ("hgetall", &["nondeterministic_output_order"]),
    ("hkeys", &["nondeterministic_output_order"]),
    ("hrandfield", &["nondeterministic_output"]),
    ("hscan", &["nondeterministic_output"]),
    ("hvals", &["nondeterministic_output_order"]),
    ("info", &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    ("keys", &["request_policy:all_shards", "nondeterministic_output_order"]),
    ("lastsave", &["nondeterministic_output"]),
    ("latency|doctor", &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    ("latency|graph", &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    (
        "latency|histogram",
        &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    ),
    ("latency|history", &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    ("latency|latest", &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    ("latency|reset", &["request_policy:all_nodes", "response_policy:agg_sum"]),
    ("memory|doctor", &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    (
        "memory|malloc-stats",
        &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    ),
    ("memory|purge", &["request_policy:all_shards", "response_policy:all_succeeded"]),
    ("memory|stats", &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    ("mget", &["request_policy:multi_shard"]),
    ("module|list", &["nondeterministic_output_order"]),
    ("mset", &["request_policy:multi_shard", "response_policy:all_succeeded"]),
    ("object|encoding", &["nondeterministic_output"]),
    ("object|freq", &["nondeterministic_output"]),
    ("object|idletime", &["nondeterministic_output"]),
    ("object|refcount", &["nondeterministic_output"]),
    ("ping", &["request_policy:all_shards", "response_policy:all_succeeded"]),
    ("pttl", &["nondeterministic_output"]),
    ("randomkey", &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    ("scan", &["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    ("slowlog|get", &["request_policy:all_nodes", "nondeterministic_output"]),
    ("slowlog|len", &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    ("slowlog|reset", &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ("time", &["nondeterministic_output"]),
    ("touch", &["request_policy:multi_shard", "response_policy:agg_sum"]),
    ("ttl", &["nondeterministic_output"]),
    ("unlink", &["request_policy:multi_shard", "response_policy:agg_sum"]),
    ("wait", &["request_policy:all_shards", "response_policy:agg_min"]),
    ("waitaof", &["request_policy:all_shards", "response_policy:agg_min"]),
];

/// Keys that are used in one way: every `step`-th argument from `first` to `last`.
pub(super) struct Span {
    pub(super) first: i16,
    /// Counted from `first`, or from the end if negative.
    pub(super) last: i16,
    pub(super) flags: &'static [&'static str],
}

/// Specifications of the commands that have more than one.
pub(super) fn spans(name: &str) -> Option<&'static [Span]> {
    SPANS.binary_search_by_key(&name, |(command, _)| command).ok().map(|index| SPANS[index].1)
}

const fn one(at: i16, flags: &'static [&'static str]) -> Span {
    Span { first: at, last: 0, flags }
}

const SPANS: &[(&str, &[Span])] = &[
    ("bitop", &[one(2, &["OW", "update"]), Span { first: 3, last: -1, flags: &["RO", "access"] }]),
    ("copy", &[one(1, &["RO", "access"]), one(2, &["OW", "update"])]),
    ("rename", &[one(1, &["RW", "access", "delete"]), one(2, &["OW", "update"])]),
    ("renamenx", &[one(1, &["RW", "access", "delete"]), one(2, &["OW", "insert"])]),
];

/// Remarks that stand beside a specification.
pub(super) fn notes(name: &str) -> Option<&'static str> {
    match name {
        "bitfield" => Some("This command allows both access and modification of the key"),
        "getex" => Some("RW and UPDATE because it changes the TTL"),
        "set" => Some("RW and ACCESS due to the optional `GET` argument"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(TIPS.is_sorted_by_key(|(name, _)| name) && SPANS.is_sorted_by_key(|(name, _)| name));
    }
}
