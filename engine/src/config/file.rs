//! Configuration files in redis.conf's syntax: reading them, and telling what becomes of each line.
//!
//! Lives here: lines, `include`, repeated `save`, the directives that stand only in files. Not here: opening the
//! files, which the caller does (`include` asks it for their text).
//!
//! Invariant: `check` and `Config::load` judge a line by the same code.

use super::directive::{Directive, Treatment, find};
use super::syntax::words;
use super::value::Value;
use super::{Config, StartError};

/// One file that an `include` stands for.
pub struct Included {
    pub name: String,
    pub text: Vec<u8>,
}

/// A line with a directive, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file's name, as it was given.
    pub source: String,
    /// Counted from 1.
    pub number: usize,
    /// As it is written.
    pub directive: String,
    /// The rest of the line; a secret is not shown.
    pub value: String,
    pub treatment: LineTreatment,
    /// Why; empty where the directive is simply honoured.
    pub reason: String,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineTreatment {
    Honoured,
    Harmless,
    /// The node does not start with it.
    Refused,
    /// No such directive, or no such value: the node does not start with it.
    Invalid,
}

impl LineTreatment {
    /// As `config check` prints it.
    pub fn name(self) -> &'static str {
        match self {
            LineTreatment::Honoured => "honoured",
            LineTreatment::Harmless => "harmless",
            LineTreatment::Refused => "refused",
            LineTreatment::Invalid => "invalid",
        }
    }

    /// Whether a node starts in spite of the line.
    pub fn is_accepted(self) -> bool {
        matches!(self, LineTreatment::Honoured | LineTreatment::Harmless)
    }
}

/// The line that keeps a file from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}, line {number}: {reason}\n>>> {content}")]
pub struct LoadError {
    pub source_name: String,
    pub number: usize,
    /// The line itself, or the directive's name if it may hold a secret.
    pub content: String,
    /// With a hint at the closest name.
    pub reason: String,
}

/// The user that everybody is who gave no other name, as Redis writes it when there is no password.
const ORDINARY_USER: &[u8] = b"default on nopass ~* &* +@all";

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Directives that stand only in files.
const FILE_ONLY: &[(&str, Treatment)] = &[
    ("include", Treatment::Honoured),
    ("loadmodule", Treatment::Refused("modules cannot be loaded")),
    (
        "rename-command",
        Treatment::Refused("commands keep their names; a renamed one would be open under its old name"),
    ),
    ("user", Treatment::Refused("there is one user, 'default', with the password of 'requirepass'")),
    ("list-max-ziplist-entries", Treatment::Harmless("gone from Redis long since")),
    ("list-max-ziplist-value", Treatment::Harmless("gone from Redis long since")),
    ("lua-replicate-commands", Treatment::Harmless("scripts always log their effects")),
];

impl Config {
    /// Applies a file to the configuration, in the order of its lines; `include` is answered at its place.
    ///
    /// Gives each directive's line with what became of it, so that the caller can tell of the harmless ones. After an
    /// error part of the file has been applied: the configuration is of no more use.
    pub fn load(
        &mut self,
        source: &str,
        text: &[u8],
        include: &mut dyn FnMut(&str) -> Result<Vec<Included>, String>,
    ) -> Result<Vec<Line>, LoadError> {
        let mut lines = Vec::new();
        self.load_nested(source, text, include, &mut Judge::default(), &mut lines, 0)?;
        Ok(lines)
    }

    fn load_nested(
        &mut self,
        source: &str,
        text: &[u8],
        include: &mut dyn FnMut(&str) -> Result<Vec<Included>, String>,
        judge: &mut Judge,
        lines: &mut Vec<Line>,
        depth: usize,
    ) -> Result<(), LoadError> {
        for (number, content) in numbered(text) {
            let mut line = judge.line(self, source, number, content);
            let refusal = if !line.treatment.is_accepted() {
                Some(line.reason.clone())
            } else if line.directive.eq_ignore_ascii_case("include") {
                let files = match depth {
                    INCLUDE_DEPTH_MAX => Err(too_deep()),
                    _ => include(&line.value),
                };
                match files {
                    Ok(files) => {
                        for file in files {
                            self.load_nested(&file.name, &file.text, include, judge, lines, depth + 1)?;
                        }
                        None
                    }
                    Err(reason) => Some(reason),
                }
            } else {
                None
            };
            if let Some(reason) = refusal {
                line.reason.clone_from(&reason);
                let content = format!("{} {}", line.directive, line.value);
                return Err(LoadError { source_name: source.to_owned(), number, content, reason });
            }
            lines.push(line);
        }
        Ok(())
    }
}

/// Tells of every directive's line in a file what would become of it; the lines of an included file stand behind the
/// line that includes it.
pub fn check(
    source: &str,
    text: &[u8],
    include: &mut dyn FnMut(&str) -> Result<Vec<Included>, String>,
) -> Vec<Line> {
    let mut check = Check {
        config: Config::new(),
        judge: Judge::default(),
        include,
        lines: Vec::new(),
        is_too_deep: false,
    };
    check.file(source, text, 0);
    check.lines
}

