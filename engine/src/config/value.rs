//! Values: from the words of a line or of CONFIG SET, and back to the text that CONFIG GET prints.
//!
//! Lives here: one reader and one printer per kind, with Redis's reasons for refusing.
//! Not here: which directive has which kind (`table`), all-or-nothing changes (`mod`).
//!
//! Invariant: reading what `Value::text` printed gives the same value (tested for every directive).

use super::directive::{Kind, TextRule};
use super::members::{self, Member};

/// The value of one directive.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Octal(i64),
    Memory(u64),
    Percent(u8),
    Word(&'static str),
    Shutdown(ShutdownFlags),
    Text(Vec<u8>),
    OutputLimits(OutputLimits),
    SavePoints(Vec<SavePoint>),
    Addresses(Vec<String>),
    Members(Vec<Member>),
    Events(Events),
    Percentiles(Vec<f64>),
    OomScores([i64; 3]),
}

/// Bounds on what waits for one client to read it; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    /// How long the soft limit may be exceeded.
    pub soft_seconds: i64,
}

/// Output limits per class of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

/// A snapshot after `seconds` with at least `changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: i64,
    pub changes: i64,
}

/// What a signal adds to an ordinary shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownFlags {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

/// Classes of keyspace events to publish, as set by `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(u16);

/// Letter and class, in the order in which they are printed.
const EVENT_LETTERS: [(u8, Events); 14] = [
    (b'g', Events::GENERIC),
    (b'$', Events::STRING),
    (b'l', Events::LIST),
    (b's', Events::SET),
    (b'h', Events::HASH),
    (b'z', Events::SORTED_SET),
    (b'x', Events::EXPIRED),
    (b'e', Events::EVICTED),
    (b't', Events::STREAM),
    (b'd', Events::MODULE),
    (b'n', Events::NEW),
    (b'K', Events::KEYSPACE),
    (b'E', Events::KEYEVENT),
    (b'm', Events::KEY_MISS),
];

impl Events {
    pub const KEYSPACE: Events = Events(1);
    pub const KEYEVENT: Events = Events(1 << 1);
    pub const GENERIC: Events = Events(1 << 2);
    pub const STRING: Events = Events(1 << 3);
    pub const LIST: Events = Events(1 << 4);
    pub const SET: Events = Events(1 << 5);
    pub const HASH: Events = Events(1 << 6);
    pub const SORTED_SET: Events = Events(1 << 7);
    pub const EXPIRED: Events = Events(1 << 8);
    pub const EVICTED: Events = Events(1 << 9);
    pub const STREAM: Events = Events(1 << 10);
    pub const MODULE: Events = Events(1 << 11);
    pub const KEY_MISS: Events = Events(1 << 12);
    pub const NEW: Events = Events(1 << 13);
    /// What the letter `A` stands for.
    pub const ALL: Events = Events(0b1111_1111_1100);

