//! What a starting node says.
//!
//! Lives here: the banner (for standard error) as text or as one JSON record, and the lines in Redis's form (for
//! standard output) that test suites and containers wait for. Not here: printing, and what is a fact.
//!
//! Invariant: the banner promises nothing but what the facts say.

use serde_json::json;
use std::net::SocketAddr;

/// What is known once the log is recovered and the port is open.
#[derive(Debug, Clone)]
pub struct Facts {
    pub version: &'static str,
    pub process_id: u32,
    pub directory: String,
    /// The directory was made by this start.
    pub directory_is_new: bool,
    pub log_bytes: u64,
    /// Where clients connect; the first is shown as the example.
    pub addresses: Vec<SocketAddr>,
    pub asks_password: bool,
    /// None: a node alone.
    pub cluster: Option<ClusterFacts>,
    /// What the operator should know, each one sentence without a full stop.
    pub warnings: Vec<String>,
}

/// What is known of the cluster that the node is a member of.
#[derive(Debug, Clone)]
pub struct ClusterFacts {
    pub node: String,
    pub zone: String,
    /// Those that vote, as the log says: one voter in each.
    pub zones: usize,
    pub peer_address: String,
}

/// What an OK of this node means.
fn promise(facts: &Facts) -> String {
    match &facts.cluster {
        None => "1 node: every OK is on this disk (fsync), but this disk is the only copy".into(),
        Some(ClusterFacts { node, zone, zones, .. }) => format!(
            "node {node}, zone {zone}: every OK is on disk (fsync) in {} of {zones} zones",
            zones / 2 + 1
        ),
    }
}

/// The banner for a terminal, ending with a line's end.
pub fn banner_text(facts: &Facts) -> String {
    let age = if facts.directory_is_new { "new" } else { "existing" };
    let mut text = format!(
        "ramkeep {}   {}\n  data     {}   {age}   log {}\n",
        facts.version,
        promise(facts),
        facts.directory,
        size_text(facts.log_bytes),
    );
    for (index, address) in facts.addresses.iter().enumerate() {
        let label = if index == 0 { "connect" } else { "" };
        let example =
            if index == 0 { format!("   {}", client_command(facts, *address)) } else { String::new() };
        text += &format!("  {label:<7}  redis://{address}{example}\n");
    }
    if let Some(cluster) = &facts.cluster {
        text += &format!("  peers    {}\n", cluster.peer_address);
    }
    for warning in &facts.warnings {
        text += &format!("  note     {warning}\n");
    }
    text
}

/// The banner as one JSON record, without a line's end.
pub fn banner_json(facts: &Facts, wall_us: u64) -> String {
    let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
    json!({
        "time_us": wall_us,
        "event": "started",
        "version": facts.version,
        "process_id": facts.process_id,
        "directory": facts.directory,
        "directory_is_new": facts.directory_is_new,
        "log_bytes": facts.log_bytes,
        "addresses": addresses,
        "asks_password": facts.asks_password,
        "node": facts.cluster.as_ref().map(|cluster| &cluster.node),
        "zone": facts.cluster.as_ref().map(|cluster| &cluster.zone),
        "zones": facts.cluster.as_ref().map_or(1, |cluster| cluster.zones),
        "warnings": facts.warnings,
    })
    .to_string()
}

/// The first line on standard output, before the log is recovered.
pub fn initialized_lines(version: &str, process_id: u32, wall_us: u64) -> String {
    redis_line(process_id, wall_us, &format!("Ramkeep {version} starts, PID: {process_id}"))
        + &redis_line(process_id, wall_us, "Server initialized")
}

/// The line on standard output once clients are served.
pub fn ready_line(process_id: u32, wall_us: u64) -> String {
    redis_line(process_id, wall_us, "Ready to accept connections")
}

/// A message in the form of Redis's log: process, role (M: primary), UTC, level (`*`: notice).
pub fn redis_line(process_id: u32, wall_us: u64, message: &str) -> String {
    format!("{process_id}:M {} * {message}\n", utc_text(wall_us))
}

/// A size in the largest unit of which there is at least one.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths are cut, not rounded: 1023.99 KiB must not read as 1024.0 KiB.
    let unit = (bytes.ilog2() / 10).min(5);
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize - 1])
}

