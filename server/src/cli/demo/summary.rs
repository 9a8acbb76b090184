//! The end of a demonstration: a few lines, or one JSON value with the same facts.
//!
//! Not here: how the facts are found (`super`), the page.

use super::{Run, grouped, middle};
use crate::cli::Outcome;
use serde::Serialize;

/// What a demonstration has shown. Its fields are those of `ramkeep demo --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The other server's address, without its password.
    pub against: Option<String>,
    pub faults: usize,
    pub acknowledged: u64,
    /// Unknown where nothing could be read back; so is what was lost.
    pub found: Option<u64>,
    pub lost: Option<u64>,
    /// Seconds without acknowledged writes; none where there was no such time.
    pub unavailable_median_s: Option<f64>,
    pub unavailable_worst_s: Option<f64>,
    /// The checker's.
    pub verdict: &'static str,
    pub judged_calls: u64,
    pub judged_in_s: f64,
    /// Keys that were written once each, and read back.
    pub counted_keys: u64,
    /// Whatever was not as promised.
    pub findings: Vec<String>,
    pub passed: bool,
    /// Paths of the two files.
    pub history: String,
    pub report: String,
}

impl Run {
    /// `history` and `report` are the paths of the files.
    pub fn summary(&self, history: &str, report: &str) -> Summary {
        let times = self.unavailable_s();
        let parts = self.complaints.iter().chain(&self.violations).chain(&self.undecided);
        let mut findings: Vec<String> = parts.cloned().collect();
        if self.acknowledged() == 0 {
            findings.push("nothing was acknowledged, so nothing was shown".into());
        }
        Summary {
            against: self.against.clone(),
            faults: self.faults.len(),
            acknowledged: self.acknowledged(),
            found: self.lost().map(|lost| self.acknowledged() - lost),
            lost: self.lost(),
            unavailable_median_s: (!times.is_empty()).then(|| in_ms(middle(&times))),
            unavailable_worst_s: times.last().copied().map(in_ms),
            verdict: self.verdict(),
            judged_calls: self.judged_calls,
            judged_in_s: in_ms(self.judged_in_s),
            counted_keys: self.counted,
            findings,
            passed: self.is_passed(),
            history: history.to_owned(),
            report: report.to_owned(),
        }
    }
}

