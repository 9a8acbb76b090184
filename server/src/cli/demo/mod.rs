//! `ramkeep demo`: what it is told, what it has seen, and how that is summed up.
//!
//! Lives here: arguments, the run as plain values, the lines at its end, its verdict. Not here: playing it (the binary's
//! `demo`), the page (`page`, with the drawing in `chart`).
//!
//! Exit codes: 0 all was well; 1 a write was lost, an answer cannot be explained, or nobody served again.

mod chart;
pub mod page;

use super::Outcome;
use ramkeep_drive::target::Url;

/// `ramkeep demo …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoArguments {
    /// How long the zones are attacked, or the other server is written to.
    pub seconds: u32,
    /// Another server than our own three zones; it is written to and not attacked.
    pub against: Option<Url>,
    /// Where the history and the page go.
    pub directory: String,
}

pub const DEFAULT_DIRECTORY: &str = "./ramkeep-demo";
pub const SECONDS_MIN: u32 = 3;
pub const SECONDS_MAX: u32 = 3_600;
/// Without an acknowledged write for so long a server counts as unavailable, where no fault tells when it began.
pub const GAP_S: f64 = 0.3;

/// What a node was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// It believes to lead and may not answer: its lease is over.
    NoLease,
    Replica,
    /// It knows of no primary.
    Lost,
    /// It does not answer.
    Down,
}

/// A node and what it was doing, from each moment on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    pub name: String,
    pub roles: Vec<(f64, Role)>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSeen {
    pub at_s: f64,
    /// When it was taken back.
    pub until_s: f64,
    pub kind: FaultKind,
    pub zone: String,
    /// Who served after it.
    pub successor: Option<String>,
    /// Until a write sent after it was acknowledged.
    pub unavailable_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Kill,
    Cut,
}

impl FaultKind {
    pub fn word(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Cut => "cut",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            FaultKind::Kill => "killed (kill -9)",
            FaultKind::Cut => "cut off from the others",
        }
    }
}

/// All that a demonstration has seen. Times are in seconds since its begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub seed: u64,
    pub seconds: f64,
    /// The other server's address, without its password.
    pub against: Option<String>,
    pub lanes: Vec<Lane>,
    pub faults: Vec<FaultSeen>,
    /// When writes and other calls were acknowledged, in any order.
    pub acknowledged_s: Vec<f64>,
    /// End and duration in milliseconds of calls, in any order.
    pub latencies: Vec<(f64, f64)>,
    /// Keys that were written once: how many were acknowledged, and are there.
    pub counted: u64,
    pub found: u64,
    /// Calls on shared keys, acknowledged changes among them, and those of them that the final read refutes.
    pub judged_calls: u64,
    pub judged_writes: u64,
    pub judged_lost: u64,
    pub judged_in_s: f64,
    /// What the checker says that is wrong, each with its story.
    pub violations: Vec<String>,
    /// What it could not decide.
    pub undecided: Vec<String>,
    /// Whatever else was not as promised, lost keys by name among them.
    pub complaints: Vec<String>,
}

impl Run {
    pub fn acknowledged(&self) -> u64 {
        self.counted + self.judged_writes
    }

    pub fn lost(&self) -> u64 {
        self.counted - self.found + self.judged_lost
    }

    pub fn is_passed(&self) -> bool {
        self.lost() == 0
            && self.acknowledged() > 0
            && self.violations.is_empty()
            && self.undecided.is_empty()
            && self.complaints.is_empty()
    }

    /// Times without acknowledged writes, sorted: by fault, or where there are none, all gaps.
    pub fn unavailable_s(&self) -> Vec<f64> {
        let mut times: Vec<f64> = if self.faults.is_empty() {
            self.gaps().iter().map(|(from, to)| to - from).collect()
        } else {
            self.faults.iter().filter_map(|fault| fault.unavailable_s).collect()
        };
        times.sort_by(f64::total_cmp);
        times
    }

    /// Stretches of at least [`GAP_S`] without an acknowledgement.
    pub fn gaps(&self) -> Vec<(f64, f64)> {
        let mut times: Vec<f64> = self.acknowledged_s.clone();
        times.retain(|at| (0.0..=self.seconds).contains(at));
        times.push(self.seconds);
        times.sort_by(f64::total_cmp);
        let mut gaps = Vec::new();
        let mut before = 0.0;
        for at in times {
            if at - before >= GAP_S {
                gaps.push((before, at));
            }
            before = at;
        }
        gaps
    }

