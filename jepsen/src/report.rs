//! What a run says at its end.
//!
//! Lives here: the summary, its verdict, the times without writes. Not here: finding out (`run`).

use std::collections::BTreeMap;
use std::fmt;

use ramkeep_check::checker::Report;

use crate::nemesis::Counts;
use ramkeep_drive::marks::Found;

#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seed: u64,
    pub nodes: usize,
    pub seconds: u64,
    pub faults: BTreeMap<String, u64>,
    pub counts: Counts,
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
    /// Acknowledged changes among the calls of the history.
    pub history_writes: u64,
    pub marks: Found,
    /// Milliseconds without writes, by fault.
    pub unavailable_ms: BTreeMap<&'static str, Vec<f64>>,
    pub report: Report,
    pub complaints: Vec<String>,
    /// What was asked for at least and did not happen.
    pub missed: Vec<String>,
}

impl Summary {
    pub fn acknowledged(&self) -> u64 {
        self.marks.acknowledged + self.history_writes
    }

    /// Writes that the final read does not show although it should.
    pub fn lost(&self) -> u64 {
        let of_history =
            self.report.violations.iter().filter(|violation| violation.checker == "lost or invented write");
        self.marks.lost_count() + of_history.count() as u64
    }

    pub fn is_passed(&self) -> bool {
        self.lost() == 0
            && self.acknowledged() > 0
            && self.report.is_passed()
            && self.complaints.is_empty()
            && self.missed.is_empty()
    }

    /// Compares with `name=number` wishes; what fell short.
    pub fn check_wishes(&mut self, wishes: &[String]) -> Result<(), String> {
        for wish in wishes {
            let (name, number) = wish.split_once('=').ok_or(format!("'{wish}' is not NAME=NUMBER"))?;
            let number: u64 = number.parse().map_err(|_| format!("'{wish}' is not NAME=NUMBER"))?;
            let had = match name {
                "failovers" => self.counts.failovers,
                "kills" => self.counts.kills,
                "pauses" => self.counts.pauses,
                "cuts" => self.counts.cuts,
                "damaged" => self.counts.damaged,
                "replaced" => self.counts.replaced,
                "full-members" => self.counts.full_members,
                "acked" => self.acknowledged(),
                _ => return Err(format!("'{name}' is nothing that is counted")),
            };
            if had < number {
                self.missed.push(format!("{name}: {had}, not {number}"));
            }
        }
        Ok(())
    }
}

/// The smallest value that so many percent are not above.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[place]
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(f, "run: {} node(s), {} s of faults, seed {}", self.nodes, self.seconds, self.seed)?;
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        writeln!(
            f,
            "        kill -9 {}, pauses {}, cuts {}, resets {}, failovers {}",
            counts.kills, counts.pauses, counts.cuts, counts.resets, counts.failovers
        )?;
        writeln!(
            f,
            "        damaged files {}: refused {}, nothing that counts {}; full disks {} ({} writes)",
            counts.damaged, counts.refused, counts.unharmed, counts.full_disks, counts.full_disk_writes
        )?;
        writeln!(
            f,
            "        members replaced {}, full disks of members {}",
            counts.replaced, counts.full_members
        )?;
        for (name, count) in &counts.skipped {
            writeln!(f, "SKIPPED {name}: {count} times, this machine does not allow it")?;
        }
        writeln!(f, "calls:  ok {}, fail {}, info {}", self.ok, self.fail, self.info)?;
        writeln!(
            f,
            "writes: acknowledged {} ({} counted, {} in the history), counted ones found {}, LOST {}",
            self.acknowledged(),
            self.marks.acknowledged,
            self.history_writes,
            self.marks.found,
            self.lost()
        )?;
        for (fault, times_ms) in &self.unavailable_ms {
            let mut sorted = times_ms.clone();
            sorted.sort_by(f64::total_cmp);
            writeln!(
                f,
                "no writes after {fault}: median {:.0} ms, p99 {:.0} ms, worst {:.0} ms, of {}",
                percentile(&sorted, 50),
                percentile(&sorted, 99),
                sorted[sorted.len() - 1],
                sorted.len()
            )?;
        }
        let order = match (self.report.violations.is_empty(), self.report.undecided.is_empty()) {
            (false, _) => "NO",
            (true, false) => "UNDECIDED",
            (true, true) => "yes",
        };
        writeln!(f, "linearizable: {order} ({} parts, {} states)", self.report.parts, self.report.steps)?;
        for lost in &self.marks.lost {
            writeln!(f, "LOST {lost}")?;
        }
        if !self.report.is_passed() {
            write!(f, "{}", self.report)?;
        }
        for complaint in &self.complaints {
            writeln!(f, "FOUND {complaint}")?;
        }
        for missed in &self.missed {
            writeln!(f, "TOO FEW {missed}")?;
        }
        write!(f, "{}", if self.is_passed() { "PASSED" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        let marks = Found { acknowledged: 10, found: 10, lost: Vec::new() };
        Summary { marks, ..Summary::default() }
    }

    #[test]
    fn a_run_passes_only_when_it_wrote_lost_nothing_and_did_enough() {
        assert!(good().is_passed());
        assert!(!Summary::default().is_passed(), "an idle run shows nothing");
        let mut lost = good();
        lost.marks.found = 9;
        assert!(!lost.is_passed() && lost.to_string().contains("LOST 1"));
        let mut short = good();
        short.check_wishes(&["acked=10".to_string(), "kills=1".to_string()]).unwrap();
        assert_eq!(short.missed, ["kills: 0, not 1"]);
        assert!(!short.is_passed());
        assert!(good().check_wishes(&["luck=1".to_string()]).is_err());
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
    }
}
