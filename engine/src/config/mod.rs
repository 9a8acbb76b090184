//! The configuration of one node: every directive of Redis and Valkey, and Ramkeep's own.
//!
//! Lives here: the values that hold, CONFIG GET and CONFIG SET. Below: the table of directives (`table`), the shape of
//! values (`value`), typed settings (`settings`), files in redis.conf's syntax (`file`, `rewrite`, `syntax`), who may
//! reach the node (`exposure`), the members of a cluster (`members`).
//! Not here: opening files and ports; whoever changes a setting acts on it with the `Changed` that comes back.
//!
//! Invariant: `values` has one value per row of the table, of the row's kind, and `settings` follows them.

pub mod directive;
mod exposure;
mod file;
mod members;
mod rewrite;
mod settings;
mod syntax;
mod table;
mod value;

pub use directive::{Treatment, closest, closest_directive};
pub use exposure::{Exposed, Exposure, denies, exposure};
pub use file::{Included, Line, LineTreatment, LoadError, check};
pub use members::{
    Member, MemberRole, MembersError, Own, check as check_members, is_loopback_address,
    member as read_member, node_number, split_address,
};
pub use rewrite::GENERATED;
pub use settings::{Allowed, EvictionPolicy, LogFormat, Settings};
pub use table::DIRECTIVES;
pub use value::{Events, OutputLimit, OutputLimits, percentile_text};

use directive::{Change, Directive, find};
use value::{Value, read};

/// All values of one node.
#[derive(Clone)]
pub struct Config {
    values: Vec<Value>,
    settings: Settings,
}

/// A directive that a CONFIG SET has changed; `Config::restore` takes it back.
pub struct Changed {
    /// The directive's first name, also when an alias was used.
    pub name: &'static str,
    index: usize,
    before: Value,
}

/// Why CONFIG SET changed nothing. Its text is Redis's, without the word `ERR` before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("Unknown option or number of arguments for CONFIG SET - '{name}'")]
    Unknown { name: String },
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed { name: String, reason: String },
}

