//! Deadlines of keys: EXPIRE and its kin, TTL and its kin, PERSIST.
//!
//! Lives here: reading and checking times as clients write them.
//! Not here: the options of SET and GETEX (`string`), deleting what is due (`data`).

use super::examine;
use crate::call::Call;
use crate::error::{ErrorReply, Result, invalid_expire_time};
use crate::keyspace::Entry;

const NX_WITH_OTHERS: ErrorReply =
    ErrorReply::new("ERR NX and XX, GT or LT options at the same time are not compatible");
const GT_WITH_LT: ErrorReply = ErrorReply::new("ERR GT and LT options at the same time are not compatible");

/// When EXPIRE sets the deadline at all.
#[derive(Default)]
struct Conditions {
    without_deadline: bool,
    with_deadline: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn read(call: &Call<'_>) -> Result<Conditions> {
        let mut conditions = Conditions::default();
        for index in 3..call.args.len() {
            let condition = if call.is_word(index, "NX") {
                &mut conditions.without_deadline
            } else if call.is_word(index, "XX") {
                &mut conditions.with_deadline
            } else if call.is_word(index, "GT") {
                &mut conditions.later
            } else if call.is_word(index, "LT") {
                &mut conditions.earlier
            } else {
                return Err(ErrorReply::owned([b"ERR Unsupported option ", call.arg(index)].concat()));
            };
            *condition = true;
        }
        if conditions.without_deadline && (conditions.with_deadline || conditions.later || conditions.earlier)
        {
            return Err(NX_WITH_OTHERS);
        }
        if conditions.later && conditions.earlier {
            return Err(GT_WITH_LT);
        }
        Ok(conditions)
    }

    /// No deadline counts as the latest one.
    fn hold(&self, current_ms: Option<i64>, new_ms: i64) -> bool {
        match current_ms {
            None => !self.with_deadline && !self.later,
            Some(current_ms) => {
                !self.without_deadline
                    && (!self.later || new_ms > current_ms)
                    && (!self.earlier || new_ms < current_ms)
            }
        }
    }
}

pub fn expire(call: &mut Call<'_>) -> Result {
    let start_ms = call.now_ms();
    set_deadline(call, start_ms, 1000)
}

pub fn pexpire(call: &mut Call<'_>) -> Result {
    let start_ms = call.now_ms();
    set_deadline(call, start_ms, 1)
}

pub fn expireat(call: &mut Call<'_>) -> Result {
    set_deadline(call, 0, 1000)
}

pub fn pexpireat(call: &mut Call<'_>) -> Result {
    set_deadline(call, 0, 1)
}

fn set_deadline(call: &mut Call<'_>, start_ms: i64, unit_ms: i64) -> Result {
    let conditions = Conditions::read(call)?;
    let deadline_ms = call.integer(2)?.checked_mul(unit_ms).and_then(|time_ms| time_ms.checked_add(start_ms));
    let deadline_ms = deadline_ms.ok_or_else(|| invalid_expire_time(call.name()))?;
    let now_ms = call.now_ms();
    let mut entry = call.engine.data.entry(call.args.get(1));
    let is_set = entry.exists() && conditions.hold(entry.expiry_ms(), deadline_ms);
    if is_set && deadline_ms <= now_ms {
        entry.delete();
    } else if is_set {
        entry.set_expiry(deadline_ms);
    }
    call.reply.integer(i64::from(is_set));
    Ok(())
}

pub fn ttl(call: &mut Call<'_>) -> Result {
    let now_ms = call.now_ms();
    tell_deadline(call, |deadline_ms| to_seconds((deadline_ms - now_ms).max(0)))
}

pub fn pttl(call: &mut Call<'_>) -> Result {
    let now_ms = call.now_ms();
    tell_deadline(call, |deadline_ms| (deadline_ms - now_ms).max(0))
}

pub fn expiretime(call: &mut Call<'_>) -> Result {
    tell_deadline(call, to_seconds)
}

pub fn pexpiretime(call: &mut Call<'_>) -> Result {
    tell_deadline(call, |deadline_ms| deadline_ms)
}

/// Rounded to the nearest second.
fn to_seconds(milliseconds: i64) -> i64 {
    milliseconds / 1000 + i64::from(milliseconds % 1000 >= 500)
}

/// Answers -2 without the key, -1 without a deadline, else what `tell` makes of it.
fn tell_deadline(call: &mut Call<'_>, tell: impl FnOnce(i64) -> i64) -> Result {
    let told = match examine(call, call.arg(1), Entry::expiry_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline_ms)) => tell(deadline_ms),
    };
    call.reply.integer(told);
    Ok(())
}

