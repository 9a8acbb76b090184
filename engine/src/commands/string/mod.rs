//! Strings as a whole: SET, GET, their older forms, and MGET, MSET.
//!
//! Lives here: the group's slice of the table and the commands that read or replace whole values.
//! Not here: bits of strings (`bitmap`), numbers in strings (`number`), parts of strings (`range`), LCS (`lcs`),
//! and how deadlines are written (`expiry`).
//!
//! Invariant: whatever sets a value whole forgets the old deadline, unless KEEPTTL says otherwise.

mod expiry;
mod lcs;
mod number;
mod range;

use super::string_reply;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::data::StringHandle;
use crate::effect::Expiry;
use crate::error::{Result, SYNTAX, wrong_arity};
use crate::value::StringRef;
use expiry::Deadline;
use expiry::{ExpiryOption, WrittenDeadline};
pub(super) use range::clamp;

const ACL: Categories = Categories::STRING;
const KEY: Keys = Keys::at(1);

pub const COMMANDS: &[Command] = &[
    GET,
    SET,
    GETSET,
    GETDEL,
    GETEX,
    SETNX,
    SETEX,
    PSETEX,
    MGET,
    MSET,
    MSETNX,
    range::APPEND,
    range::STRLEN,
    range::GETRANGE,
    range::SUBSTR,
    range::SETRANGE,
    number::INCR,
    number::INCRBY,
    number::DECR,
    number::DECRBY,
    number::INCRBYFLOAT,
    lcs::LCS,
];

const GET: Command = Command::read("get", exactly(1), get)
    .keys(KEY, &["RO", "access"])
    .fast()
    .acl(ACL)
    .group("string")
    .doc("1.0.0", "key", "Returns the string value of a key.", "O(1)");

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

impl Condition {
    fn holds(self, exists: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfAbsent => !exists,
            Condition::IfPresent => exists,
        }
    }
}

/// Options of SET.
struct SetOptions<'a> {
    condition: Condition,
    gives_old: bool,
    expiry: ExpiryOption<'a>,
}

const SET: Command = Command::write("set", at_least(2), set)
    .keys(KEY, &["RW", "access", "update", "variable_flags"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "1.0.0",
        "key value [<NX | XX>] [GET] [<EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL>]",
        "Sets the string value of a key, whatever it was. The key is created if it doesn't exist.",
        "O(1)",
    );

fn set(call: &mut Call<'_>) -> Result {
    let options = set_options(call)?;
    let expiry = options.expiry.of_new_value(call)?;
    let (key, value) = (call.arg(1), call.arg(2));
    if options.gives_old {
        return replace(call, options.condition, expiry);
    }
    let now_ms = call.now_ms();
    let mut entry = call.engine.data.entry(key);
    if !options.condition.holds(entry.exists()) {
        call.reply.null();
        return Ok(());
    }
    if is_over(expiry, now_ms) {
        entry.delete();
    } else {
        entry.set_string(value, expiry);
    }
    call.reply.ok();
    Ok(())
}

/// Sets the value at argument 2 and gives the string that stood there before.
fn replace(call: &mut Call<'_>, condition: Condition, expiry: Expiry) -> Result {
    let now_ms = call.now_ms();
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let exists = string.get().is_some();
    old_value_reply(call.reply, string.get());
    if condition.holds(exists) {
        set_or_end(&mut string, call.args.get(2), expiry, now_ms);
    }
    count_lookup(call, exists);
    Ok(())
}

fn set_or_end(string: &mut StringHandle<'_>, value: &[u8], expiry: Expiry, now_ms: i64) {
    if is_over(expiry, now_ms) {
        string.delete();
    } else {
        string.set(value, expiry);
    }
}

/// Whether a value set with this deadline is past it at once: then only what stood before goes.
fn is_over(expiry: Expiry, now_ms: i64) -> bool {
    matches!(expiry, Expiry::At(at_ms) if at_ms <= now_ms)
}

fn old_value_reply(reply: &mut crate::resp::Reply, old: Option<StringRef<'_>>) {
    match old {
        Some(old) => string_reply(reply, old),
        None => reply.null(),
    }
}

/// Writes that also read count as a hit or a miss.
fn count_lookup(call: &mut Call<'_>, is_found: bool) {
    let stats = &mut call.engine.data.stats;
    if is_found {
        stats.keyspace_hits += 1;
    } else {
        stats.keyspace_misses += 1;
    }
}

fn set_options<'a>(call: &Call<'a>) -> Result<SetOptions<'a>> {
    let mut options =
        SetOptions { condition: Condition::Always, gives_old: false, expiry: ExpiryOption::None };
    let mut index = 3;
    while index < call.args.len() {
        let is = |name: &str| call.is_word(index, name);
        if is("NX") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if is("XX") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if is("GET") {
            options.gives_old = true;
        } else if is("KEEPTTL") && matches!(options.expiry, ExpiryOption::None | ExpiryOption::Keep) {
            options.expiry = ExpiryOption::Keep;
        } else {
            options.expiry = options.expiry.with_deadline(call, &mut index)?;
        }
        index += 1;
    }
    Ok(options)
}

