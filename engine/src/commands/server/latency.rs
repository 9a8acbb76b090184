//! LATENCY: spikes by event, and histograms by command.
//!
//! Not here: noting spikes (`crate::slowlog`) and keeping them (`crate::latency`).

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::commands::table;
use crate::error::{ErrorReply, Result};
use crate::latency::Series;
use std::fmt::Write as _;

const fn sub(name: &'static str, arity: i16, handler: crate::command::Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::NO_SCRIPT).with(Flags::LOADING).with(Flags::STALE))
        .group("server")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    sub("latency|latest", exactly(1), latest).doc(
        "2.8.13",
        "",
        "Returns the latest latency samples for all events.",
        "O(1)",
    ),
    sub("latency|history", exactly(2), history).doc(
        "2.8.13",
        "event",
        "Returns timestamp-latency samples for an event.",
        "O(1)",
    ),
    sub("latency|reset", at_least(1), reset).doc(
        "2.8.13",
        "[event [event ...]]",
        "Resets the latency data for one or more events.",
        "O(1)",
    ),
    sub("latency|graph", exactly(2), graph).doc(
        "2.8.13",
        "event",
        "Returns a latency graph for an event.",
        "O(1)",
    ),
    sub("latency|doctor", exactly(1), doctor).doc(
        "2.8.13",
        "",
        "Returns a human-readable latency analysis report.",
        "O(1)",
    ),
    sub("latency|histogram", at_least(1), histogram).doc(
        "7.0.0",
        "[command [command ...]]",
        "Returns the cumulative distribution of latencies of commands.",
        "O(N) where N is the number of commands with latency information",
    ),
    crate::commands::help_of("latency|help").group("server"),
];

fn latest(call: &mut Call<'_>) -> Result {
    let rows: Vec<_> = call
        .engine
        .latency
        .iter()
        .filter_map(|(event, series)| Some((event, series.iter().next_back()?, series.worst_ms)))
        .collect();
    call.reply.array(rows.len());
    for (event, (at_seconds, milliseconds), worst_ms) in rows {
        call.reply.array(4);
        call.reply.bulk(event.as_bytes());
        call.reply.integer(at_seconds);
        call.reply.integer(milliseconds as i64);
        call.reply.integer(worst_ms as i64);
    }
    Ok(())
}