    /// Whether any class of `other` is asked for.
    pub fn any_of(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    fn contains(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }

    fn with(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    fn read(letters: &[u8]) -> Option<Events> {
        letters.iter().try_fold(Events::default(), |events, letter| {
            if *letter == b'A' {
                return Some(events.with(Events::ALL));
            }
            EVENT_LETTERS.iter().find(|(known, _)| known == letter).map(|(_, class)| events.with(*class))
        })
    }

    /// As Redis prints them: `A` swallows its classes and `n`.
    fn text(self) -> Vec<u8> {
        let all = self.contains(Events::ALL);
        let covered = Events::ALL.with(Events::NEW);
        let mut text = if all { vec![b'A'] } else { Vec::new() };
        for (letter, class) in EVENT_LETTERS {
            if self.contains(class) && !(all && covered.contains(class)) {
                text.push(letter);
            }
        }
        text
    }
}

/// Reads the words of one configuration line or of one CONFIG SET argument.
///
/// `before` is what the value adds to: output limits of the classes not named stay. Fails with Redis's reason.
pub fn read(kind: Kind, words: &[&[u8]], before: &Value) -> Result<Value, String> {
    if !kind.takes_several() && words.len() != 1 {
        return Err("wrong number of arguments".into());
    }
    let first = words.first().copied().unwrap_or_default();
    match kind {
        Kind::Boolean => one_of(first, &["no", "yes"])
            .map(|word| Value::Boolean(word == "yes"))
            .ok_or("argument must be 'yes' or 'no'".into()),
        Kind::Integer { min, max } => bounded_integer(first, min, max).map(Value::Integer),
        Kind::Clamped { min, max, read_max } => {
            bounded_integer(first, 0, read_max).map(|number| Value::Integer(number.clamp(min, max)))
        }
        Kind::Octal { max } => octal(first, max).map(Value::Octal),
        Kind::Memory { min, max } => {
            let bytes = memory_bytes(first).ok_or("argument must be a memory value")?;
            in_range(bytes, min, max).map(Value::Memory)
        }
        Kind::MemoryOrPercent => memory_or_percent(first),
        Kind::Word(words) => one_of(first, words).map(Value::Word).ok_or_else(|| must_be_one_of(words)),
        Kind::ShutdownFlags => shutdown_flags(words).map(Value::Shutdown),
        Kind::Text(rule) => text(first, rule).map(Value::Text),
        Kind::Joined => Ok(Value::Text(words.join(&b' '))),
        Kind::OutputLimits => output_limits(words, before).map(Value::OutputLimits),
        Kind::SavePoints => save_points(words).map(Value::SavePoints),
        Kind::Addresses => addresses(words).map(Value::Addresses),
        Kind::Members => {
            let before = if let Value::Members(members) = before { &members[..] } else { &[] };
            members::read(words, before).map(Value::Members)
        }
        Kind::Events => Events::read(first)
            .map(Value::Events)
            .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        Kind::Percentiles => percentiles(words).map(Value::Percentiles),
        Kind::OomScores => oom_scores(words).map(Value::OomScores),
    }
}

impl Value {
    /// What CONFIG GET prints.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Value::Boolean(value) => if *value { "yes" } else { "no" }.into(),
            Value::Integer(value) => value.to_string().into_bytes(),
            Value::Octal(value) => format!("{value:o}").into_bytes(),
            Value::Memory(bytes) => bytes.to_string().into_bytes(),
            Value::Percent(percent) => format!("{percent}%").into_bytes(),
            Value::Word(word) => word.as_bytes().to_vec(),
            Value::Shutdown(flags) => flags.text().into_bytes(),
            Value::Text(text) => text.clone(),
            Value::OutputLimits(limits) => {
                limits.classes().map(|(class, limit)| format!("{class} {limit}")).join(" ").into_bytes()
            }
            Value::SavePoints(points) => {
                joined(points.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
            }
            Value::Addresses(addresses) => addresses.join(" ").into_bytes(),
            Value::Members(members) => joined(members.iter().map(ToString::to_string)),
            Value::Events(events) => events.text(),
            Value::Percentiles(percentiles) => {
                joined(percentiles.iter().map(|percentile| percentile_text(*percentile)))
            }
            Value::OomScores(scores) => joined(scores.iter().map(ToString::to_string)),
        }
    }
}

impl OutputLimits {
    /// Class and limit; replicas under the name that CONFIG GET has always used.
    pub fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }
}

impl std::fmt::Display for OutputLimit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {} {}", self.hard_bytes, self.soft_bytes, self.soft_seconds)
    }
}

impl ShutdownFlags {
    fn text(self) -> String {
        let words: Vec<&str> =
            [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")]
                .into_iter()
                .filter_map(|(set, word)| set.then_some(word))
                .collect();
        if words.is_empty() { "default".into() } else { words.join(" ") }
    }
}

fn joined(words: impl Iterator<Item = String>) -> Vec<u8> {
    words.collect::<Vec<_>>().join(" ").into_bytes()
}

fn one_of(word: &[u8], known: &[&'static str]) -> Option<&'static str> {
    known.iter().copied().find(|candidate| candidate.as_bytes().eq_ignore_ascii_case(word))
}

fn must_be_one_of(words: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", words.join(", "))
}

/// A whole number in its only spelling: no sign `+`, no leading zeros, no spaces.
fn integer(word: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == word).then_some(number)
}

fn in_range<T: PartialOrd + std::fmt::Display>(number: T, min: T, max: T) -> Result<T, String> {
    if number < min || number > max {
        return Err(format!("argument must be between {min} and {max} inclusive"));
    }
    Ok(number)
}

fn bounded_integer(word: &[u8], min: i64, max: i64) -> Result<i64, String> {
    let number = integer(word).ok_or("argument couldn't be parsed into an integer")?;
    in_range(number, min, max)
}

fn octal(word: &[u8], max: i64) -> Result<i64, String> {
    let number = std::str::from_utf8(word)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| i64::from_str_radix(digits, 8).ok())
        .ok_or("argument couldn't be parsed as an octal number")?;
    if number > max {
        return Err(format!("argument must be between 0 and {max:o} inclusive"));
    }
    Ok(number)
}

/// Bytes with a unit: k, m, g are powers of 1000, kb, mb, gb powers of 1024. Empty is 0; too much for 64 bits is
/// the most that fits.
pub fn memory_bytes(word: &[u8]) -> Option<u64> {
    let digits_end = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(word.len());
    let (digits, unit) = word.split_at(digits_end);
    if digits.is_empty() && !unit.is_empty() {
        return None;
    }
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.saturating_mul(factor))
}