    pub fn verdict(&self) -> &'static str {
        if !self.violations.is_empty() {
            "NOT LINEARIZABLE"
        } else if !self.undecided.is_empty() {
            "UNDECIDED"
        } else {
            "linearizable"
        }
    }

    /// The lines at the end, and how the process ends.
    pub fn outcome(&self, history: &str, page: &str) -> Outcome {
        let mut text = match &self.against {
            None => format!("\nfaults {}   ", self.faults.len()),
            Some(address) => format!("\n{address}   "),
        };
        text += &format!(
            "acknowledged {}   found {}   LOST {}   unavailable: {}\n",
            grouped(self.acknowledged()),
            grouped(self.acknowledged() - self.lost()),
            grouped(self.lost()),
            match &*self.unavailable_s() {
                [] => "never".to_owned(),
                times => format!("median {:.2} s, worst {:.2} s", middle(times), times[times.len() - 1]),
            }
        );
        text += &format!(
            "checker: {}, {} calls on shared keys in {:.1} s; {} keys read back one by one\n",
            self.verdict(),
            grouped(self.judged_calls),
            self.judged_in_s,
            grouped(self.counted)
        );
        for part in self.complaints.iter().chain(&self.violations).chain(&self.undecided) {
            text += &format!("FOUND {part}\n");
        }
        if self.acknowledged() == 0 {
            text += "FOUND nothing was acknowledged, so nothing was shown\n";
        }
        text += &format!("history  {history}\nreport   {page}\n");
        Outcome { text, exit_code: u8::from(!self.is_passed()) }
    }
}

/// The middle one of sorted numbers, the lower of two.
pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() - 1) / 2]
}

/// A number with a space between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(crate) fn sample() -> Run {
    let lane = |name: &str, roles: &[(f64, Role)]| Lane { name: name.into(), roles: roles.to_vec() };
    Run {
        seed: 7,
        seconds: 6.0,
        lanes: vec![
            lane("a", &[(0.0, Role::Primary), (2.0, Role::Down), (4.0, Role::Replica)]),
            lane("b", &[(0.0, Role::Replica), (2.1, Role::Lost), (2.7, Role::Primary)]),
        ],
        faults: vec![FaultSeen {
            at_s: 2.0,
            until_s: 4.0,
            kind: FaultKind::Kill,
            zone: "a".into(),
            successor: Some("b".into()),
            unavailable_s: Some(0.75),
        }],
        acknowledged_s: (0..60)
            .map(f64::from)
            .map(|n| n / 10.0)
            .filter(|at| !(2.0..2.75).contains(at))
            .collect(),
        latencies: vec![(0.5, 1.0), (1.5, 2.0), (3.5, 1.5)],
        counted: 12_345,
        found: 12_345,
        judged_calls: 900,
        judged_writes: 400,
        judged_in_s: 0.2,
        ..Run::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_tell_what_was_lost() {
        let run = sample();
        let outcome = run.outcome("h.jsonl", "r.html");
        assert_eq!(
            outcome.text,
            "\nfaults 1   acknowledged 12 745   found 12 745   LOST 0   unavailable: median 0.75 s, worst 0.75 s\n\
             checker: linearizable, 900 calls on shared keys in 0.2 s; 12 345 keys read back one by one\n\
             history  h.jsonl\nreport   r.html\n"
        );
        assert_eq!(outcome.exit_code, 0);
    }

    #[test]
    fn loss_anomaly_doubt_and_idleness_each_fail() {
        type Spoil = fn(&mut Run);
        let spoils: [(Spoil, &str); 6] = [
            (|run| run.found -= 2, "LOST 2"),
            (|run| run.judged_lost = 1, "LOST 1"),
            (|run| run.violations.push("a story".into()), "NOT LINEARIZABLE"),
            (|run| run.undecided.push("key 7".into()), "UNDECIDED"),
            (|run| run.complaints.push("nobody took over".into()), "FOUND nobody took over"),
            (|run| (run.counted, run.found, run.judged_writes) = (0, 0, 0), "nothing was acknowledged"),
        ];
        for (spoil, part) in spoils {
            let mut run = sample();
            spoil(&mut run);
            let outcome = run.outcome("h", "r");
            assert!(outcome.text.contains(part), "{part}: {}", outcome.text);
            assert_eq!(outcome.exit_code, 1, "{part}");
        }
    }

    #[test]
    fn gaps_are_stretches_without_acknowledgements() {
        let mut run = Run { seconds: 3.0, ..Run::default() };
        assert_eq!(run.gaps(), [(0.0, 3.0)]);
        run.acknowledged_s = vec![2.0, 0.1, 0.2, 2.1, 2.9];
        assert_eq!(run.gaps(), [(0.2, 2.0), (2.1, 2.9)]);
        assert!((run.unavailable_s()[1] - 1.8).abs() < 1e-9);
    }

    #[test]
    fn thousands_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (12_345_678, "12 345 678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
