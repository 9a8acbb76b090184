//! `ramkeep config check FILE`: what becomes of each directive of a redis.conf.
//!
//! Lives here: the table and the JSON form. Not here: the judgement (`engine::config::check`).
//!
//! The JSON form: `{"file", "starts", "problem", "lines": [{"number", "directive", "value", "treatment", "reason"}]}`.

use super::Outcome;
use ramkeep_engine::config::{Config, Included, Line, LineTreatment, check, exposure};
use serde_json::json;

/// Judges a file. Exit code 1 if a node would not start with it.
pub fn config_check(name: &str, text: &[u8], as_json: bool) -> Outcome {
    let lines = check(name, text);
    let refused = lines.iter().filter(|line| !line.treatment.is_accepted()).count();
    let problem = match refused {
        0 => exposed(name, text),
        1 => Some("1 line keeps a node from starting".to_owned()),
        _ => Some(format!("{refused} lines keep a node from starting")),
    };
    let text =
        if as_json { in_json(name, &lines, problem.as_deref()) } else { in_text(&lines, problem.as_deref()) };
    Outcome { text, exit_code: u8::from(problem.is_some()) }
}

/// Whether the file as a whole would open the node to everybody. Included files are not looked into.
fn exposed(name: &str, text: &[u8]) -> Option<String> {
    let mut config = Config::new();
    let mut nothing = |_: &str| Ok(Vec::<Included>::new());
    match config.load(name, text, &mut nothing) {
        Ok(_) => exposure(config.settings()).err().map(|exposed| exposed.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn in_text(lines: &[Line], problem: Option<&str>) -> String {
    let mut text = String::new();
    let shown = |line: &Line| format!("{} {}", line.directive, line.value).replace(char::is_control, "?");
    let width = lines.iter().map(|line| shown(line).chars().count()).max().unwrap_or(0).min(48);
    for line in lines {
        let row = format!(
            "{:>5}  {:<8}  {:<width$}  {}",
            line.number,
            line.treatment.name(),
            shown(line),
            line.reason
        );
        text += row.trim_end();
        text.push('\n');
    }
    let count = |treatment| lines.iter().filter(|line| line.treatment == treatment).count();
    text += &format!(
        "{} honoured, {} harmless, {} refused, {} invalid: {}\n",
        count(LineTreatment::Honoured),
        count(LineTreatment::Harmless),
        count(LineTreatment::Refused),
        count(LineTreatment::Invalid),
        problem.unwrap_or("a node starts with this file"),
    );
    text
}

fn in_json(name: &str, lines: &[Line], problem: Option<&str>) -> String {
    let lines: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| {
            json!({
                "number": line.number,
                "directive": line.directive,
                "value": line.value,
                "treatment": line.treatment.name(),
                "reason": line.reason,
            })
        })
        .collect();
    let document = json!({ "file": name, "starts": problem.is_none(), "problem": problem, "lines": lines });
    format!("{document}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# a small redis.conf\nport 7000\nappendonly yes\nrequirepass secret\n";

    #[test]
    fn a_good_file_is_told_line_by_line() {
        let outcome = config_check("redis.conf", SAMPLE.as_bytes(), false);
        assert_eq!(
            outcome.text,
            "    2  honoured  port 7000\n    3  harmless  appendonly yes           every OK is on disk through the \
             transaction log, whatever this says\n    4  honoured  requirepass (not shown)\n\
             2 honoured, 1 harmless, 0 refused, 0 invalid: a node starts with this file\n"
        );
        assert_eq!(outcome.exit_code, 0);
    }

    #[test]
    fn a_bad_file_ends_with_exit_code_1() {
        for (file, last) in [
            (
                "prot 1\ntls-port 1\n",
                "0 honoured, 0 harmless, 1 refused, 1 invalid: 2 lines keep a node from starting",
            ),
            ("port x\n", "0 honoured, 0 harmless, 0 refused, 1 invalid: 1 line keeps a node from starting"),
            (
                "bind 0.0.0.0\n",
                "1 honoured, 0 harmless, 0 refused, 0 invalid: 'bind 0.0.0.0' would let other machines in without a \
                 password: set 'requirepass', bind only 127.0.0.1 and ::1, or say 'insecure yes'",
            ),
        ] {
            let outcome = config_check("f", file.as_bytes(), false);
            assert_eq!(outcome.text.lines().last(), Some(last), "{file}");
            assert_eq!(outcome.exit_code, 1);
        }
    }

    #[test]
    fn json_holds_the_same() {
        let outcome = config_check("redis.conf", SAMPLE.as_bytes(), true);
        let document: serde_json::Value = serde_json::from_str(&outcome.text).expect("JSON");
        assert_eq!(document["starts"], true);
        assert_eq!(document["lines"][1]["treatment"], "harmless");
        assert_eq!(document["lines"][2]["value"], "(not shown)");
        assert_eq!(document["lines"].as_array().map(Vec::len), Some(3));
    }
}