const GETSET: Command = Command::write("getset", exactly(2), getset)
    .keys(KEY, &["RW", "access", "update"])
    .flags(Flags::DENY_OOM)
    .fast()
    .acl(ACL)
    .group("string")
    .doc("1.0.0", "key value", "Sets a key to a new string and returns the one before.", "O(1)");

fn getset(call: &mut Call<'_>) -> Result {
    replace(call, Condition::Always, Expiry::None)
}

const GETDEL: Command = Command::write("getdel", exactly(1), getdel)
    .keys(KEY, &["RW", "access", "delete"])
    .fast()
    .acl(ACL)
    .group("string")
    .doc("6.2.0", "key", "Returns the string value of a key and deletes the key.", "O(1)");

fn getdel(call: &mut Call<'_>) -> Result {
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    old_value_reply(call.reply, string.get());
    let exists = string.delete();
    count_lookup(call, exists);
    Ok(())
}

const GETEX: Command = Command::write("getex", at_least(1), getex)
    .keys(KEY, &["RW", "access", "update"])
    .fast()
    .acl(ACL)
    .group("string")
    .doc(
        "6.2.0",
        "key [<EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST>]",
        "Returns the string value of a key and sets or removes its deadline.",
        "O(1)",
    );

/// What GETEX does with the deadline.
#[derive(Clone, Copy)]
enum DeadlineChange<'a> {
    None,
    Persist,
    Set(WrittenDeadline<'a>),
}

fn getex(call: &mut Call<'_>) -> Result {
    let change = getex_options(call)?;
    let (now_ms, name) = (call.now_ms(), call.name());
    let mut string = call.engine.data.entry(call.args.get(1)).string()?;
    let Some(value) = string.get() else {
        call.reply.null();
        count_lookup(call, false);
        return Ok(());
    };
    // Only where there is a key does it matter what time was given.
    let at_ms = match change {
        DeadlineChange::Set(written) => Some(written.at_ms(now_ms, name)?),
        DeadlineChange::None | DeadlineChange::Persist => None,
    };
    string_reply(call.reply, value);
    match (at_ms, change) {
        (Some(at_ms), _) if at_ms <= now_ms => {
            string.delete();
        }
        (Some(at_ms), _) => string.set_expiry(at_ms),
        (None, DeadlineChange::Persist) => {
            string.persist();
        }
        (None, _) => {}
    }
    count_lookup(call, true);
    Ok(())
}

fn getex_options<'a>(call: &Call<'a>) -> Result<DeadlineChange<'a>> {
    let mut expiry = ExpiryOption::None;
    let mut is_persist = false;
    let mut index = 2;
    while index < call.args.len() {
        if call.is_word(index, "PERSIST") && matches!(expiry, ExpiryOption::None) {
            is_persist = true;
        } else if is_persist {
            return Err(SYNTAX);
        } else {
            expiry = expiry.with_deadline(call, &mut index)?;
        }
        index += 1;
    }
    Ok(match expiry {
        ExpiryOption::Written(written) => DeadlineChange::Set(written),
        _ if is_persist => DeadlineChange::Persist,
        _ => DeadlineChange::None,
    })
}

