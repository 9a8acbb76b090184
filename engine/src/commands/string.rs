//! Strings: GET, SET and what is built on them. Bits of strings are in `bitmap`.

use super::string_reply;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::effect::Expiry;
use crate::error::{NOT_AN_INTEGER, OVERFLOW, Result, SYNTAX, invalid_expire_time};
use crate::number::integer;

const WRITE_ACL: Categories = Categories::STRING;
const KEY: Keys = Keys::at(1);

pub const COMMANDS: &[Command] = &[
    Command::read("get", exactly(1), get)
        .keys(KEY, &["RO", "access"])
        .fast()
        .acl(Categories::STRING)
        .group("string")
        .doc("1.0.0", "key", "Returns the string value of a key.", "O(1)"),
    Command::write("set", at_least(2), set)
        .keys(KEY, &["RW", "access", "update", "variable_flags"])
        .flags(Flags::DENY_OOM)
        .acl(WRITE_ACL)
        .group("string")
        .doc(
            "1.0.0",
            "key value [<NX | XX>] [GET] [<EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL>]",
            "Sets the string value of a key, whatever it was. The key is created if it doesn't exist.",
            "O(1)",
        ),
    Command::write("incr", exactly(1), incr)
        .keys(KEY, &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(WRITE_ACL)
        .group("string")
        .doc("1.0.0", "key", "Increments the integer value of a key by one.", "O(1)"),
];

fn get(call: &mut Call<'_>) -> Result {
    match call.engine.data.read_string(call.args.get(1))? {
        Some(string) => string_reply(call.reply, string),
        None => call.reply.null(),
    }
    Ok(())
}

/// When a value is set at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// Options of SET.
struct SetOptions {
    condition: Condition,
    gives_old: bool,
    expiry: Expiry,
}

fn set(call: &mut Call<'_>) -> Result {
    let options = set_options(call)?;
    let (key, value) = (call.args.get(1), call.args.get(2));
    let mut entry = call.engine.data.entry(key);
    if options.gives_old {
        let mut string = entry.string()?;
        match string.get() {
            Some(old) => string_reply(call.reply, old),
            None => call.reply.null(),
        }
        if options.condition.holds(string.get().is_some()) {
            string.set(value, options.expiry);
        }
        return Ok(());
    }
    if !options.condition.holds(entry.exists()) {
        call.reply.null();
        return Ok(());
    }
    entry.set_string(value, options.expiry);
    call.reply.ok();
    Ok(())
}

impl Condition {
    fn holds(self, exists: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfAbsent => !exists,
            Condition::IfPresent => exists,
        }
    }
}

fn set_options(call: &Call<'_>) -> Result<SetOptions> {
    let mut options = SetOptions { condition: Condition::Always, gives_old: false, expiry: Expiry::None };
    let mut index = 3;
    while index < call.args.len() {
        let word = call.args.get(index);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let has_next = index + 1 < call.args.len();
        if is("NX") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if is("XX") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if is("GET") {
            options.gives_old = true;
        } else if is("KEEPTTL") && options.expiry == Expiry::None {
            options.expiry = Expiry::Keep;
        } else if let Some(unit) = Deadline::of(word)
            && has_next
            && options.expiry == Expiry::None
        {
            index += 1;
            options.expiry = Expiry::At(unit.deadline_ms(call, call.args.get(index))?);
        } else {
            return Err(SYNTAX);
        }
        index += 1;
    }
    Ok(options)
}

/// How a deadline is written: EX, PX, EXAT, PXAT.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    is_absolute: bool,
    is_seconds: bool,
}

impl Deadline {
    pub(super) const EX: Deadline = Deadline { is_absolute: false, is_seconds: true };
    pub(super) const PX: Deadline = Deadline { is_absolute: false, is_seconds: false };

    pub(super) fn of(word: &[u8]) -> Option<Deadline> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        Some(if is("EX") {
            Deadline::EX
        } else if is("PX") {
            Deadline::PX
        } else if is("EXAT") {
            Deadline { is_absolute: true, is_seconds: true }
        } else if is("PXAT") {
            Deadline { is_absolute: true, is_seconds: false }
        } else {
            return None;
        })
    }

    /// Milliseconds since 1970; times that are not positive or overflow are refused.
    pub(super) fn deadline_ms(self, call: &Call<'_>, argument: &[u8]) -> Result<i64> {
        let time = integer::parse(argument).ok_or(NOT_AN_INTEGER)?;
        let invalid = || invalid_expire_time(call.name());
        if time <= 0 {
            return Err(invalid());
        }
        let milliseconds = if self.is_seconds { time.checked_mul(1000) } else { Some(time) };
        let start = if self.is_absolute { 0 } else { call.now_ms() };
        milliseconds.and_then(|milliseconds| milliseconds.checked_add(start)).ok_or_else(invalid)
    }
}

fn incr(call: &mut Call<'_>) -> Result {
    increment(call, 1)
}

fn increment(call: &mut Call<'_>, by: i64) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let before = match string.get() {
        Some(value) => value.parse_integer().ok_or(NOT_AN_INTEGER)?,
        None => 0,
    };
    let after = before.checked_add(by).ok_or(OVERFLOW)?;
    string.set_integer(after);
    call.reply.integer(after);
    Ok(())
}
