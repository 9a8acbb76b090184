//! MEMORY: what keys and the whole take, and what an operator may do about it.

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
    Command::node("memory|doctor", exactly(1), doctor).group("server").doc(
        "4.0.0",
        "",
        "Returns a report on what is wrong with the use of memory.",
        "O(1)",
    ),
    Command::node("memory|purge", exactly(1), purge).group("server").doc(
        "4.0.0",
        "",
        "Answers OK: the allocator gives freed memory back by itself.",
        "O(1)",
    ),
    Command::node("memory|malloc-stats", exactly(1), malloc_stats).group("server").doc(
        "4.0.0",
        "",
        "Returns the allocator's own statistics, of which there are none.",
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

/// Below so much no proportion says anything; Redis's number.
const JUDGED_BYTES_MIN: u64 = 5 << 20;
const EMPTY: &str = "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back to our programming as soon as I finished rebooting.\n";
const HEALTHY: &str = "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n";
const PEAK: &str = " * Peak memory: the data once took more than one and a half times what they take now. What the allocator has kept of it goes to the next data.\n";
const RESIDENT: &str = " * High total RSS: the process occupies more than 1.4 times what was allocated. A peak does that (see above, if it is named), or values of sizes that change much.\n";

fn doctor(call: &mut Call<'_>) -> Result {
    call.engine.count_clients();
    let engine = &*call.engine;
    let used = engine.used_memory();
    let peak = engine.stats.used_memory_peak.max(used);
    let text = diagnosis(used, peak, engine.log.resident_memory_bytes);
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// The thresholds are Redis's.
fn diagnosis(used: u64, peak: u64, resident: u64) -> String {
    if used < JUDGED_BYTES_MIN {
        return EMPTY.to_owned();
    }
    let is_past_peak = peak as f64 > used as f64 * 1.5;
    let is_spread = resident as f64 > used as f64 * 1.4 && resident > used + (10 << 20);
    if !is_past_peak && !is_spread {
        return HEALTHY.to_owned();
    }
    let found = [(is_past_peak, PEAK), (is_spread, RESIDENT)];
    found.iter().filter(|(is_found, _)| *is_found).map(|(_, text)| *text).collect()
}

/// mimalloc gives pages back on its own soon after they were freed; Redis answers the same with an allocator that it
/// cannot tell to.
fn purge(call: &mut Call<'_>) -> Result {
    call.reply.ok();
    Ok(())
}

/// What Redis answers where it does not run on jemalloc.
fn malloc_stats(call: &mut Call<'_>) -> Result {
    call.reply.verbatim(*b"txt", b"Stats not supported for the current allocator");
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
    fn the_doctor_names_a_peak_and_what_is_resident_beyond_need() {
        const MIB: u64 = 1 << 20;
        for (used, peak, resident, wanted) in [
            (4 * MIB, 400 * MIB, 400 * MIB, super::EMPTY.to_owned()),
            (100 * MIB, 140 * MIB, 130 * MIB, super::HEALTHY.to_owned()),
            (6 * MIB, 6 * MIB, 15 * MIB, super::HEALTHY.to_owned()),
            (100 * MIB, 151 * MIB, 130 * MIB, super::PEAK.to_owned()),
            (100 * MIB, 200 * MIB, 200 * MIB, [super::PEAK, super::RESIDENT].concat()),
        ] {
            assert_eq!(super::diagnosis(used, peak, resident), wanted, "{used} {peak} {resident}");
        }
    }

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
