//! LATENCY: spikes by event, and histograms by command.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::error::Result;

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

fn histogram(call: &mut Call<'_>) -> Result {
    let names: Vec<String> = (2..call.args.len())
        .map(|index| String::from_utf8_lossy(call.arg(index)).to_ascii_lowercase())
        .collect();
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let rows: Vec<_> = call
        .engine
        .stats
        .by_name()
        .into_iter()
        .filter(|(command, stats)| stats.latency.count() > 0 && is_wanted(command.name))
        .map(|(command, stats)| (command.name, stats.calls, stats.latency.cumulative().collect::<Vec<_>>()))
        .collect();
    call.reply.map(rows.len());
    for (name, calls, buckets) in rows {
        call.reply.bulk(name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.integer(calls as i64);
        call.reply.bulk(b"histogram_usec");
        call.reply.map(buckets.len());
        for (bound_us, count) in buckets {
            call.reply.integer(bound_us as i64);
            call.reply.integer(count as i64);
        }
    }
    Ok(())
}
