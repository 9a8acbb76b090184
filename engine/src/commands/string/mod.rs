//! Strings: GET, SET and what sets whole values. Numbers are in `number`, pieces of strings in
//! `range`; bits of strings are in `bitmap`.

mod number;
mod range;

use super::string_reply;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::data::EntryHandle;
use crate::effect::Expiry;
use crate::error::{NOT_AN_INTEGER, Result, SYNTAX, WRONG_TYPE, invalid_expire_time, wrong_arity};
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
    Command::write("getset", exactly(2), get_set)
        .keys(KEY, &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(WRITE_ACL)
        .group("string")
        .doc("1.0.0", "key value", "Sets a key's string and returns the one before.", "O(1)"),
    Command::write("getdel", exactly(1), get_del)
        .keys(KEY, &["RW", "access", "delete"])
        .fast()
        .acl(WRITE_ACL)
        .group("string")
        .doc("6.2.0", "key", "Returns a key's string and deletes the key.", "O(1)"),
    Command::write("getex", at_least(1), get_ex)
        .keys(KEY, &["RW", "access", "update"])
        .fast()
        .acl(WRITE_ACL)
        .group("string")
        .doc(
            "6.2.0",
            "key [<EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST>]",
            "Returns a key's string and sets its deadline.",
            "O(1)",
        ),
    Command::write("setnx", exactly(2), set_nx)
        .keys(KEY, &["OW", "insert"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(WRITE_ACL)
        .group("string")
        .doc("1.0.0", "key value", "Sets a key's string only if the key doesn't exist.", "O(1)"),
    Command::write("setex", exactly(3), set_ex)
        .keys(KEY, &["OW", "update"])
        .flags(Flags::DENY_OOM)
        .acl(WRITE_ACL)
        .group("string")
        .doc("2.0.0", "key seconds value", "Sets a key's string and its deadline.", "O(1)"),
    Command::write("psetex", exactly(3), pset_ex)
        .keys(KEY, &["OW", "update"])
        .flags(Flags::DENY_OOM)
        .acl(WRITE_ACL)
        .group("string")
        .doc("2.6.0", "key milliseconds value", "Sets a key's string and its deadline in milliseconds.", "O(1)"),
    Command::read("mget", at_least(1), mget)
        .keys(Keys::range(1, -1, 1), &["RO", "access"])
        .fast()
        .acl(Categories::STRING)
        .group("string")
        .doc("1.0.0", "key [key ...]", "Returns the strings of one or more keys.", "O(N) where N is the number of keys"),
    Command::write("mset", at_least(2), mset)
        .keys(Keys::range(1, -1, 2), &["OW", "update"])
        .flags(Flags::DENY_OOM)
        .acl(WRITE_ACL)
        .group("string")
        .doc("1.0.1", "key value [key value ...]", "Sets the strings of one or more keys.", "O(N) where N is the number of keys"),
    Command::write("msetnx", at_least(2), mset_nx)
        .keys(Keys::range(1, -1, 2), &["OW", "insert"])
        .flags(Flags::DENY_OOM)
        .acl(WRITE_ACL)
        .group("string")
        .doc("1.0.1", "key value [key value ...]", "Sets the strings of one or more keys only if none of them exists.", "O(N) where N is the number of keys"),
    number::INCR,
    number::DECR,
    number::INCRBY,
    number::DECRBY,
    number::INCRBYFLOAT,
    range::APPEND,
    range::STRLEN,
    range::GETRANGE,
    range::SUBSTR,
    range::SETRANGE,
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
    let now_ms = call.now_ms();
    let mut entry = call.engine.data.entry(key);
    if options.gives_old {
        match entry.entry().map(|entry| entry.string().ok_or(WRONG_TYPE)).transpose()? {
            Some(old) => string_reply(call.reply, old),
            None => call.reply.null(),
        }
        if options.condition.holds(entry.exists()) {
            set_or_expire(&mut entry, value, options.expiry, now_ms);
        }
        return Ok(());
    }
    if !options.condition.holds(entry.exists()) {
        call.reply.null();
        return Ok(());
    }
    set_or_expire(&mut entry, value, options.expiry, now_ms);
    call.reply.ok();
    Ok(())
}

/// A deadline that has passed already leaves no key.
fn set_or_expire(entry: &mut EntryHandle<'_>, value: &[u8], expiry: Expiry, now_ms: i64) {
    match expiry {
        Expiry::At(at_ms) if at_ms <= now_ms => {
            entry.delete();
        }
        _ => entry.set_string(value, expiry),
    }
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

fn get_set(call: &mut Call<'_>) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    match string.get() {
        Some(old) => string_reply(call.reply, old),
        None => call.reply.null(),
    }
    string.set(call.args.get(2), Expiry::None);
    Ok(())
}

fn get_del(call: &mut Call<'_>) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    match string.get() {
        Some(old) => string_reply(call.reply, old),
        None => call.reply.null(),
    }
    string.delete();
    Ok(())
}

fn get_ex(call: &mut Call<'_>) -> Result {
    let wanted = match call.args.len() {
        2 => None,
        3 if call.is_word(2, "PERSIST") => Some(None),
        4 => match Deadline::of(call.arg(2)) {
            Some(unit) => Some(Some(unit.deadline_ms(call, call.arg(3))?)),
            None => return Err(SYNTAX),
        },
        _ => return Err(SYNTAX),
    };
    let now_ms = call.now_ms();
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let Some(value) = string.get() else {
        call.reply.null();
        return Ok(());
    };
    string_reply(call.reply, value);
    match wanted {
        None => {}
        Some(None) => {
            string.persist();
        }
        Some(Some(at_ms)) if at_ms <= now_ms => {
            string.delete();
        }
        Some(Some(at_ms)) => string.set_expiry(at_ms),
    }
    Ok(())
}

fn set_nx(call: &mut Call<'_>) -> Result {
    let mut entry = call.engine.data.entry(call.args.get(1));
    let is_new = !entry.exists();
    if is_new {
        entry.set_string(call.args.get(2), Expiry::None);
    }
    call.reply.integer(i64::from(is_new));
    Ok(())
}

fn set_ex(call: &mut Call<'_>) -> Result {
    set_with_deadline(call, Deadline::EX)
}

fn pset_ex(call: &mut Call<'_>) -> Result {
    set_with_deadline(call, Deadline::PX)
}

fn set_with_deadline(call: &mut Call<'_>, unit: Deadline) -> Result {
    let at_ms = unit.deadline_ms(call, call.arg(2))?;
    call.engine.data.entry(call.args.get(1)).set_string(call.args.get(3), Expiry::At(at_ms));
    call.reply.ok();
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Result {
    call.reply.array(call.args.len() - 1);
    for index in 1..call.args.len() {
        // A key of another type reads as absent here.
        match call.engine.data.read_string(call.args.get(index)) {
            Ok(Some(string)) => string_reply(call.reply, string),
            Ok(None) | Err(_) => call.reply.null(),
        }
    }
    Ok(())
}

fn set_pairs(call: &mut Call<'_>) {
    for index in (1..call.args.len()).step_by(2) {
        call.engine.data.entry(call.args.get(index)).set_string(call.args.get(index + 1), Expiry::None);
    }
}

fn mset(call: &mut Call<'_>) -> Result {
    if call.args.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    set_pairs(call);
    call.reply.ok();
    Ok(())
}

fn mset_nx(call: &mut Call<'_>) -> Result {
    if call.args.len().is_multiple_of(2) {
        return Err(wrong_arity("msetnx"));
    }
    for index in (1..call.args.len()).step_by(2) {
        if call.engine.data.entry(call.args.get(index)).exists() {
            call.reply.integer(0);
            return Ok(());
        }
    }
    set_pairs(call);
    call.reply.integer(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn set_takes_its_options_in_any_order_and_refuses_contradictions() {
        check(
            "
            > SET k v NX GET
            (nil)
            > SET k w NX
            (nil)
            > SET k w XX GET
            \"v\"
            > SET k x NX XX
            (error) ERR syntax error
            > SET k x EX 0
            (error) ERR invalid expire time in 'set' command
            > SET k x EX 10 PX 10
            (error) ERR syntax error
            > SET k x EX abc
            (error) ERR value is not an integer or out of range
            > SET k x PX 100
            OK
            > SET k y KEEPTTL
            OK
            > PTTL k
            (integer) 100
            > SET k 1 EXAT 1
            OK
            > GET k
            (nil)
            > HSET h f v
            (integer) 1
            > SET h v GET
            (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > GET h
            (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > SET h v
            OK
            ",
        );
    }

    #[test]
    fn the_older_forms_set_and_get_whole_values() {
        check(
            "
            > GETSET k a
            (nil)
            > GETSET k b
            \"a\"
            > GETEX k PX 50
            \"b\"
            > PTTL k
            (integer) 50
            > GETEX k PERSIST
            \"b\"
            > TTL k
            (integer) -1
            > GETEX k EXAT 1
            \"b\"
            > EXISTS k
            (integer) 0
            > GETEX k FOO
            (error) ERR syntax error
            > SETNX k 1
            (integer) 1
            > SETNX k 2
            (integer) 0
            > GETDEL k
            \"1\"
            > GETDEL k
            (nil)
            > SETEX k 0 v
            (error) ERR invalid expire time in 'setex' command
            > PSETEX k 10 v
            OK
            > MSET a 1 b
            (error) ERR wrong number of arguments for 'mset' command
            > MSET a 1 b 2
            OK
            > MSETNX b 3 c 4
            (integer) 0
            > MSETNX c 4 d 5
            (integer) 1
            > MGET a b c nope
            1) \"1\"
            2) \"2\"
            3) \"4\"
            4) (nil)
            ",
        );
    }
}
