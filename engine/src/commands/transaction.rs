//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! A transaction's effects are one atomic group: it runs within one turn, and all or nothing of it
//! reaches the log. Replies of EXEC, its nil included, wait for all that is uncommitted.

use crate::Availability;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::error::{ErrorReply, Result};
use crate::session::Transaction;

const CONTROL: Flags = Flags::NO_SCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY)
    .with(Flags::TRANSACTION_CONTROL);

pub const COMMANDS: &[Command] = &[
    Command::node("multi", exactly(0), multi)
        .flags(CONTROL)
        .flags(Flags::NO_MULTI)
        .acl(Categories::TRANSACTION)
        .group("transactions")
        .doc("1.2.0", "", "Starts a transaction.", "O(1)"),
    Command::node("exec", exactly(0), exec)
        .flags(
            Flags::NO_SCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::SKIP_SLOWLOG)
                .with(Flags::TRANSACTION_CONTROL)
                .with(Flags::MAY_OUTGROW),
        )
        .acl(Categories::TRANSACTION)
        .group("transactions")
        .doc(
            "1.2.0",
            "",
            "Executes all commands in a transaction.",
            "Depends on commands in the transaction",
        ),
    Command::node("discard", exactly(0), discard)
        .flags(CONTROL)
        .acl(Categories::TRANSACTION)
        .group("transactions")
        .doc("2.0.0", "", "Discards a transaction.", "O(N), when N is the number of queued commands"),
    Command::node("watch", at_least(1), watch)
        .keys(Keys::range(1, -1, 1), &["RO"])
        .flags(CONTROL)
        .flags(Flags::NO_MULTI)
        .acl(Categories::TRANSACTION)
        .group("transactions")
        .doc(
            "2.2.0",
            "key [key ...]",
            "Monitors changes to keys to determine the execution of a transaction.",
            "O(1) for every key.",
        ),
    Command::node("unwatch", exactly(0), unwatch)
        .flags(
            Flags::NO_SCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST)
                .with(Flags::ALLOW_BUSY),
        )
        .acl(Categories::TRANSACTION)
        .group("transactions")
        .doc("2.2.0", "", "Forgets about watched keys of a transaction.", "O(1)"),
];

const EXEC_ABORT: ErrorReply = ErrorReply::new("EXECABORT Transaction discarded because of previous errors.");
const EXEC_WITHOUT_MULTI: ErrorReply = ErrorReply::new("ERR EXEC without MULTI");
const DISCARD_WITHOUT_MULTI: ErrorReply = ErrorReply::new("ERR DISCARD without MULTI");

fn multi(call: &mut Call<'_>) -> Result {
    call.session.transaction = Some(Transaction::default());
    call.reply.ok();
    Ok(())
}

fn exec(call: &mut Call<'_>) -> Result {
    let Some(transaction) = call.session.transaction.take() else { return Err(EXEC_WITHOUT_MULTI) };
    call.engine.data.depend_on_all();
    let is_broken = call.engine.data.is_watch_broken(call.session.id);
    call.engine.data.unwatch(call.session.id);
    call.session.watched = 0;
    if transaction.is_aborted {
        return Err(EXEC_ABORT);
    }
    if is_broken {
        call.reply.null_array();
        return Ok(());
    }
    // What was true when a command was queued may not be now: a write must not run half a transaction.
    if let Some(error) = call.engine.refusal_of(call.session, &transaction.queue) {
        return Err(ErrorReply::owned(
            [b"EXECABORT Transaction discarded because of: ", error.as_bytes()].concat(),
        ));
    }
    call.session.is_in_exec = true;
    call.reply.array(transaction.queue.len());
    for (command, args) in &transaction.queue {
        let start = call.reply.len();
        let outcome = call.engine.run(call.session, command, args.as_args(), call.reply, call.now);
        if let Err(error) = outcome {
            call.reply.truncate(start);
            call.engine.stats.count_error(error.code());
            call.reply.error(error.as_bytes());
        }
        // SELECT among the commands moves the rest of them too.
        call.engine.data.select(call.session.database);
    }
    call.session.is_in_exec = false;
    call.engine.tell_monitors(call.session, call.command, call.args, call.now);
    Ok(())
}

fn discard(call: &mut Call<'_>) -> Result {
    if call.session.transaction.take().is_none() {
        return Err(DISCARD_WITHOUT_MULTI);
    }
    call.engine.data.unwatch(call.session.id);
    call.session.watched = 0;
    call.reply.ok();
    Ok(())
}

/// Refused where nothing can be read: what a replica applies to catch up has changed before in truth, and would break
/// a watch that no client's write has broken; not telling the two apart could also miss one that must break.
fn watch(call: &mut Call<'_>) -> Result {
    if let Availability::Unavailable(error) = &call.engine.availability {
        return Err(error.clone());
    }
    for index in 1..call.args.len() {
        if call.engine.data.watch(call.session.id, call.arg(index)) {
            call.session.watched += 1;
        }
    }
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_>) -> Result {
    call.engine.data.unwatch(call.session.id);
    call.session.watched = 0;
    call.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Availability;
    use crate::error::ErrorReply;
    use crate::testing::{Bench, check};

    #[test]
    fn swapping_in_a_key_past_its_deadline_breaks_no_watch() {
        check(
            "
            > SET x foo PX 5
            OK
            > SELECT 1
            OK
            +10ms
            > WATCH x
            OK
            > SWAPDB 0 1
            OK
            > MULTI
            OK
            > PING
            QUEUED
            > EXEC
            1) PONG
            ",
        );
    }

    #[test]
    fn a_watched_key_that_expired_before_a_swap_breaks_the_watch() {
        check(
            "
            > SET x foo PX 5
            OK
            > WATCH x
            OK
            +10ms
            > SWAPDB 0 1
            OK
            > MULTI
            OK
            > PING
            QUEUED
            > EXEC
            (nil)
            ",
        );
    }

    /// Else the log that is being replayed would break the watch, and EXEC would answer nil for no write of anybody.
    #[test]
    fn watch_is_refused_while_the_data_cannot_be_read() {
        let mut bench = Bench::new();
        bench.engine.availability = Availability::Unavailable(ErrorReply::new("LOADING not yet"));
        bench.check("> WATCH k\n(error) LOADING not yet\n> UNWATCH\nOK");
        bench.engine.availability = Availability::Primary;
        bench.check("> WATCH k\nOK\n> MULTI\nOK\n> SET k v\nQUEUED\n> EXEC\n1) OK");
    }
}