fn history(call: &mut Call<'_>) -> Result {
    let event = String::from_utf8_lossy(call.arg(2)).to_ascii_lowercase();
    let samples: Vec<_> =
        call.engine.latency.get(&event).map(|series| series.iter().collect()).unwrap_or_default();
    call.reply.array(samples.len());
    for (at_seconds, milliseconds) in samples {
        call.reply.array(2);
        call.reply.integer(at_seconds);
        call.reply.integer(milliseconds as i64);
    }
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result {
    let count = if call.args.len() == 2 {
        call.engine.latency.reset_all()
    } else {
        let names = (2..call.args.len()).map(|index| String::from_utf8_lossy(call.arg(index)).into_owned());
        let names: Vec<String> = names.collect();
        names.iter().filter(|event| call.engine.latency.reset(event)).count()
    };
    call.reply.integer(count as i64);
    Ok(())
}

/// The commands to show histograms of: those named, a container's subcommands for the container.
fn histogram_commands(call: &Call<'_>) -> Vec<&'static Command> {
    let with_subcommands =
        |command: &'static Command| std::iter::once(command).chain(command.subcommands).collect::<Vec<_>>();
    if call.args.len() == 2 {
        return table().iter().flat_map(with_subcommands).collect();
    }
    let named = |index: usize| {
        let name = call.arg(index);
        match name.iter().position(|byte| *byte == b'|') {
            Some(at) => table()
                .find(&name[..at])
                .and_then(|container| container.subcommand(&name[at + 1..]))
                .into_iter()
                .collect(),
            None => table().find(name).map(with_subcommands).unwrap_or_default(),
        }
    };
    (2..call.args.len()).flat_map(named).collect()
}

fn histogram(call: &mut Call<'_>) -> Result {
    let commands = histogram_commands(call);
    let mark = call.reply.begin_array();
    let mut count = 0;
    for command in commands {
        let stats = call.engine.stats.of(command);
        if stats.latency.count() == 0 {
            continue;
        }
        count += 1;
        call.reply.bulk(command.name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.integer(stats.latency.count() as i64);
        call.reply.bulk(b"histogram_usec");
        let buckets: Vec<(u64, u64)> = stats.latency.cumulative().collect();
        call.reply.map(buckets.len());
        for (bound_us, below) in buckets {
            call.reply.integer(bound_us as i64);
            call.reply.integer(below as i64);
        }
    }
    call.reply.end_map(mark, count);
    Ok(())
}

/// Rows of a graph, the lowest value in the lowest row.
const GRAPH_ROWS: u64 = 4;

fn graph(call: &mut Call<'_>) -> Result {
    let event = String::from_utf8_lossy(call.arg(2)).to_ascii_lowercase();
    let Some(series) = call.engine.latency.get(&event).filter(|series| series.iter().next().is_some()) else {
        let start: &[u8] = b"ERR No samples available for event '";
        return Err(ErrorReply::owned([start, call.arg(2), b"'"].concat()));
    };
    let text = drawn(&event, series, call.now.wall_ms() / 1000);
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Bars of the samples, the oldest at the left, with the age of the first and the last.
fn drawn(event: &str, series: &Series, now_seconds: i64) -> String {
    let values: Vec<u64> = series.iter().map(|(_, milliseconds)| milliseconds).collect();
    let high = values.iter().copied().max().unwrap_or(0);
    let low = values.iter().copied().min().unwrap_or(0);
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.worst_ms);
    text.push_str(&"-".repeat(80));
    text.push('\n');
    let range = (high - low).max(1);
    for row in (0..GRAPH_ROWS).rev() {
        let bar = |value: &u64| {
            let level = (value - low) * (GRAPH_ROWS - 1) / range;
            if level > row {
                '|'
            } else if level == row {
                if row == 0 { '_' } else { 'o' }
            } else {
                ' '
            }
        };
        let line: String = values.iter().map(bar).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let age =
        |sample: Option<(i64, u64)>| sample.map_or(0, |(at_seconds, _)| (now_seconds - at_seconds).max(0));
    let (first, last) = (age(series.iter().next()), age(series.iter().next_back()));
    writeln!(text, "\nfrom {first} seconds ago (left) to {last} seconds ago (right)")
        .expect("a string takes everything");
    text
}

fn doctor(call: &mut Call<'_>) -> Result {
    let threshold_ms = call.engine.config.settings().latency_monitor_threshold_ms;
    let mut text = String::new();
    for (number, (event, series)) in (1..).zip(call.engine.latency.iter()) {
        let values: Vec<u64> = series.iter().map(|(_, milliseconds)| milliseconds).collect();
        let mean = values.iter().sum::<u64>() as f64 / values.len().max(1) as f64;
        writeln!(
            text,
            "{number}. {event}: {} spikes, {mean:.0} ms on average, {} ms at worst.",
            values.len(),
            series.worst_ms
        )
        .expect("a string takes everything");
    }
    if !text.is_empty() {
        text.push_str("\nSLOWLOG GET shows which commands were slow and with what arguments.\n");
    } else if threshold_ms == 0 {
        text.push_str(
            "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n",
        );
    } else {
        writeln!(text, "No event took {threshold_ms} ms or longer.").expect("a string takes everything");
    }
    call.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn without_spikes_there_is_nothing_to_tell() {
        check(
            "
            > LATENCY LATEST
            (empty array)
            > LATENCY HISTORY command
            (empty array)
            > LATENCY GRAPH nosuch
            (error) ERR No samples available for event 'nosuch'
            > LATENCY RESET nosuch
            (integer) 0
            > LATENCY HISTOGRAM nosuch
            (empty array)
            ",
        );
        assert!(Bench::new().run(0, "LATENCY DOCTOR").contains("monitor is off"));
    }

    #[test]
    fn spikes_are_told_by_event() {
        let mut bench = Bench::new();
        for (at_seconds, milliseconds) in [(1_699_999_990, 300), (1_699_999_995, 500)] {
            bench.engine.latency.add("command", at_seconds, milliseconds);
        }
        bench.check(
            "
            > LATENCY LATEST
            1) 1) \"command\"
               2) (integer) 1699999995
               3) (integer) 500
               4) (integer) 500
            > LATENCY HISTORY command
            1) 1) (integer) 1699999990
               2) (integer) 300
            2) 1) (integer) 1699999995
               2) (integer) 500
            ",
        );
        let graph = bench.run(0, "LATENCY GRAPH command");
        assert!(graph.contains("command - high 500 ms, low 300 ms (all time high 500 ms)"), "{graph}");
        assert!(
            graph.contains(r"\n o\n |\n |\n_|\n\nfrom 10 seconds ago (left) to 5 seconds ago (right)"),
            "{graph}"
        );
        assert!(
            bench
                .run(0, "LATENCY DOCTOR")
                .contains("1. command: 2 spikes, 400 ms on average, 500 ms at worst.")
        );
        bench.check("> LATENCY RESET command nosuch\n(integer) 1\n> LATENCY LATEST\n(empty array)");
    }

    #[test]
    fn histograms_are_shown_by_command_and_by_container() {
        check(
            "
            > CONFIG RESETSTAT
            OK
            > GET a
            (nil)
            > GET a
            (nil)
            > CLIENT ID
            (integer) 1
            > LATENCY HISTOGRAM get client
            1) \"get\"
            2) 1) \"calls\"
               2) (integer) 2
               3) \"histogram_usec\"
               4) 1) (integer) 1
                  2) (integer) 2
            3) \"client|id\"
            4) 1) \"calls\"
               2) (integer) 1
               3) \"histogram_usec\"
               4) 1) (integer) 1
                  2) (integer) 1
            > LATENCY HISTOGRAM client|id set
            1) \"client|id\"
            2) 1) \"calls\"
               2) (integer) 1
               3) \"histogram_usec\"
               4) 1) (integer) 1
                  2) (integer) 1
            ",
        );
    }
}
