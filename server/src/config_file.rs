//! From the command line and its files to one configuration.
//!
//! Lives here: the order in which file, standard input and options apply, and the last look at the whole. Not here:
//! the syntax (`engine::config`), opening files, which is the caller's (`Files`).
//!
//! Invariant: a configuration that comes out of here may be started.

use crate::options::{ServerArguments, USAGE_EXIT_CODE, closest_subcommand};
use ramkeep_engine::config::{
    Config, Exposed, Exposure, Included, Line, LoadError, MembersError, StartError, check_members, exposure,
};

/// Where texts come from.
pub trait Files {
    fn read(&mut self, name: &str) -> std::io::Result<Vec<u8>>;
    fn read_standard_input(&mut self) -> std::io::Result<Vec<u8>>;
}

/// What a node starts with.
pub struct Assembled {
    pub config: Config,
    pub exposure: Exposure,
    /// Every line of the files with what became of it, for a word about those without effect.
    pub lines: Vec<Line>,
    /// The file that CONFIG REWRITE writes.
    pub file: Option<String>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read '{name}': {reason}{hint}")]
    Unreadable { name: String, reason: String, hint: String },
    #[error("{0}")]
    Line(#[from] LoadError),
    #[error("command line: {0}")]
    Option(#[from] StartError),
    #[error("{0}")]
    Exposed(#[from] Exposed),
    #[error("{0}")]
    Members(#[from] MembersError),
}

impl ConfigError {
    /// 2 for a mistake on the command line, 1 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            ConfigError::Option(_) => USAGE_EXIT_CODE,
            ConfigError::Unreadable { .. }
            | ConfigError::Line(_)
            | ConfigError::Exposed(_)
            | ConfigError::Members(_) => 1,
        }
    }
}

/// Applies file, standard input and options, in this order, to the defaults.
pub fn assemble(arguments: &ServerArguments, files: &mut dyn Files) -> Result<Assembled, ConfigError> {
    let mut config = Config::new();
    let mut lines = Vec::new();
    if let Some(name) = &arguments.file {
        let text = files.read(name).map_err(|error| unreadable(name, &error))?;
        lines.extend(config.load(name, &text, &mut |name| included(files, name))?);
    }
    if arguments.reads_standard_input {
        let name = "standard input";
        let text = files.read_standard_input().map_err(|error| unreadable(name, &error))?;
        lines.extend(config.load(name, &text, &mut |name| included(files, name))?);
    }
    let mut save_values: Vec<&[u8]> = Vec::new();
    for option in &arguments.overrides {
        let values: Vec<&[u8]> = option.values.iter().map(String::as_bytes).collect();
        match option.name.as_str() {
            "include" => {
                for name in &option.values {
                    let text = files.read(name).map_err(|error| unreadable(name, &error))?;
                    lines.extend(config.load(name, &text, &mut |name| included(files, name))?);
                }
            }
            // Several `--save` add up, as several lines do.
            "save" => {
                match values.as_slice() {
                    [b""] => save_values.clear(),
                    _ => save_values.extend(values),
                }
                config.set_at_start("save", if save_values.is_empty() { &[b""] } else { &save_values })?;
            }
            name => config.set_at_start(name, &values)?,
        }
    }
    let exposure = exposure(config.settings())?;
    check_members(&config.settings().members, config.settings().own())?;
    Ok(Assembled { config, exposure, lines, file: arguments.file.clone() })
}

pub(crate) fn included(files: &mut dyn Files, name: &str) -> Result<Vec<Included>, String> {
    if name.contains(['*', '?', '[']) {
        return Err("patterns in 'include' are not supported: name each file".into());
    }
    let text = files.read(name).map_err(|error| format!("cannot read '{name}': {error}"))?;
    Ok(vec![Included { name: name.to_owned(), text }])
}

fn unreadable(name: &str, error: &std::io::Error) -> ConfigError {
    let hint = closest_subcommand(name)
        .map(|command| format!("; did you mean the subcommand '{command}'?"))
        .unwrap_or_default();
    ConfigError::Unreadable { name: name.to_owned(), reason: error.to_string(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Invocation, parse};
    use std::ffi::OsString;
    use std::io::{Error, ErrorKind};

    struct Texts(&'static [(&'static str, &'static str)]);

    impl Files for Texts {
        fn read(&mut self, name: &str) -> std::io::Result<Vec<u8>> {
            let found = self.0.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| Error::from(ErrorKind::NotFound))
        }

        fn read_standard_input(&mut self) -> std::io::Result<Vec<u8>> {
            self.read("-")
        }
    }

    const FILES: Texts = Texts(&[
        ("a.conf", "port 1\ntimeout 1\nmaxclients 1\nsave 900 1\n"),
        ("-", "timeout 2\nmaxclients 2\n"),
        ("open.conf", "bind *\n"),
        ("bad.conf", "port 1\nprot 2\n"),
        ("nest.conf", "include a.conf\nport 9\n"),
        ("glob.conf", "include *.conf\n"),
        ("gone.conf", "include b.conf\n"),
    ]);

    fn assembled(line: &str) -> Result<Assembled, ConfigError> {
        let words =
            line.split_whitespace().map(|word| OsString::from(if word == "\"\"" { "" } else { word }));
        match parse(words) {
            Ok(Invocation::Server(arguments)) => assemble(&arguments, &mut Texts(FILES.0)),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn file_then_standard_input_then_options() {
        for (line, port, timeout_s, clients_max, save) in [
            ("", 6379, 0, 10_000, ""),
            ("a.conf", 1, 1, 1, "900 1"),
            ("a.conf -", 1, 2, 2, "900 1"),
            ("a.conf --maxclients 3 -", 1, 2, 3, "900 1"),
            ("a.conf --save 60 1 --save 30 2", 1, 1, 1, "60 1 30 2"),
            ("a.conf --save \"\"", 1, 1, 1, ""),
            ("nest.conf", 9, 1, 1, "900 1"),
            ("--include a.conf --port 5", 5, 1, 1, "900 1"),
        ] {
            let assembled = assembled(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let settings = assembled.config.settings();
            assert_eq!(
                (settings.port, settings.timeout_s, settings.clients_max),
                (port, timeout_s, clients_max),
                "{line}"
            );
            assert_eq!(assembled.config.value_text("save").as_deref(), Some(save.as_bytes()), "{line}");
        }
    }

    #[test]
    fn what_cannot_start_says_why() {
        for (line, exit_code, message) in [
            (
                "bad.conf",
                1,
                "bad.conf, line 2: there is no directive 'prot'; did you mean 'port'?\n>>> prot (not shown)",
            ),
            ("b.conf", 1, "cannot read 'b.conf': entity not found"),
            ("serve", 1, "cannot read 'serve': entity not found; did you mean the subcommand 'server'?"),
            ("gone.conf", 1, "gone.conf, line 1: cannot read 'b.conf': entity not found\n>>> include b.conf"),
            (
                "glob.conf",
                1,
                "glob.conf, line 1: patterns in 'include' are not supported: name each file\n>>> include *.conf",
            ),
            ("--port abc", 2, "command line: 'port': argument couldn't be parsed into an integer"),
            (
                "--cluster-enabled yes",
                2,
                "command line: 'cluster-enabled' is refused: cluster mode does not exist yet",
            ),
            (
                "open.conf",
                1,
                "'bind *' would let other machines in without a password: set 'requirepass', bind only 127.0.0.1 and \
                 ::1, or say 'insecure yes'",
            ),
        ] {
            let error = assembled(line).err().unwrap_or_else(|| panic!("{line} starts"));
            assert_eq!((error.exit_code(), error.to_string()), (exit_code, message.to_owned()), "{line}");
        }
        for (line, expected) in [
            ("open.conf --requirepass secret", Exposure::Password),
            ("open.conf --insecure yes", Exposure::Open),
            ("open.conf --bind 127.0.0.1", Exposure::Local),
        ] {
            assert_eq!(
                assembled(line).unwrap_or_else(|error| panic!("{line}: {error}")).exposure,
                expected,
                "{line}"
            );
        }
    }
}