/// The shortest form of a size that `memory_bytes` reads back, for configuration files.
pub fn memory_text(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn memory_or_percent(word: &[u8]) -> Result<Value, String> {
    const REASON: &str = "argument must be a memory or percent value";
    let Some(digits) = word.strip_suffix(b"%") else {
        return memory_bytes(word)
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .map(Value::Memory)
            .ok_or(REASON.into());
    };
    let percent = integer(digits).filter(|percent| *percent >= 0).ok_or(REASON)?;
    match u8::try_from(percent) {
        Ok(0) => Ok(Value::Memory(0)),
        Ok(percent @ ..=100) => Ok(Value::Percent(percent)),
        _ => Err("percentage argument must be less or equal to 100".into()),
    }
}

fn shutdown_flags(words: &[&[u8]]) -> Result<ShutdownFlags, String> {
    const KNOWN: [&str; 5] = ["default", "save", "nosave", "now", "force"];
    if words.is_empty() {
        return Err(must_be_one_of(&KNOWN));
    }
    let mut flags = ShutdownFlags::default();
    for word in words {
        match one_of(word, &KNOWN) {
            Some("save") => flags.save = true,
            Some("nosave") => flags.nosave = true,
            Some("now") => flags.now = true,
            Some("force") => flags.force = true,
            Some(_) => {}
            None => return Err(must_be_one_of(&KNOWN)),
        }
    }
    if flags.save && flags.nosave {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(flags)
}

fn text(word: &[u8], rule: TextRule) -> Result<Vec<u8>, String> {
    match rule {
        TextRule::Any => {}
        TextRule::FileName => {
            if word.contains(&b'/') || word == b"." || word == b".." {
                return Err("argument can't be a path, just a filename".into());
            }
        }
        TextRule::Hostname => {
            if word.len() > 255 {
                return Err("Hostnames must be less than 256 characters".into());
            }
            if !word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
                return Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into());
            }
        }
        TextRule::Title => {
            if !title_is_valid(word) {
                return Err("template format is invalid or contains unknown variables".into());
            }
        }
        TextRule::Routes => {
            routes(word).ok_or("argument must be 'name=host:port', several separated by commas")?;
        }
    }
    Ok(word.to_vec())
}

/// Names of members and addresses, as [`TextRule::Routes`] has them; `None` if it is something else.
pub(super) fn routes(text: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() {
        return Some(Vec::new());
    }
    let route = |route: &str| {
        let (name, address) = route.split_once('=')?;
        let (host, port) = address.rsplit_once(':')?;
        let is_host = !host.is_empty() && !host.contains(|char: char| char.is_whitespace() || char == '=');
        let is_whole = !name.is_empty() && is_host && port.parse::<u16>().is_ok_and(|port| port > 0);
        is_whole.then(|| (name.to_owned(), address.to_owned()))
    };
    text.split(',').map(route).collect()
}

/// Whether every variable in braces is known and every brace is closed.
fn title_is_valid(template: &[u8]) -> bool {
    const KNOWN: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let Ok(mut rest) = std::str::from_utf8(template) else { return false };
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { return false };
        if !KNOWN.contains(&name) {
            return false;
        }
        rest = tail;
    }
    true
}

