//! `ramkeep demo`: what it is told, what it has seen, and how that is summed up.
//!
//! Lives here: arguments, the run as plain values, its verdict. Not here: playing it (the binary's `demo`), the lines at
//! its end (`summary`), the page (`page`, with the drawing in `chart`).
//!
//! Exit codes: 0 all was well; 1 a write was lost, an answer cannot be explained, or nobody served again.

mod chart;
pub mod page;
mod summary;

use ramkeep_drive::target::Url;

pub use summary::Summary;

/// `ramkeep demo …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoArguments {
    /// How long the zones are attacked, or the other server is written to.
    pub seconds: u32,
    /// Another server than our own three zones; it is written to and not attacked.
    pub against: Option<Url>,
    /// Where the history and the page go.
    pub directory: String,
    /// The summary is one JSON value; what happens is told on standard error.
    pub json: bool,
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

impl Role {
    pub const ALL: [Role; 5] = [Role::Primary, Role::Replica, Role::NoLease, Role::Lost, Role::Down];

    /// Its name in the page's style.
    fn class(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::NoLease => "nolease",
            Role::Replica => "replica",
            Role::Lost => "lost",
            Role::Down => "down",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::NoLease => "leads without a lease: answers nothing",
            Role::Replica => "replica",
            Role::Lost => "knows of no primary",
            Role::Down => "down",
        }
    }
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
    /// Keys that were written once: how many were acknowledged, and are there; unknown where nothing could be read back.
    pub counted: u64,
    pub found: Option<u64>,
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

    /// Acknowledged writes that are not there; unknown where nothing could be read back.
    pub fn lost(&self) -> Option<u64> {
        self.found.map(|found| self.counted - found + self.judged_lost)
    }

    pub fn is_passed(&self) -> bool {
        self.lost() == Some(0)
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
        found: Some(12_345),
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
