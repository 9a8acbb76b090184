//! BGSAVE, SAVE, LASTSAVE and BGREWRITEAOF.
//!
//! Lives here: asking for a snapshot, and when the last was made. Not here: making one (`ramkeep-shard`).

use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::{Action, Blocked, SnapshotAsked};

const IN_PROGRESS: ErrorReply = ErrorReply::new("ERR Background save already in progress");
const NOT_IN_TRANSACTION: ErrorReply = ErrorReply::new("ERR Command not allowed inside a transaction");

const ADMIN: Flags = Flags::ADMIN.with(Flags::NO_SCRIPT).with(Flags::NO_ASYNC_LOADING);

pub const BGSAVE: Command = Command::node("bgsave", at_least(0), bgsave).flags(ADMIN).group("server").doc(
    "1.0.0",
    "[SCHEDULE]",
    "Makes a snapshot in the background.",
    "O(1); the snapshot is O(N)",
);

/// Redis makes its append-only file shorter by it. The log becomes shorter by a snapshot: what it covers is removed.
pub const BGREWRITEAOF: Command =
    Command::node("bgrewriteaof", exactly(0), bgrewriteaof).flags(ADMIN).group("server").doc(
        "1.0.0",
        "",
        "Makes a snapshot in the background and removes the log that it covers.",
        "O(1); the snapshot is O(N)",
    );

pub const SAVE: Command =
    Command::node("save", exactly(0), save).flags(ADMIN.with(Flags::NO_MULTI)).group("server").doc(
        "1.0.0",
        "",
        "Makes a snapshot and answers when it is on disk. Others are served meanwhile.",
        "O(N)",
    );

pub const LASTSAVE: Command = Command::node("lastsave", exactly(0), lastsave)
    .flags(Flags::LOADING.with(Flags::STALE).with(Flags::FAST))
    .acl(Categories::ADMIN.with(Categories::DANGEROUS))
    .group("server")
    .doc("1.0.0", "", "Returns the Unix time of the last snapshot.", "O(1)");

fn bgsave(call: &mut Call<'_>) -> Result {
    let is_scheduled = match call.args.len() {
        1 => false,
        2 if call.is_word(1, "SCHEDULE") => true,
        _ => return Err(SYNTAX),
    };
    if call.engine.snapshots.is_running {
        if !is_scheduled {
            return Err(IN_PROGRESS);
        }
        call.reply.simple("Background saving scheduled");
    } else {
        call.reply.simple("Background saving started");
    }
    call.engine.actions.push(Action::Snapshot { asked: SnapshotAsked::InBackground });
    Ok(())
}

fn bgrewriteaof(call: &mut Call<'_>) -> Result {
    let when = if call.engine.snapshots.is_running { "scheduled" } else { "started" };
    call.reply.simple(&format!("Background append only file rewriting {when}"));
    call.engine.actions.push(Action::Snapshot { asked: SnapshotAsked::InBackground });
    Ok(())
}

fn save(call: &mut Call<'_>) -> Result {
    if call.session.is_in_exec {
        return Err(NOT_IN_TRANSACTION);
    }
    if call.engine.snapshots.is_running {
        return Err(IN_PROGRESS);
    }
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::Snapshot { asked: SnapshotAsked::Save(call.session.id) });
    Ok(())
}

fn lastsave(call: &mut Call<'_>) -> Result {
    let started_at_s = (call.engine.node.started_at.wall_us / 1_000_000).cast_signed();
    call.reply.integer(call.engine.snapshots.last_at_s.unwrap_or(started_at_s));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;
    use crate::{Action, SnapshotAsked};

    #[test]
    fn a_snapshot_is_asked_for_once_unless_it_may_wait() {
        let mut bench = Bench::new();
        bench.check("> BGSAVE\nBackground saving started\n> BGSAVE NOW\n(error) ERR syntax error");
        bench.engine.snapshots.is_running = true;
        bench.check(
            "> BGSAVE\n(error) ERR Background save already in progress\n> SAVE\n(error) ERR Background save already in progress\n> BGSAVE SCHEDULE\nBackground saving scheduled",
        );
        let asked = Action::Snapshot { asked: SnapshotAsked::InBackground };
        let is_asked = |action: &&Action| **action == asked;
        assert!(bench.engine.actions.iter().filter(is_asked).count() <= 2);
    }

    #[test]
    fn lastsave_is_the_start_until_a_snapshot_was_made() {
        let mut bench = Bench::new();
        bench.engine.snapshots.last_at_s = Some(1234);
        bench.check("> LASTSAVE\n(integer) 1234");
    }
}
