//! CLIENT PAUSE, UNPAUSE and UNBLOCK: clients that wait, and what ends it.
//!
//! Not here: which calls a pause concerns (`crate::pause`), and the waiting (`ramkeep-shard`).

use super::client::sub;
use crate::Action;
use crate::Blocked;
use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::commands::too_many_arguments;
use crate::error::{ErrorReply, Result};
use crate::number::integer;
use crate::pause::Pause;
use crate::session::SessionId;

pub(super) const PAUSE: Command = sub("client|pause", at_least(2), pause).flags(Flags::ADMIN).doc(
    "3.0.0",
    "timeout [WRITE | ALL]",
    "Suspends commands processing.",
    "O(1)",
);

pub(super) const UNPAUSE: Command = sub("client|unpause", exactly(1), unpause).flags(Flags::ADMIN).doc(
    "6.2.0",
    "",
    "Resumes processing commands from paused clients.",
    "O(N) Where N is the number of paused clients",
);

pub(super) const UNBLOCK: Command = sub("client|unblock", at_least(2), unblock).flags(Flags::ADMIN).doc(
    "5.0.0",
    "client-id [TIMEOUT | ERROR]",
    "Unblocks a client blocked by a blocking command from a different connection.",
    "O(log N) where N is the number of client connections",
);

const NOT_A_MODE: ErrorReply = ErrorReply::new("ERR CLIENT PAUSE mode must be WRITE or ALL");
const TIMEOUT_NOT_INTEGER: ErrorReply = ErrorReply::new("ERR timeout is not an integer or out of range");
const TIMEOUT_NEGATIVE: ErrorReply = ErrorReply::new("ERR timeout is negative");
const TIMEOUT_OUT_OF_RANGE: ErrorReply = ErrorReply::new("ERR timeout is out of range");
const NOT_A_REASON: ErrorReply = ErrorReply::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");

fn pause(call: &mut Call<'_>) -> Result {
    let is_for_all = match call.args.len() {
        3 => true,
        4 if call.is_word(3, "ALL") => true,
        4 if call.is_word(3, "WRITE") => false,
        4 => return Err(NOT_A_MODE),
        _ => return Err(too_many_arguments(call)),
    };
    let timeout_ms = integer::parse(call.arg(2)).ok_or(TIMEOUT_NOT_INTEGER)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| TIMEOUT_NEGATIVE)?;
    // Redis computes the end on the wall clock, in a signed number of milliseconds.
    if timeout_ms > (i64::MAX - call.now.wall_ms()).cast_unsigned() {
        return Err(TIMEOUT_OUT_OF_RANGE);
    }
    let until_ns = call.now.monotonic_ns.saturating_add(timeout_ms.saturating_mul(1_000_000));
    call.engine.begin_pause(Pause { is_for_all, until_ns });
    call.reply.ok();
    Ok(())
}

fn unpause(call: &mut Call<'_>) -> Result {
    call.engine.end_pause();
    call.engine.actions.push(Action::Resume);
    call.reply.ok();
    Ok(())
}

fn unblock(call: &mut Call<'_>) -> Result {
    let with_error = match call.args.len() {
        3 => false,
        4 if call.is_word(3, "TIMEOUT") => false,
        4 if call.is_word(3, "ERROR") => true,
        4 => return Err(NOT_A_REASON),
        _ => return Err(too_many_arguments(call)),
    };
    let id = call.integer(2)?;
    let waiting = u64::try_from(id).ok().map(SessionId).filter(|id| {
        let session = call.engine.sessions.get(*id);
        // Nothing but what waits for others can be cut short: not an outcome on disk, and not a pause.
        session.is_some_and(|session| {
            matches!(session.blocked, Some(Blocked::Wait { .. } | Blocked::WaitLog { .. }))
        })
    });
    if let Some(session) = waiting {
        call.engine.actions.push(Action::Unblock { session, with_error });
    }
    call.reply.integer(i64::from(waiting.is_some()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Action;
    use crate::resp::OwnedArgs;
    use crate::session::SessionId;
    use crate::testing::{Bench, check};

    /// Which of these commands of client 1 would wait now.
    fn paused(bench: &Bench, commands: &[&str]) -> Vec<String> {
        let waits = |line: &&&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let args = OwnedArgs::from_list(&words);
            let command = crate::commands::table().find(words[0].as_bytes());
            bench.engine.pauses(bench.session(1), command, args.as_args())
        };
        commands.iter().filter(waits).map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_pause_of_writes_holds_up_what_changes_data_and_nothing_that_would_be_refused() {
        let mut bench = Bench::new();
        let all = ["GET k", "SET k v", "SET k", "NOSUCH k", "EXEC", "PING", "DEL k"];
        assert!(paused(&bench, &all).is_empty());
        bench.check("1> MULTI\nOK\n1> SET k v\nQUEUED\n> CLIENT PAUSE 1000 WRITE\nOK");
        assert_eq!(paused(&bench, &all), ["SET k v", "EXEC", "DEL k"]);
        bench.check("1> DISCARD\nOK\n1> MULTI\nOK\n1> GET k\nQUEUED");
        assert_eq!(paused(&bench, &all), ["SET k v", "DEL k"]);
        bench.check("> CLIENT PAUSE 10\nOK\n> CLIENT PAUSE 20 WRITE\nOK");
        assert_eq!(paused(&bench, &all), ["GET k", "SET k v", "EXEC", "PING", "DEL k"]);
        bench.advance_ms(999);
        bench.engine.end_pause_in_time(bench.now);
        assert!(bench.engine.is_paused(), "the later end holds");
        bench.advance_ms(1);
        bench.engine.end_pause_in_time(bench.now);
        assert!(paused(&bench, &all).is_empty());
    }

    #[test]
    fn unpausing_tells_the_node() {
        let mut bench = Bench::new();
        bench.check("> CLIENT PAUSE 1000\nOK\n> CLIENT UNPAUSE\nOK");
        assert!(!bench.engine.is_paused());
        assert_eq!(bench.engine.actions, [Action::Resume]);
    }

    #[test]
    fn only_clients_that_wait_are_unblocked() {
        let mut bench = Bench::new();
        bench.check(
            "1> SET k v\nOK\n1> WAIT 1 0\n> CLIENT UNBLOCK 1\n(integer) 0\n> CLIENT UNBLOCK -1\n(integer) 0",
        );
        assert!(bench.engine.actions.is_empty());
        bench.check("> CLIENT UNBLOCK 2 ERROR\n(integer) 1\n> CLIENT UNBLOCK 2 timeout\n(integer) 1");
        let unblock = |with_error| Action::Unblock { session: SessionId(2), with_error };
        assert_eq!(bench.engine.actions, [unblock(true), unblock(false)]);
    }

    #[test]
    fn arguments_are_checked_as_redis_does() {
        check(
            "
            > CLIENT PAUSE x
            (error) ERR timeout is not an integer or out of range
            > CLIENT PAUSE -1
            (error) ERR timeout is negative
            > CLIENT PAUSE 9223372036854775807
            (error) ERR timeout is out of range
            > CLIENT PAUSE x foo
            (error) ERR CLIENT PAUSE mode must be WRITE or ALL
            > CLIENT Pause 1 write x
            (error) ERR unknown subcommand or wrong number of arguments for 'Pause'. Try CLIENT HELP.
            > CLIENT UNBLOCK x
            (error) ERR value is not an integer or out of range
            > CLIENT UNBLOCK 99 foo
            (error) ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR
            ",
        );
    }
}