/// Seconds, to the millisecond.
fn in_ms(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Findings that the lines at the end show, each with its first line; the page and the JSON value have all.
const FINDINGS_SHOWN_MAX: usize = 10;

impl Summary {
    /// The lines at the end, or the JSON value, and how the process ends.
    pub fn outcome(&self, is_json: bool) -> Outcome {
        let text = match is_json {
            true => serde_json::to_string_pretty(self).expect("text and numbers") + "\n",
            false => self.text(),
        };
        Outcome { text, exit_code: u8::from(!self.passed) }
    }

    fn text(&self) -> String {
        let mut text = self.findings_text() + "\n";
        match &self.against {
            None => text += &format!("faults {}   ", self.faults),
            Some(address) => text += &format!("{address}   "),
        }
        let or_unknown = |number: Option<u64>| number.map_or("unknown".to_owned(), grouped);
        text += &format!(
            "acknowledged {}   found {}   LOST {}   unavailable: {}\n",
            grouped(self.acknowledged),
            or_unknown(self.found),
            or_unknown(self.lost),
            match (self.unavailable_median_s, self.unavailable_worst_s) {
                (Some(median), Some(worst)) => format!("median {median:.2} s, worst {worst:.2} s"),
                _ => "never".to_owned(),
            }
        );
        text += &format!(
            "checker: {}, {} calls on shared keys in {:.1} s; {} keys read back one by one\n",
            self.verdict,
            grouped(self.judged_calls),
            self.judged_in_s,
            if self.found.is_some() { grouped(self.counted_keys) } else { "no".to_owned() }
        );
        text + &format!("history  {}\nreport   {}\n", self.history, self.report)
    }

    fn findings_text(&self) -> String {
        let mut text = String::new();
        for finding in self.findings.iter().take(FINDINGS_SHOWN_MAX) {
            let (first, rest) = finding.split_once('\n').unwrap_or((finding, ""));
            text += &format!("FOUND {first}{}\n", if rest.trim().is_empty() { "" } else { " …" });
        }
        let more = self.findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
        match more {
            0 => text,
            _ => {
                text + &format!(
                    "FOUND {} more: the report has them all, word for word\n",
                    grouped(more as u64)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::sample;

    fn outcome(run: &Run) -> Outcome {
        run.summary("h.jsonl", "r.html").outcome(false)
    }

    #[test]
    fn the_last_lines_tell_what_was_lost() {
        let outcome = outcome(&sample());
        assert_eq!(
            outcome.text,
            "\nfaults 1   acknowledged 12 745   found 12 745   LOST 0   unavailable: median 0.75 s, worst 0.75 s\n\
             checker: linearizable, 900 calls on shared keys in 0.2 s; 12 345 keys read back one by one\n\
             history  h.jsonl\nreport   r.html\n"
        );
        assert_eq!(outcome.exit_code, 0);
    }

    #[test]
    fn json_says_the_same_as_the_lines() {
        let mut run = sample();
        run.found = Some(run.counted - 2);
        let outcome = run.summary("h.jsonl", "r.html").outcome(true);
        let value: serde_json::Value = serde_json::from_str(&outcome.text).expect("one JSON value");
        let expected = serde_json::json!({
            "against": null, "faults": 1, "acknowledged": 12_745, "found": 12_743, "lost": 2,
            "unavailable_median_s": 0.75, "unavailable_worst_s": 0.75, "verdict": "linearizable",
            "judged_calls": 900, "judged_in_s": 0.2, "counted_keys": 12_345, "findings": [], "passed": false,
            "history": "h.jsonl", "report": "r.html",
        });
        assert_eq!(value, expected);
        assert_eq!(outcome.exit_code, 1);
    }

    #[test]
    fn of_many_findings_ten_are_shown_and_the_summary_comes_last() {
        let mut run = sample();
        run.found = Some(run.counted - 8);
        run.complaints = (0..8).map(|number| format!("LOST mark:{number}")).collect();
        run.violations =
            (0..5_000).map(|number| format!("not linearizable on k{number}:\na\nstory\n")).collect();
        let text = outcome(&run).text;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "FOUND LOST mark:0");
        assert_eq!(lines[9], "FOUND not linearizable on k1: …");
        assert_eq!(lines[10], "FOUND 4 998 more: the report has them all, word for word");
        assert!(lines[12].starts_with("faults 1   acknowledged"), "{text}");
        assert_eq!(lines.len(), 16, "{text}");
        let value = run.summary("h", "r").outcome(true).text;
        assert!(value.contains("LOST mark:7") && value.contains("k4999"), "JSON has all");
    }

    #[test]
    fn loss_anomaly_doubt_and_idleness_each_fail() {
        type Spoil = fn(&mut Run);
        let spoils: [(Spoil, &str); 7] = [
            (|run| run.found = Some(run.counted - 2), "LOST 2"),
            (|run| run.found = None, "found unknown   LOST unknown"),
            (|run| run.judged_lost = 1, "LOST 1"),
            (|run| run.violations.push("a story".into()), "NOT LINEARIZABLE"),
            (|run| run.undecided.push("key 7".into()), "UNDECIDED"),
            (|run| run.complaints.push("nobody took over".into()), "FOUND nobody took over"),
            (|run| (run.counted, run.found, run.judged_writes) = (0, Some(0), 0), "nothing was acknowledged"),
        ];
        for (spoil, part) in spoils {
            let mut run = sample();
            spoil(&mut run);
            let outcome = outcome(&run);
            assert!(outcome.text.contains(part), "{part}: {}", outcome.text);
            assert_eq!(outcome.exit_code, 1, "{part}");
        }
    }
}
