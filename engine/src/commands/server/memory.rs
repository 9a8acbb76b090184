//! MEMORY USAGE and MEMORY STATS.

use crate::call::Call;
use crate::command::{Command, Flags, Keys, at_least, exactly};
use crate::error::{Result, SYNTAX};

pub(super) const SUBCOMMANDS: &[Command] = &[
    Command::read("memory|usage", at_least(2), usage).keys(Keys::at(2), &["RO"]).group("server").doc(
        "4.0.0",
        "key [SAMPLES count]",
        "Estimates the memory usage of a key.",
        "O(1)",
    ),
    Command::node("memory|stats", exactly(1), stats).group("server").doc(
        "4.0.0",
        "",
        "Returns details about memory usage.",
        "O(1)",
    ),
    crate::commands::help_of("memory|help").flags(Flags::NONE).group("server"),
];

/// What of Redis's account exists here, under its names.
fn stats(call: &mut Call<'_>) -> Result {
    call.engine.count_clients();
    let engine = &*call.engine;
    let (used, data) = (engine.used_memory(), engine.data.used_memory());
    let peak = engine.stats.used_memory_peak.max(used);
    let keys: usize = engine.data.databases().iter().map(crate::keyspace::Keyspace::len).sum();
    let resident = engine.log.resident_memory_bytes;
    let part = |of: u64, whole: u64| of as f64 * 100.0 / whole.max(1) as f64;
    let counts = [
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", engine.clients_bytes()),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", engine.clients_bytes()),
        ("keys.count", keys as u64),
        ("keys.bytes-per-key", data.checked_div(keys as u64).unwrap_or(0)),
        ("dataset.bytes", data),
    ];
    let shares = [
        ("dataset.percentage", part(data, used)),
        ("peak.percentage", part(used, peak)),
        ("fragmentation", resident as f64 / used.max(1) as f64),
    ];
    call.reply.map(counts.len() + shares.len());
    for (name, count) in counts {
        call.reply.bulk(name.as_bytes());
        call.reply.integer(count as i64);
    }
    for (name, share) in shares {
        call.reply.bulk(name.as_bytes());
        call.reply.double(share);
    }
    Ok(())
}

fn usage(call: &mut Call<'_>) -> Result {
    for index in (3..call.args.len()).step_by(2) {
        if !call.is_word(index, "SAMPLES") || index + 1 == call.args.len() {
            return Err(SYNTAX);
        }
        // The account is exact: nothing is sampled.
        if call.integer(index + 1)? < 0 {
            return Err(SYNTAX);
        }
    }
    match call.engine.data.peek(call.args.get(2)) {
        Some(entry) => call.reply.integer(entry.memory_bytes() as i64),
        None => call.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn memory_stats_count_keys_and_bytes() {
        let mut bench = Bench::new();
        bench.check("> SET k v\nOK\n> SELECT 3\nOK\n> HSET h f v\n(integer) 1");
        let used = bench.engine.data.used_memory();
        let reply = bench.run(0, "MEMORY STATS");
        for line in
            ["\"keys.count\"\n24) (integer) 2".to_owned(), format!("\"dataset.bytes\"\n28) (integer) {used}")]
        {
            assert!(reply.contains(&line), "{line} in {reply}");
        }
    }
}
