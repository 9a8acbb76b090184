//! WAIT and WAITAOF: answered by the shard, which knows what is durable where.

use crate::Blocked;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, exactly};
use crate::error::{ErrorReply, Result};
use crate::number::integer;

pub const WAIT: Command = Command::node("wait", exactly(2), wait)
    .flags(Flags::BLOCKING)
    .acl(Categories::CONNECTION)
    .group("generic")
    .doc(
        "3.0.0",
        "numreplicas timeout",
        "Waits until replicas have acknowledged the client's writes, and tells how many did.",
        "O(1)",
    );

pub const WAITAOF: Command = Command::node("waitaof", exactly(3), wait_log)
    .flags(Flags::BLOCKING)
    .acl(Categories::CONNECTION)
    .group("generic")
    .doc(
        "7.2.0",
        "numlocal numreplicas timeout",
        "Waits until the client's writes are durable here and on replicas, and tells where.",
        "O(1)",
    );

const BAD_TIMEOUT: ErrorReply = ErrorReply::new("ERR timeout is not an integer or out of range");
const NEGATIVE_TIMEOUT: ErrorReply = ErrorReply::new("ERR timeout is negative");
const LATE_TIMEOUT: ErrorReply = ErrorReply::new("ERR timeout is out of range");
const NOT_POSITIVE: ErrorReply = ErrorReply::new("ERR value is out of range, must be positive");
const NOT_ZERO_OR_ONE: ErrorReply = ErrorReply::new("ERR value is out of range, value must between 0 and 1");

/// When to give up waiting; `None`: never.
fn deadline_ns(call: &Call<'_>, index: usize) -> Result<Option<u64>> {
    let timeout_ms = integer::parse(call.arg(index)).ok_or(BAD_TIMEOUT)?;
    if timeout_ms < 0 {
        return Err(NEGATIVE_TIMEOUT);
    }
    // Valkey adds the timeout to the wall clock, in milliseconds of 63 bits.
    timeout_ms.checked_add(call.now.wall_ms()).ok_or(LATE_TIMEOUT)?;
    let timeout_ns = timeout_ms.unsigned_abs().saturating_mul(1_000_000);
    Ok((timeout_ms > 0).then_some(call.now.monotonic_ns.saturating_add(timeout_ns)))
}

fn wait(call: &mut Call<'_>) -> Result {
    let replicas = call.integer(1)?;
    let deadline_ns = deadline_ns(call, 2)?;
    if call.session.is_in_exec {
        // A transaction does not wait; this node has no replicas.
        call.reply.integer(0);
        return Ok(());
    }
    call.session.blocked = Some(Blocked::Wait { replicas, deadline_ns });
    Ok(())
}

fn wait_log(call: &mut Call<'_>) -> Result {
    let local = call.integer(1)?;
    if !(0..=1).contains(&local) {
        return Err(NOT_ZERO_OR_ONE);
    }
    let replicas = integer::parse(call.arg(2)).filter(|count| *count >= 0).ok_or(NOT_POSITIVE)?;
    let deadline_ns = deadline_ns(call, 3)?;
    if call.session.is_in_exec {
        call.reply.array(2);
        call.reply.integer(0);
        call.reply.integer(0);
        return Ok(());
    }
    call.session.blocked = Some(Blocked::WaitLog { local, replicas, deadline_ns });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Blocked;
    use crate::testing::{Bench, check};

    #[test]
    fn waiting_leaves_the_answer_to_the_shard() {
        let mut bench = Bench::new();
        assert_eq!(bench.run(0, "WAIT 1 500"), "");
        let deadline_ns = Some(bench.now.monotonic_ns + 500_000_000);
        assert_eq!(bench.session(0).blocked, Some(Blocked::Wait { replicas: 1, deadline_ns }));
        assert_eq!(bench.run(1, "WAITAOF 1 0 0"), "");
        let forever = Blocked::WaitLog { local: 1, replicas: 0, deadline_ns: None };
        assert_eq!(bench.session(1).blocked, Some(forever));
    }

    #[test]
    fn a_transaction_does_not_wait() {
        check(
            "
            > MULTI
            OK
            > WAIT 5 0
            QUEUED
            > WAITAOF 1 5 0
            QUEUED
            > EXEC
            1) (integer) 0
            2) 1) (integer) 0
               2) (integer) 0
            ",
        );
    }

    #[test]
    fn counts_and_timeouts_are_checked() {
        check(
            "
            > WAIT x 0
            (error) ERR value is not an integer or out of range
            > WAIT 0 x
            (error) ERR timeout is not an integer or out of range
            > WAIT 0 -1
            (error) ERR timeout is negative
            > WAIT 0 9223372036854775807
            (error) ERR timeout is out of range
            > WAITAOF 2 0 0
            (error) ERR value is out of range, value must between 0 and 1
            > WAITAOF 0 x 0
            (error) ERR value is out of range, must be positive
            > WAITAOF 0 -1 0
            (error) ERR value is out of range, must be positive
            ",
        );
    }
}