/// A file under judgement, with all that it includes.
struct Check<'a> {
    config: Config,
    judge: Judge,
    include: &'a mut dyn FnMut(&str) -> Result<Vec<Included>, String>,
    lines: Vec<Line>,
    /// Files include each other: none is followed any more, there could be no end of it.
    is_too_deep: bool,
}

impl Check<'_> {
    fn file(&mut self, source: &str, text: &[u8], depth: usize) {
        for (number, content) in numbered(text) {
            let line = self.judge.line(&mut self.config, source, number, content);
            let includes = line.treatment.is_accepted()
                && line.directive.eq_ignore_ascii_case("include")
                && !self.is_too_deep;
            let (at, name) = (self.lines.len(), line.value.clone());
            self.lines.push(line);
            if includes && let Err(reason) = self.included(&name, depth) {
                let line = &mut self.lines[at];
                (line.treatment, line.reason) = (LineTreatment::Invalid, reason);
            }
        }
    }

    fn included(&mut self, name: &str, depth: usize) -> Result<(), String> {
        if depth == INCLUDE_DEPTH_MAX {
            self.is_too_deep = true;
            return Err(too_deep());
        }
        for file in (self.include)(name)? {
            self.file(&file.name, &file.text, depth + 1);
        }
        Ok(())
    }
}

fn too_deep() -> String {
    format!("files include each other more than {INCLUDE_DEPTH_MAX} deep")
}

/// Lines that are neither empty nor comments, counted from 1.
pub(super) fn numbered(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty() && line[0] != b'#')
}

/// Judges lines one after the other and applies the good ones.
#[derive(Default)]
pub(super) struct Judge {
    /// A `save` line adds to those before it; the first takes the place of the default.
    has_saved: bool,
}

impl Judge {
    fn line(&mut self, config: &mut Config, source: &str, number: usize, content: &[u8]) -> Line {
        let line = |directive: &[u8], value: String, treatment, reason: String| Line {
            source: source.to_owned(),
            number,
            directive: String::from_utf8_lossy(directive).into_owned(),
            value,
            treatment,
            reason,
        };
        let Some(words) = words(content) else {
            let first = content.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            return line(first, String::new(), LineTreatment::Invalid, "the quotes are not balanced".into());
        };
        let (name, values) = words.split_first().expect("a line that is not empty has a word");
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let known = find(name);
        let is_secret = known.is_none_or(|(_, directive)| directive.sensitive) && !is_file_only(name);
        let shown = match is_secret {
            true => "(not shown)".to_owned(),
            false => String::from_utf8_lossy(&values.join(&b' ')).into_owned(),
        };
        match self.apply(config, name, known, &values) {
            Ok(Treatment::Harmless(reason)) => line(name, shown, LineTreatment::Harmless, reason.to_owned()),
            Ok(_) => line(name, shown, LineTreatment::Honoured, String::new()),
            Err(StartError::Refused { reason, .. }) => {
                line(name, shown, LineTreatment::Refused, reason.to_owned())
            }
            Err(StartError::Invalid { reason, .. }) => line(name, shown, LineTreatment::Invalid, reason),
            Err(error @ StartError::Unknown { .. }) => {
                line(name, shown, LineTreatment::Invalid, error.to_string())
            }
        }
    }

    /// Applies the words of a line and gives the directive's treatment.
    pub(super) fn apply(
        &mut self,
        config: &mut Config,
        name: &[u8],
        known: Option<(usize, &'static Directive)>,
        values: &[&[u8]],
    ) -> Result<Treatment, StartError> {
        let readable = String::from_utf8_lossy(name).into_owned();
        let Some((index, directive)) = known else {
            return file_only(&readable, values).unwrap_or_else(|| {
                let hint = super::closest_directive(&readable);
                Err(StartError::Unknown { name: readable, hint })
            });
        };
        if values.is_empty() {
            return Err(StartError::Invalid { name: readable, reason: "wrong number of arguments".into() });
        }
        let before = match &config.values[index] {
            Value::SavePoints(points) if self.has_saved => points.clone(),
            _ => Vec::new(),
        };
        config.set_at_start(directive.name, values)?;
        if let Value::SavePoints(points) = &mut config.values[index] {
            // `save ""` takes back all that stand before it.
            if !points.is_empty() {
                points.splice(0..0, before);
            }
            self.has_saved = true;
        }
        Ok(match directive.treatment {
            Treatment::Refused(_) => Treatment::Honoured,
            treatment => treatment,
        })
    }
}

fn is_file_only(name: &[u8]) -> bool {
    FILE_ONLY.iter().any(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
}

fn file_only(name: &str, values: &[&[u8]]) -> Option<Result<Treatment, StartError>> {
    let (known, treatment) = FILE_ONLY.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(match treatment {
        // CONFIG REWRITE of Redis leaves this line in files that say nothing of users.
        _ if *known == "user" && values.join(&b' ') == ORDINARY_USER => Ok(Treatment::Honoured),
        Treatment::Refused(reason) => Err(StartError::Refused { name: name.to_owned(), reason }),
        _ if *known == "include" && values.len() != 1 => {
            Err(StartError::Invalid { name: name.to_owned(), reason: "wrong number of arguments".into() })
        }
        treatment => Ok(*treatment),
    })
}