fn output_limits(words: &[&[u8]], before: &Value) -> Result<OutputLimits, String> {
    const BAD_NUMBER: &str = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let unlimited = OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
    let mut limits = match before {
        Value::OutputLimits(limits) => *limits,
        _ => OutputLimits { normal: unlimited, replica: unlimited, pubsub: unlimited },
    };
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks_exact(4) {
        let class = match one_of(group[0], &["normal", "slave", "replica", "pubsub"]) {
            Some("normal") => &mut limits.normal,
            Some("pubsub") => &mut limits.pubsub,
            Some(_) => &mut limits.replica,
            None => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        *class = OutputLimit {
            hard_bytes: memory_bytes(group[1]).ok_or(BAD_NUMBER)?,
            soft_bytes: memory_bytes(group[2]).ok_or(BAD_NUMBER)?,
            soft_seconds: integer(group[3]).filter(|seconds| *seconds >= 0).ok_or(BAD_NUMBER)?,
        };
    }
    Ok(limits)
}

fn save_points(words: &[&[u8]]) -> Result<Vec<SavePoint>, String> {
    const REASON: &str = "Invalid save parameters";
    if !words.len().is_multiple_of(2) {
        return Err(REASON.into());
    }
    words
        .chunks_exact(2)
        .map(|pair| {
            let seconds = integer(pair[0]).filter(|seconds| *seconds >= 1).ok_or(REASON)?;
            let changes = integer(pair[1]).filter(|changes| *changes >= 0).ok_or(REASON)?;
            Ok(SavePoint { seconds, changes })
        })
        .collect()
}

fn addresses(words: &[&[u8]]) -> Result<Vec<String>, String> {
    const ADDRESSES_MAX: usize = 16;
    if words.len() > ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    words
        .iter()
        .map(|word| match std::str::from_utf8(word) {
            Ok(address) if is_an_address(address.strip_prefix('-').unwrap_or(address)) => {
                Ok(address.to_owned())
            }
            _ => Err("Failed to bind to specified addresses.".to_owned()),
        })
        .collect()
}

/// Whether a port can be opened there, on some machine.
fn is_an_address(name: &str) -> bool {
    matches!(name, "*" | "::*" | "localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

fn percentiles(words: &[&[u8]]) -> Result<Vec<f64>, String> {
    words
        .iter()
        .map(|word| {
            let percentile: f64 = std::str::from_utf8(word)
                .ok()
                .and_then(|word| word.parse().ok())
                .filter(|percentile: &f64| !percentile.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned()
                );
            }
            // Kept at the precision that is printed, so that what is read back is what holds.
            Ok(percentile_text(percentile).parse().expect("a printed number can be read"))
        })
        .collect()
}

/// Six decimals at most, without trailing zeros.
pub fn percentile_text(percentile: f64) -> String {
    // Adding zero turns a negative zero into a positive one.
    let text = format!("{:.6}", percentile + 0.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn oom_scores(words: &[&[u8]]) -> Result<[i64; 3], String> {
    let [primary, replica, child] = words else {
        return Err("wrong number of arguments".into());
    };
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip([primary, replica, child]) {
        *score = integer(word)
            .filter(|score| (-2000..=2000).contains(score))
            .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_names_with_addresses() {
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(routes(b""), Some(vec![]));
        assert_eq!(routes(b"b=10.0.0.2:1"), Some(vec![pair("b", "10.0.0.2:1")]));
        let two = vec![pair("b", "[::1]:65535"), pair("c", "host.example:2")];
        assert_eq!(routes(b"b=[::1]:65535,c=host.example:2"), Some(two));
        for bad in ["b", "b=", "=h:1", "b=h", "b=h:0", "b=h:65536", "b=:1", "b=h:1,", ",b=h:1", "b=h:1 c=h:2"]
        {
            assert_eq!(routes(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(routes(b"\xff=h:1"), None);
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("007", Some(7)),
            ("1b", Some(1)),
            ("1k", Some(1000)),
            ("1K", Some(1000)),
            ("1kB", Some(1024)),
            ("3m", Some(3_000_000)),
            ("3mb", Some(3 << 20)),
            ("2g", Some(2_000_000_000)),
            ("2GB", Some(2 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999", Some(u64::MAX)),
            ("99999999999999999gb", Some(u64::MAX)),
            ("k", None),
            ("-1", None),
            ("+5", None),
            ("10 mb", None),
            ("0x10", None),
            ("1kbb", None),
            ("1.5gb", None),
        ] {
            assert_eq!(memory_bytes(text.as_bytes()), bytes, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_written_so_that_they_read_back() {
        for (bytes, text) in
            [(0, "0"), (1, "1"), (1024, "1kb"), (1000, "1000"), (100 << 20, "100mb"), (3 << 30, "3gb")]
        {
            assert_eq!(memory_text(bytes), text);
            assert_eq!(memory_bytes(text.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn event_letters_read_back_in_the_order_that_redis_prints() {
        for (letters, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKEmn", "AKEm"),
            ("g$", "g$"),
            ("KEnm", "nKEm"),
            ("Elg", "glE"),
            ("ztdxe", "zxetd"),
            ("g$lshzxetdK", "AK"),
        ] {
            let events = Events::read(letters.as_bytes()).expect(letters);
            assert_eq!(String::from_utf8_lossy(&events.text()), printed, "{letters}");
        }
        assert_eq!(Events::read(b"Kq"), None);
    }

    #[test]
    fn percentiles_are_printed_without_trailing_zeros() {
        for (number, text) in [
            (50.0, "50"),
            (99.9, "99.9"),
            (12.123_456_7, "12.123457"),
            (0.0, "0"),
            (-0.0, "0"),
            (100.0, "100"),
        ] {
            assert_eq!(percentile_text(number), text);
        }
    }
}