pub fn persist(call: &mut Call<'_>) -> Result {
    let is_persisted = call.engine.data.entry(call.args.get(1)).persist();
    call.reply.integer(i64::from(is_persisted));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn deadlines_are_set_told_and_taken_away() {
        check(
            "
            > EXPIRE k 10
            (integer) 0
            > TTL k
            (integer) -2
            > PTTL k
            (integer) -2
            > EXPIRETIME k
            (integer) -2
            > PEXPIRETIME k
            (integer) -2
            > PERSIST k
            (integer) 0
            > SET k v
            OK
            > TTL k
            (integer) -1
            > PEXPIRETIME k
            (integer) -1
            > PERSIST k
            (integer) 0
            > EXPIRE k 10
            (integer) 1
            > PTTL k
            (integer) 10000
            > EXPIRETIME k
            (integer) 1700000010
            > PEXPIRETIME k
            (integer) 1700000010000
            +500ms
            > TTL k
            (integer) 10
            +1ms
            > TTL k
            (integer) 9
            > PERSIST k
            (integer) 1
            > TTL k
            (integer) -1
            > PEXPIRE k 1500
            (integer) 1
            > PTTL k
            (integer) 1500
            > EXPIREAT k 1700000020
            (integer) 1
            > PEXPIRETIME k
            (integer) 1700000020000
            > PEXPIREAT k 1700000020123
            (integer) 1
            > PEXPIRETIME k
            (integer) 1700000020123
            +19622ms
            > EXISTS k
            (integer) 0
            ",
        );
    }

    #[test]
    fn a_deadline_that_has_passed_deletes_the_key() {
        check(
            "
            > SET k v
            OK
            > EXPIRE k 0
            (integer) 1
            > EXISTS k
            (integer) 0
            > SET k v
            OK
            > PEXPIRE k -5
            (integer) 1
            > EXISTS k
            (integer) 0
            > SET k v
            OK
            > EXPIREAT k 1
            (integer) 1
            > EXISTS k
            (integer) 0
            > SET k v
            OK
            > PEXPIREAT k 1700000000000
            (integer) 1
            > EXISTS k
            (integer) 0
            > SET k v EX 10
            OK
            > EXPIRE k -1 GT
            (integer) 0
            > EXPIRE k -1 LT
            (integer) 1
            > EXISTS k
            (integer) 0
            ",
        );
    }

    #[test]
    fn conditions_look_at_the_deadline_there_is() {
        check(
            "
            > SET k v
            OK
            > EXPIRE k 10 xx
            (integer) 0
            > EXPIRE k 10 gt
            (integer) 0
            > EXPIRE k 10 XX LT
            (integer) 0
            > EXPIRE k 10 lt
            (integer) 1
            > EXPIRE k 20 nx
            (integer) 0
            > EXPIRE k 10 GT
            (integer) 0
            > EXPIRE k 10 LT
            (integer) 0
            > EXPIRE k 11 GT XX
            (integer) 1
            > EXPIRE k 9 LT XX
            (integer) 1
            > EXPIRE k 8 XX
            (integer) 1
            > TTL k
            (integer) 8
            > PERSIST k
            (integer) 1
            > EXPIRE k 7 NX
            (integer) 1
            > TTL k
            (integer) 7
            ",
        );
    }

    #[test]
    fn bad_options_and_times_are_refused_in_redis_order() {
        check(
            "
            > SET k v
            OK
            > EXPIRE k 10 FOO
            (error) ERR Unsupported option FOO
            > EXPIRE k x NX FOO XX
            (error) ERR Unsupported option FOO
            > EXPIRE k x NX XX
            (error) ERR NX and XX, GT or LT options at the same time are not compatible
            > EXPIRE k 10 NX GT LT
            (error) ERR NX and XX, GT or LT options at the same time are not compatible
            > EXPIRE k 10 GT LT
            (error) ERR GT and LT options at the same time are not compatible
            > EXPIRE k x
            (error) ERR value is not an integer or out of range
            > EXPIRE none 9223372036854775807
            (error) ERR invalid expire time in 'expire' command
            > EXPIRE k 9223372036854775
            (error) ERR invalid expire time in 'expire' command
            > EXPIRE k -9223372036854775808
            (error) ERR invalid expire time in 'expire' command
            > PEXPIRE k 9223372036854775807
            (error) ERR invalid expire time in 'pexpire' command
            > EXPIREAT k 9223372036854776
            (error) ERR invalid expire time in 'expireat' command
            > PEXPIREAT k 9223372036854775807
            (integer) 1
            > PEXPIRETIME k
            (integer) 9223372036854775807
            > EXPIRETIME k
            (integer) 9223372036854776
            > TTL k
            (integer) 9223370336854776
            > PEXPIREAT k -9223372036854775808
            (integer) 1
            > EXISTS k
            (integer) 0
            > EXPIRE k
            (error) ERR wrong number of arguments for 'expire' command
            ",
        );
    }
}