fn client_command(facts: &Facts, address: SocketAddr) -> String {
    let mut command = "redis-cli".to_owned();
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        command += &format!(" -h {}", address.ip());
    }
    command += &format!(" -p {}", address.port());
    if facts.asks_password {
        command += " --askpass";
    }
    command
}

/// `01 Jan 2026 00:00:00.000`, UTC.
fn utc_text(wall_us: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let milliseconds = wall_us / 1000;
    let seconds = milliseconds / 1000;
    let (year, month, day) = date_of(seconds / 86_400);
    format!(
        "{day:02} {} {year} {:02}:{:02}:{:02}.{:03}",
        MONTHS[month],
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        milliseconds % 1000,
    )
}

/// Year, month from 0, and day from 1, of a day counted from 1 January 1970.
fn date_of(days: u64) -> (u64, usize, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970 + days / DAYS_IN_400_YEARS * 400;
    let mut day = days % DAYS_IN_400_YEARS;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: "0.1.0",
            process_id: 42,
            directory: "./ramkeep-data".into(),
            directory_is_new: true,
            log_bytes: 0,
            addresses: vec![
                "127.0.0.1:6379".parse().expect("an address"),
                "[::1]:6379".parse().expect("an address"),
            ],
            asks_password: false,
            cluster: None,
            warnings: vec!["this is only a trial".into()],
        }
    }

    #[test]
    fn the_banner_of_a_new_node() {
        assert_eq!(
            banner_text(&facts()),
            "ramkeep 0.1.0   1 node: every OK is on this disk (fsync), but this disk is the only copy\n  \
             data     ./ramkeep-data   new   log 0 B\n  \
             connect  redis://127.0.0.1:6379   redis-cli -p 6379\n           \
             redis://[::1]:6379\n  \
             note     this is only a trial\n"
        );
    }

    #[test]
    fn the_banner_of_a_node_that_others_reach() {
        let facts = Facts {
            directory_is_new: false,
            log_bytes: 5 << 20,
            addresses: vec!["192.0.2.1:7000".parse().expect("an address")],
            asks_password: true,
            cluster: Some(ClusterFacts {
                node: "a".into(),
                zone: "east".into(),
                zones: 3,
                peer_address: "192.0.2.1:17000".into(),
            }),
            warnings: Vec::new(),
            ..facts()
        };
        assert_eq!(
            banner_text(&facts),
            "ramkeep 0.1.0   node a, zone east: every OK is on disk (fsync) in 2 of 3 zones\n  \
             data     ./ramkeep-data   existing   log 5.0 MiB\n  \
             connect  redis://192.0.2.1:7000   redis-cli -h 192.0.2.1 -p 7000 --askpass\n  \
             peers    192.0.2.1:17000\n"
        );
    }

    #[test]
    fn the_record_holds_all_facts() {
        let record: serde_json::Value = serde_json::from_str(&banner_json(&facts(), 7)).expect("JSON");
        assert_eq!(record["event"], "started");
        assert_eq!(record["addresses"][1], "[::1]:6379");
        assert_eq!(record["directory_is_new"], true);
        assert_eq!(record["time_us"], 7);
    }

    #[test]
    fn suites_find_the_lines_they_wait_for() {
        let wall_us = 1_767_225_600_123_456;
        assert_eq!(
            initialized_lines("0.1.0", 42, wall_us) + &ready_line(42, wall_us),
            "42:M 01 Jan 2026 00:00:00.123 * Ramkeep 0.1.0 starts, PID: 42\n\
             42:M 01 Jan 2026 00:00:00.123 * Server initialized\n\
             42:M 01 Jan 2026 00:00:00.123 * Ready to accept connections\n"
        );
    }

    #[test]
    fn days_become_dates() {
        for (seconds, text) in [
            (0, "01 Jan 1970 00:00:00.000"),
            (951_782_399, "28 Feb 2000 23:59:59.000"),
            (951_782_400, "29 Feb 2000 00:00:00.000"),
            (1_709_164_800, "29 Feb 2024 00:00:00.000"),
            (1_735_689_599, "31 Dec 2024 23:59:59.000"),
            (4_107_542_400, "01 Mar 2100 00:00:00.000"),
        ] {
            assert_eq!(utc_text(seconds * 1_000_000), text);
        }
        assert!(!utc_text(u64::MAX).is_empty());
    }

    #[test]
    fn sizes_are_cut_to_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
