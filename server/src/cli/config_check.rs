//! `ramkeep config check FILE`: what becomes of each directive of a redis.conf.
//!
//! Lives here: the table and the JSON form. Not here: the judgement (`engine::config`).
//!
//! The JSON form: `{"file", "starts", "problem", "lines": [{"number", "directive", "value", "treatment", "reason"}]}`.

use super::Outcome;
use ramkeep_engine::config::{Config, Included, Line, LineTreatment, check, check_members, exposure};
use serde_json::json;

/// Judges a file. Exit code 1 if a node would not start with it.
pub fn config_check(name: &str, text: &[u8], as_json: bool) -> Outcome {
    let lines = check(name, text);
    let refused = lines.iter().filter(|line| !line.treatment.is_accepted()).count();
    let problem = match refused {
        0 => problem_of_whole(name, text),
        1 => Some("1 line keeps a node from starting".to_owned()),
        _ => Some(format!("{refused} lines keep a node from starting")),
    };
    let text =
        if as_json { in_json(name, &lines, problem.as_deref()) } else { in_text(&lines, problem.as_deref()) };
    Outcome { text, exit_code: u8::from(problem.is_some()) }
}

/// Why the file as a whole keeps a node from starting: it would open the node to everybody, or names members that cannot
/// be a cluster. Included files are not looked into; where there are such, the members are not judged.
fn problem_of_whole(name: &str, text: &[u8]) -> Option<String> {
    let mut config = Config::new();
    let mut includes = false;
    let loaded = config.load(name, text, &mut |_: &str| {
        includes = true;
        Ok(Vec::<Included>::new())
    });
    if let Err(error) = loaded {
        return Some(error.to_string());
    }
    let settings = config.settings();
    if let Err(exposed) = exposure(settings) {
        return Some(exposed.to_string());
    }
    let members = if includes { Ok(()) } else { check_members(&settings.members, settings.own()) };
    members.err().map(|error| error.to_string())
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
    fn members_that_cannot_be_a_cluster_are_told_as_a_start_tells_them() {
        let member = |name: &str, zone: &str, port: u16| {
            format!("member {name} {zone} engine 127.0.0.1:{port} 127.0.0.1:{}\n", port + 100)
        };
        let file = |third: String| {
            format!(
                "node-name a\ncluster-id x\n{}{}{third}",
                member("a", "za", 1000),
                member("b", "zb", 1001)
            )
        };
        for (third, reason) in [
            (member("c", "zc", 1002), "a node starts with this file"),
            (member("c", "zb", 1002), "zone 'zb' would have two voters, 'b' and 'c'"),
            (member("b", "zc", 1002), "the name 'b' stands there twice"),
            (String::new(), "2 voters bear no more failures than 1"),
            ("include more.conf\n".to_owned(), "a node starts with this file"),
        ] {
            let outcome = config_check("f", file(third.clone()).as_bytes(), false);
            assert!(outcome.text.contains(reason), "{third}: {}", outcome.text);
            assert_eq!(outcome.exit_code, u8::from(!reason.starts_with("a node")), "{third}");
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
