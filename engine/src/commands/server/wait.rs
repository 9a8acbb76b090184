//! WAIT and WAITAOF: answered by the shard, which knows what is durable where.

use crate::Blocked;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, exactly};
use crate::error::{ErrorReply, NOT_AN_INTEGER, Result};

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
const LOCAL_RANGE: ErrorReply = ErrorReply::new("ERR value is out of range, must be positive");
const LOCAL_MAX: ErrorReply = ErrorReply::new("ERR value is out of range, value must between 0 and 1");

/// When to give up waiting; `None`: never.
fn deadline_ns(call: &Call<'_>, index: usize) -> Result<Option<u64>> {
    let timeout_ms = crate::number::integer::parse(call.arg(index)).ok_or(BAD_TIMEOUT)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| NEGATIVE_TIMEOUT)?;
    let deadline = call.now.monotonic_ns.saturating_add(timeout_ms.saturating_mul(1_000_000));
    Ok((timeout_ms > 0).then_some(deadline))
}

fn wait(call: &mut Call<'_>) -> Result {
    let replicas = call.integer(1)?;
    let deadline_ns = deadline_ns(call, 2)?;
    if replicas < 0 {
        return Err(LOCAL_RANGE);
    }
    if call.session.is_in_exec {
        // A transaction does not wait; this node has no replicas.
        call.reply.integer(0);
        return Ok(());
    }
    call.session.blocked = Some(Blocked::Wait { replicas, deadline_ns });
    Ok(())
}

fn wait_log(call: &mut Call<'_>) -> Result {
    let local = crate::number::integer::parse(call.arg(1)).ok_or(NOT_AN_INTEGER)?;
    if !(0..=1).contains(&local) {
        return Err(LOCAL_MAX);
    }
    let replicas = call.integer(2)?;
    if replicas < 0 {
        return Err(LOCAL_RANGE);
    }
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