const SETNX: Command = Command::write("setnx", exactly(2), setnx)
    .keys(KEY, &["OW", "insert"])
    .flags(Flags::DENY_OOM)
    .fast()
    .acl(ACL)
    .group("string")
    .doc("1.0.0", "key value", "Sets the string value of a key that doesn't exist yet.", "O(1)");

fn setnx(call: &mut Call<'_>) -> Result {
    let mut entry = call.engine.data.entry(call.args.get(1));
    let is_new = !entry.exists();
    if is_new {
        entry.set_string(call.args.get(2), Expiry::None);
    }
    call.reply.integer(i64::from(is_new));
    Ok(())
}

const SETEX: Command = Command::write("setex", exactly(3), setex)
    .keys(KEY, &["OW", "update"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "2.0.0",
        "key seconds value",
        "Sets the string value of a key and when it ends, in seconds.",
        "O(1)",
    );

fn setex(call: &mut Call<'_>) -> Result {
    set_expiring(call, Deadline::EX)
}

const PSETEX: Command = Command::write("psetex", exactly(3), psetex)
    .keys(KEY, &["OW", "update"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "2.6.0",
        "key milliseconds value",
        "Sets the string value of a key and when it ends, in milliseconds.",
        "O(1)",
    );

fn psetex(call: &mut Call<'_>) -> Result {
    set_expiring(call, Deadline::PX)
}

fn set_expiring(call: &mut Call<'_>, unit: Deadline) -> Result {
    let at_ms = unit.deadline_ms(call, call.arg(2))?;
    call.engine.data.entry(call.args.get(1)).set_string(call.args.get(3), Expiry::At(at_ms));
    call.reply.ok();
    Ok(())
}

const MGET: Command = Command::read("mget", at_least(1), mget)
    .keys(Keys::range(1, -1, 1), &["RO", "access"])
    .fast()
    .acl(ACL)
    .group("string")
    .doc(
        "1.0.0",
        "key [key ...]",
        "Returns the string values of keys, nil for those that hold none.",
        "O(N) where N is the number of keys.",
    );

fn mget(call: &mut Call<'_>) -> Result {
    call.reply.array(call.args.len() - 1);
    for key in call.args.iter().skip(1) {
        let string = call.engine.data.read(key).and_then(|entry| entry.string());
        old_value_reply(call.reply, string);
    }
    Ok(())
}

const PAIRS: Keys = Keys::range(1, -1, 2);

const MSET: Command = Command::write("mset", at_least(2), mset)
    .keys(PAIRS, &["OW", "update"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "1.0.1",
        "key value [key value ...]",
        "Sets the string values of several keys at once.",
        "O(N) where N is the number of keys.",
    );

fn mset(call: &mut Call<'_>) -> Result {
    check_pairs(call)?;
    set_pairs(call);
    call.reply.ok();
    Ok(())
}

const MSETNX: Command = Command::write("msetnx", at_least(2), msetnx)
    .keys(PAIRS, &["OW", "insert"])
    .flags(Flags::DENY_OOM)
    .acl(ACL)
    .group("string")
    .doc(
        "1.0.1",
        "key value [key value ...]",
        "Sets the string values of several keys at once, if none of them exists.",
        "O(N) where N is the number of keys.",
    );

fn msetnx(call: &mut Call<'_>) -> Result {
    check_pairs(call)?;
    let is_any_there = call.args.iter().skip(1).step_by(2).any(|key| call.engine.data.peek(key).is_some());
    if !is_any_there {
        set_pairs(call);
    }
    call.reply.integer(i64::from(!is_any_there));
    Ok(())
}

fn check_pairs(call: &Call<'_>) -> Result {
    if call.args.len().is_multiple_of(2) { Err(wrong_arity(call.name())) } else { Ok(()) }
}

fn set_pairs(call: &mut Call<'_>) {
    for index in (1..call.args.len()).step_by(2) {
        let (key, value) = (call.args.get(index), call.args.get(index + 1));
        call.engine.data.entry(key).set_string(value, Expiry::None);
    }
}

#[cfg(test)]
mod tests;
