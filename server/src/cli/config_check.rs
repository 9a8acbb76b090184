//! `ramkeep config check FILE`: what becomes of each directive of a redis.conf.
//!
//! Lives here: the table and the JSON form. Not here: the judgement (`engine::config`).
//!
//! The JSON form: `{"file", "starts", "problem", "lines": [{"file", "number", "directive", "value", "treatment",
//! "reason"}]}`; a line's file is another where it is included.

use super::Outcome;
use crate::config_file::{Files, included};
use ramkeep_engine::config::{Config, Line, LineTreatment, check, check_members, exposure};
use serde_json::json;

/// Judges a file and those that it includes. Exit code 1 if a node would not start with it.
pub fn config_check(name: &str, text: &[u8], files: &mut dyn Files, as_json: bool) -> Outcome {
    let lines = check(name, text, &mut |name| included(files, name));
    let refused = lines.iter().filter(|line| !line.treatment.is_accepted()).count();
    let problem = match refused {
        0 => problem_of_whole(name, text, files),
        1 => Some("1 line keeps a node from starting".to_owned()),
        _ => Some(format!("{refused} lines keep a node from starting")),
    };
    let text = if as_json {
        in_json(name, &lines, problem.as_deref())
    } else {
        in_text(name, &lines, problem.as_deref())
    };
    Outcome { text, exit_code: u8::from(problem.is_some()) }
}

/// Why the file as a whole, with those that it includes, keeps a node from starting: it would open the node to everybody, or
/// names members that cannot be a cluster.
fn problem_of_whole(name: &str, text: &[u8], files: &mut dyn Files) -> Option<String> {
    let mut config = Config::new();
    if let Err(error) = config.load(name, text, &mut |name| included(files, name)) {
        return Some(error.to_string());
    }
    let settings = config.settings();
    if let Err(exposed) = exposure(settings) {
        return Some(exposed.to_string());
    }
    check_members(&settings.members, settings.own()).err().map(|error| error.to_string())
}

fn in_text(name: &str, lines: &[Line], problem: Option<&str>) -> String {
    let mut text = String::new();
    let mut source = name;
    let shown = |line: &Line| format!("{} {}", line.directive, line.value).replace(char::is_control, "?");
    let width = lines.iter().map(|line| shown(line).chars().count()).max().unwrap_or(0).min(48);
    for line in lines {
        if line.source != source {
            source = &line.source;
            text += &format!("in {source}:\n");
        }
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
                "file": line.source,
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

    /// One file that can be included.
    struct One;

    impl Files for One {
        fn read(&mut self, name: &str) -> std::io::Result<Vec<u8>> {
            match name {
                "b.conf" => Ok(b"bind 0.0.0.0\n".to_vec()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            }
        }

        fn read_standard_input(&mut self) -> std::io::Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }

    fn checked(text: &str, as_json: bool) -> Outcome {
        config_check("redis.conf", text.as_bytes(), &mut One, as_json)
    }

    #[test]
    fn included_files_are_judged_too() {
        let outcome = checked("include b.conf\nrequirepass x\n", false);
        assert_eq!(
            outcome.text,
            "    1  honoured  include b.conf\nin b.conf:\n    1  honoured  bind 0.0.0.0\nin redis.conf:\n    2  \
             honoured  requirepass (not shown)\n3 honoured, 0 harmless, 0 refused, 0 invalid: a node starts with this \
             file\n"
        );
        for (file, problem) in [
            ("include b.conf\n", "'bind 0.0.0.0' would let other machines in"),
            ("include c.conf\n", "1 line keeps a node from starting"),
        ] {
            let outcome = checked(file, false);
            assert!(outcome.exit_code == 1 && outcome.text.contains(problem), "{file}: {}", outcome.text);
        }
        assert!(checked("include c.conf\n", false).text.contains("cannot read 'c.conf'"));
    }

    #[test]
    fn a_good_file_is_told_line_by_line() {
        let outcome = checked(SAMPLE, false);
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
            let outcome = checked(file, false);
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
        ] {
            let outcome = checked(&file(third.clone()), false);
            assert!(outcome.text.contains(reason), "{third}: {}", outcome.text);
            assert_eq!(outcome.exit_code, u8::from(!reason.starts_with("a node")), "{third}");
        }
    }

    #[test]
    fn json_holds_the_same() {
        let outcome = checked(SAMPLE, true);
        let document: serde_json::Value = serde_json::from_str(&outcome.text).expect("JSON");
        assert_eq!(document["starts"], true);
        assert_eq!(document["lines"][1]["treatment"], "harmless");
        assert_eq!(document["lines"][2]["value"], "(not shown)");
        assert_eq!(document["lines"].as_array().map(Vec::len), Some(3));
    }
}