/// Why a value given at start does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("there is no directive '{name}'{}", hint_text(*.hint))]
    Unknown { name: String, hint: Option<&'static str> },
    /// Redis knows it, Ramkeep does not do it.
    #[error("'{name}' is refused: {reason}")]
    Refused { name: String, reason: &'static str },
    #[error("'{name}': {reason}")]
    Invalid { name: String, reason: String },
}

fn hint_text(hint: Option<&'static str>) -> String {
    hint.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// The configuration of a node that was told nothing.
    pub fn new() -> Config {
        let values: Vec<Value> = DIRECTIVES.iter().map(default_value).collect();
        let settings = Settings::from_values(&values);
        Config { values, settings }
    }

    /// The settings in force, typed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Names and values for one pattern of CONFIG GET, in the table's order; aliases stand beside their directives.
    ///
    /// `matches(pattern, name)` is the glob match without regard to case. A hidden directive answers to its exact name.
    pub fn get(
        &self,
        pattern: &[u8],
        matches: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let mut found = Vec::new();
        for (directive, value) in DIRECTIVES.iter().zip(&self.values) {
            for name in directive.names() {
                let is_wanted = match directive.hidden {
                    true => name.as_bytes().eq_ignore_ascii_case(pattern),
                    false => matches(pattern, name.as_bytes()),
                };
                if is_wanted {
                    found.push((name, if directive.masked { Vec::new() } else { value.text() }));
                }
            }
        }
        found
    }

    /// The text of one value, by name or alias.
    pub fn value_text(&self, name: &str) -> Option<Vec<u8>> {
        find(name.as_bytes()).map(|(index, _)| self.values[index].text())
    }

    /// CONFIG SET: all of the pairs or none.
    ///
    /// `client_is_local`: the client is on this machine, which `enable-protected-configs local` asks. What comes back
    /// are the values that are other than before.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], client_is_local: bool) -> Result<Vec<Changed>, SetError> {
        let mut rows: Vec<(usize, &Directive)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let Some((index, directive)) = find(name) else {
                return Err(SetError::Unknown { name: String::from_utf8_lossy(name).into_owned() });
            };
            if rows.iter().any(|(earlier, _)| *earlier == index) {
                return Err(failed(name, "duplicate parameter"));
            }
            self.may_change(index, directive, value, client_is_local)
                .map_err(|reason| failed(name, reason))?;
            rows.push((index, directive));
        }
        let mut changed = Vec::new();
        for ((index, directive), (name, value)) in rows.iter().copied().zip(pairs) {
            match self.change(index, directive, &[value]) {
                Ok(before) if before != self.values[index] => {
                    changed.push(Changed { name: directive.name, index, before });
                }
                Ok(_) => {}
                Err(error) => {
                    self.restore(changed);
                    return Err(failed(name, error.reason()));
                }
            }
        }
        self.settings = Settings::from_values(&self.values);
        if let Err(exposed) = exposure(&self.settings)
            && !changed.is_empty()
        {
            self.restore(changed);
            let name = pairs.first().map(|(name, _)| *name).unwrap_or_default();
            return Err(failed(name, &exposed.to_string()));
        }
        Ok(changed)
    }

    /// Takes a change back, when acting on it has failed.
    pub fn restore(&mut self, changed: Vec<Changed>) {
        for change in changed {
            self.values[change.index] = change.before;
        }
        self.settings = Settings::from_values(&self.values);
    }

    /// Sets a value before the node starts: from a file, the command line, or what was found out (the absolute
    /// directory, the port that was given). What never changes while running may be set here.
    pub fn set_at_start(&mut self, name: &str, words: &[&[u8]]) -> Result<(), StartError> {
        let Some((index, directive)) = find(name.as_bytes()) else {
            return Err(StartError::Unknown { name: name.to_owned(), hint: closest_directive(name) });
        };
        self.change(index, directive, words)?;
        self.settings = Settings::from_values(&self.values);
        Ok(())
    }

    /// Replaces one value, without renewing the settings; gives back the one before.
    fn change(&mut self, index: usize, directive: &Directive, words: &[&[u8]]) -> Result<Value, StartError> {
        let value = read_words(directive, words, &self.values[index])
            .map_err(|reason| StartError::Invalid { name: directive.name.to_owned(), reason })?;
        if let Treatment::Refused(reason) = directive.treatment
            && value != default_value(directive)
        {
            return Err(StartError::Refused { name: directive.name.to_owned(), reason });
        }
        Ok(std::mem::replace(&mut self.values[index], value))
    }

    fn may_change(
        &self,
        index: usize,
        directive: &Directive,
        value: &[u8],
        client_is_local: bool,
    ) -> Result<(), &'static str> {
        const IMMUTABLE: &str = "can't set immutable config";
        match directive.change {
            Change::Anytime => Ok(()),
            Change::Never => Err(IMMUTABLE),
            Change::Protected if self.settings.enable_protected_configs.permits(client_is_local) => Ok(()),
            Change::Protected => Err("can't set protected config"),
            Change::Fixed => match read_words(directive, &[value], &self.values[index]) {
                // Comparing would tell whether a guess is right.
                Ok(_) if directive.masked && !self.values[index].text().is_empty() => Err(IMMUTABLE),
                Ok(value) if value == self.values[index] => Ok(()),
                _ => Err(IMMUTABLE),
            },
        }
    }
}

impl StartError {
    /// The reason alone, for texts that name the directive themselves.
    pub fn reason(&self) -> &str {
        match self {
            StartError::Unknown { .. } => "unknown directive",
            StartError::Refused { reason, .. } => reason,
            StartError::Invalid { reason, .. } => reason,
        }
    }
}

fn failed(name: &[u8], reason: &str) -> SetError {
    SetError::Failed { name: String::from_utf8_lossy(name).into_owned(), reason: reason.to_owned() }
}

fn default_value(directive: &Directive) -> Value {
    // An empty text merges with nothing: defaults spell their values out.
    read_words(directive, &[directive.default.as_bytes()], &Value::Boolean(false))
        .unwrap_or_else(|reason| unreachable!("the default of '{}' is valid: {reason}", directive.name))
}

/// Reads words after splitting a lone one, if the kind takes several: `"900 1 300 10"` is four words, `""` none.
fn read_words(directive: &Directive, words: &[&[u8]], before: &Value) -> Result<Value, String> {
    match words {
        [b""] if directive.kind.takes_several() => read(directive.kind, &[], before),
        [lone] if directive.kind.takes_several() => {
            let split: Vec<&[u8]> = lone.split(|byte| *byte == b' ').collect();
            read(directive.kind, &split, before)
        }
        _ => read(directive.kind, words, before),
    }
}

#[cfg(test)]
mod tests;
