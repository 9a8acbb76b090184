//! How long commands take.
//!
//! Lives here: the stopwatch around commands. Reading it before and after every command would cost a quick one a
//! good part of its own time, so quick commands of one group are timed together and share the time alike.
//! Not here: the counters (`stats`), the slow log's entries (`slowlog`), their printing.
//!
//! Invariant: calls are counted when they happen, and durations add up to the time that passed. A command is timed
//! alone when its time may grow with its arguments or its reply, or when the thresholds of slow log and latency
//! monitor are so low that a single quick command matters.

use crate::Engine;
use crate::command::{Command, Flags};
use crate::resp::Args;
use crate::session::Session;
use crate::time::Now;

/// Commands with longer arguments or replies are timed alone.
const QUICK_BYTES_MAX: usize = 16 << 10;
/// With a threshold below this, every command is timed alone.
const SLOW_NS_MIN: u64 = 1_000_000;

/// See the head of this file.
pub(crate) struct Timing {
    /// Nanoseconds of a clock that only measures how long commands take.
    stopwatch: fn() -> u64,
    /// While a group is open: when the last command ended whose time is settled.
    since_ns: Option<u64>,
    /// Quick commands run since then.
    together: Vec<(&'static Command, u64)>,
    /// The lower of `slowlog-log-slower-than` and `latency-monitor-threshold`; the maximum when both are off.
    pub slow_threshold_ns: u64,
    /// `latency-tracking`.
    pub tracks_latency: bool,
}

impl Timing {
    pub fn new(stopwatch: fn() -> u64) -> Timing {
        Timing {
            stopwatch,
            since_ns: None,
            together: Vec::new(),
            slow_threshold_ns: u64::MAX,
            tracks_latency: true,
        }
    }

    /// Whether the command may share its time with others.
    #[inline]
    pub fn is_shared(&self, command: &Command, args: Args<'_>) -> bool {
        self.since_ns.is_some()
            && command.flags.has(Flags::QUICK)
            && self.slow_threshold_ns >= SLOW_NS_MIN
            && args.bytes() <= QUICK_BYTES_MAX
    }

    #[inline]
    fn share(&mut self, command: &'static Command) {
        match self.together.last_mut() {
            Some((last, count)) if std::ptr::eq(*last, command) => *count += 1,
            _ => self.together.push((command, 1)),
        }
    }
}

impl Engine {
    /// Commands executed until `end_group` may be timed together.
    pub fn begin_group(&mut self) {
        self.timing.since_ns = Some((self.timing.stopwatch)());
    }

    /// Ends one group and begins the next.
    pub fn settle_group(&mut self, now: Now) {
        self.settle_times(now);
    }

    pub fn end_group(&mut self, now: Now) {
        self.settle_times(now);
        self.timing.since_ns = None;
    }

    /// A quick command has run; one that turned out to have a long reply gets all the time since the last settling.
    #[inline]
    pub(crate) fn share_time(
        &mut self,
        session: &Session,
        command: &'static Command,
        args: Args<'_>,
        reply_bytes: usize,
        now: Now,
    ) {
        if reply_bytes <= QUICK_BYTES_MAX {
            return self.timing.share(command);
        }
        let started_ns = self.timing.since_ns.expect("only commands of a group share their time");
        let ended_ns = (self.timing.stopwatch)();
        self.spread_time(0);
        self.timing.since_ns = Some(ended_ns);
        self.count_time(session, command, args, ended_ns.saturating_sub(started_ns), now);
    }

    /// Gives the quick commands that ran since the last settling their share of the time; gives the time.
    pub(crate) fn settle_times(&mut self, now: Now) -> u64 {
        let now_ns = (self.timing.stopwatch)();
        if let Some(since_ns) = self.timing.since_ns {
            if !self.timing.together.is_empty() {
                let elapsed_ns = now_ns.saturating_sub(since_ns);
                self.spread_time(elapsed_ns);
                self.note_spike("fast-command", elapsed_ns, now);
            }
            self.timing.since_ns = Some(now_ns);
        }
        now_ns
    }

    fn spread_time(&mut self, elapsed_ns: u64) {
        let calls: u64 = self.timing.together.iter().map(|(_, count)| count).sum();
        for (command, count) in self.timing.together.drain(..) {
            let stats = self.stats.of(command);
            stats.duration_ns += elapsed_ns * count / calls;
            if self.timing.tracks_latency {
                stats.latency.record_many(elapsed_ns / calls, count);
            }
        }
    }

    /// Counts the time of a command that was timed alone.
    pub(crate) fn count_time(
        &mut self,
        session: &Session,
        command: &'static Command,
        args: Args<'_>,
        duration_ns: u64,
        now: Now,
    ) {
        let stats = self.stats.of(command);
        stats.duration_ns += duration_ns;
        if self.timing.tracks_latency {
            stats.latency.record_many(duration_ns, 1);
        }
        if duration_ns >= self.timing.slow_threshold_ns {
            self.note_slow(session, command, args, duration_ns, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;
    use std::cell::Cell;

    thread_local!(static NOW_NS: Cell<u64> = const { Cell::new(0) });

    /// A clock that is 8 µs later at every look.
    fn ticking() -> u64 {
        NOW_NS.with(|now| now.replace(now.get() + 8000))
    }

    fn run_group(bench: &mut Bench, commands: &[&str]) -> String {
        bench.engine.timing.stopwatch = ticking;
        bench.engine.begin_group();
        commands.iter().for_each(|command| drop(bench.run(0, command)));
        bench.engine.end_group(bench.now);
        bench.run(0, "INFO commandstats").replace("\\r\\n", "\n")
    }

    #[test]
    fn quick_commands_of_a_group_share_its_time_and_each_is_counted() {
        let text = run_group(&mut Bench::new(), &["GET a", "GET b", "GET a", "STRLEN a"]);
        assert!(text.contains("cmdstat_get:calls=3,usec=6,usec_per_call=2.00"), "{text}");
        assert!(text.contains("cmdstat_strlen:calls=1,usec=2,usec_per_call=2.00"), "{text}");
    }

    #[test]
    fn commands_whose_time_may_grow_are_timed_alone() {
        let text = run_group(&mut Bench::new(), &["GET a", "KEYS *", "GET b"]);
        assert!(text.contains("cmdstat_keys:calls=1,usec=8,usec_per_call=8.00"), "{text}");
        assert!(text.contains("cmdstat_get:calls=2,usec=16,usec_per_call=8.00"), "{text}");
    }

    #[test]
    fn a_low_threshold_times_every_command_alone() {
        let mut bench = Bench::new();
        bench.run(0, "CONFIG SET slowlog-log-slower-than 0");
        run_group(&mut bench, &["GET a", "GET b"]);
        assert!(bench.run(0, "SLOWLOG GET 10").contains("\"GET\""));
    }

    #[test]
    fn a_long_reply_gets_its_own_time() {
        let mut bench = Bench::new();
        bench.run(0, "SETRANGE long 100000 x");
        let text = run_group(&mut bench, &["GET a", "GET long"]);
        assert!(text.contains("cmdstat_get:calls=2,usec=8,usec_per_call=4.00"), "{text}");
    }
}
