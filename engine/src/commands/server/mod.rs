//! The node: INFO, CONFIG, COMMAND, DEBUG, flushing and the end. Each larger one has its file.
//!
//! What tells of the node and not of data waits for no commit.

mod cluster;
mod command;
mod command_docs;
mod command_facts;
mod config;
mod debug;
mod info;
mod latency;
mod memory;
mod slowlog;
mod snapshot;
mod wait;

use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::commands::connection::database_number;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::{Action, MemberFacts, ShardRole};

/// Whose behaviour this is: what clients that ask for a version are told.
pub const VALKEY_VERSION: &str = "8.0.1";
/// The version of Redis that clients may count on.
pub const REDIS_VERSION: &str = "7.2.4";

const ADMIN: Flags = Flags::ADMIN.with(Flags::NO_SCRIPT).with(Flags::LOADING).with(Flags::STALE);

pub const COMMANDS: &[Command] = &[
    Command::node("info", at_least(0), info::info)
        .flags(Flags::LOADING.with(Flags::STALE))
        .acl(Categories::DANGEROUS)
        .group("server")
        .doc(
            "1.0.0",
            "[section [section ...]]",
            "Returns information and statistics about the server.",
            "O(1)",
        ),
    Command::read("dbsize", exactly(0), dbsize)
        .flags(Flags::FAST.with(Flags::READS_MANY))
        .acl(Categories::KEYSPACE)
        .group("server")
        .doc("1.0.0", "", "Returns the number of keys in the database.", "O(1)"),
    Command::node("time", exactly(0), time)
        .flags(Flags::LOADING.with(Flags::STALE))
        .fast()
        .group("server")
        .doc("2.6.0", "", "Returns the server time.", "O(1)"),
    Command::write("flushdb", at_least(0), flush_db)
        .acl(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .group("server")
        .doc(
            "1.0.0",
            "[ASYNC | SYNC]",
            "Removes all keys from the current database.",
            "O(1), freed in small steps",
        ),
    Command::write("flushall", at_least(0), flush_all)
        .acl(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .group("server")
        .doc("1.0.0", "[ASYNC | SYNC]", "Removes all keys from all databases.", "O(1), freed in small steps"),
    Command::write("swapdb", exactly(2), swap_db)
        .fast()
        .acl(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .group("server")
        .doc("4.0.0", "index1 index2", "Swaps two databases.", "O(1) and the watched keys"),
    Command::node("shutdown", at_least(0), shutdown)
        .flags(ADMIN.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY))
        .group("server")
        .doc(
            "1.0.0",
            "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
            "Makes everything durable, answers, and stops the server.",
            "O(1)",
        ),
    Command::node("role", exactly(0), role)
        .flags(Flags::NO_SCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::FAST))
        .acl(Categories::ADMIN.with(Categories::DANGEROUS))
        .group("server")
        .doc("2.8.12", "", "Returns the replication role.", "O(1)"),
    Command::node("monitor", exactly(0), monitor).flags(ADMIN).group("server").doc(
        "1.0.0",
        "",
        "Listens for all requests received by the server in real-time.",
        "O(1)",
    ),
    Command::node("config", at_least(1), crate::commands::container)
        .group("server")
        .subcommands(config::SUBCOMMANDS)
        .doc("2.0.0", "", "A container for server configuration commands.", "Depends on subcommand."),
    Command::node("command", at_least(0), command::command)
        .flags(Flags::LOADING.with(Flags::STALE))
        .acl(Categories::CONNECTION)
        .group("server")
        .subcommands(command::SUBCOMMANDS)
        .doc(
            "2.8.13",
            "",
            "Returns detailed information about all commands.",
            "O(N) where N is the number of commands",
        ),
    Command::node("debug", at_least(1), debug::debug)
        .flags(ADMIN.with(Flags::MAY_OUTGROW))
        .group("server")
        .doc("1.0.0", "", "A container for debugging commands.", "Depends on subcommand."),
    Command::node("slowlog", at_least(1), crate::commands::container)
        .group("server")
        .subcommands(slowlog::SUBCOMMANDS)
        .doc("2.2.12", "", "A container for slow log commands.", "Depends on subcommand."),
    Command::node("latency", at_least(1), crate::commands::container)
        .group("server")
        .subcommands(latency::SUBCOMMANDS)
        .doc("2.8.13", "", "A container for latency diagnostics commands.", "Depends on subcommand."),
    Command::node("memory", at_least(1), crate::commands::container)
        .group("server")
        .subcommands(memory::SUBCOMMANDS)
        .doc("4.0.0", "", "A container for memory diagnostics commands.", "Depends on subcommand."),
    snapshot::BGSAVE,
    snapshot::BGREWRITEAOF,
    MODULE,
    snapshot::SAVE,
    snapshot::LASTSAVE,
    Command::node("ramkeep", at_least(1), crate::commands::container)
        .group("server")
        .subcommands(cluster::SUBCOMMANDS)
        .doc("7.2.0", "", "A container for commands about the cluster.", "Depends on subcommand."),
    wait::WAIT,
    wait::WAITAOF,
];

/// Clients ask which modules there are; there are none, and none can be loaded.
const MODULE: Command = Command::node("module", at_least(1), crate::commands::container)
    .group("server")
    .subcommands(&[
        Command::node("module|list", exactly(1), module_list)
            .flags(Flags::ADMIN.with(Flags::NO_SCRIPT))
            .group("server")
            .doc("4.0.0", "", "Returns all loaded modules.", "O(N) where N is the number of loaded modules."),
        crate::commands::help_of("module|help").group("server"),
    ])
    .doc("4.0.0", "", "A container for module commands.", "Depends on subcommand.");

fn module_list(call: &mut Call<'_>) -> Result {
    call.reply.array(0);
    Ok(())
}

fn dbsize(call: &mut Call<'_>) -> Result {
    let keys = call.engine.data.keyspace().len();
    call.reply.integer(keys as i64);
    Ok(())
}

fn time(call: &mut Call<'_>) -> Result {
    call.reply.array(2);
    call.reply.bulk_integer((call.now.wall_us / 1_000_000) as i64);
    call.reply.bulk_integer((call.now.wall_us % 1_000_000) as i64);
    Ok(())
}

/// SYNC and ASYNC: both return at once, the memory is freed in small steps.
fn flush_options(call: &Call<'_>) -> Result {
    match call.args.len() {
        1 => Ok(()),
        2 if call.is_word(1, "SYNC") || call.is_word(1, "ASYNC") => Ok(()),
        _ => Err(SYNTAX),
    }
}

fn flush_db(call: &mut Call<'_>) -> Result {
    flush_options(call)?;
    let database = call.engine.data.database();
    call.engine.data.flush_database(database);
    call.reply.ok();
    Ok(())
}

fn flush_all(call: &mut Call<'_>) -> Result {
    flush_options(call)?;
    call.engine.data.flush_all();
    call.reply.ok();
    Ok(())
}

fn swap_db(call: &mut Call<'_>) -> Result {
    let invalid = |which: &str| ErrorReply::owned(format!("ERR invalid {which} DB index"));
    let number = |index: usize, which: &str| {
        let number = crate::number::integer::parse(call.arg(index));
        let number = number.filter(|number| i32::try_from(*number).is_ok());
        number.ok_or_else(|| invalid(which))
    };
    let (first, second) = (number(1, "first")?, number(2, "second")?);
    let (first, second) = (database_number(first)?, database_number(second)?);
    call.engine.data.expire_watched(first, second);
    call.engine.data.swap_databases(first, second);
    call.reply.ok();
    Ok(())
}

fn shutdown(call: &mut Call<'_>) -> Result {
    let (mut saves, mut is_abort) = (0, false);
    for index in 1..call.args.len() {
        let is = |word: &str| call.is_word(index, word);
        match () {
            () if is("NOSAVE") || is("SAVE") => saves += 1,
            () if is("NOW") || is("FORCE") => {}
            () if is("ABORT") => is_abort = true,
            () => return Err(SYNTAX),
        }
    }
    if saves > 1 || (is_abort && call.args.len() > 2) {
        return Err(SYNTAX);
    }
    if is_abort {
        return Err(ErrorReply::new("ERR No shutdown in progress."));
    }
    call.engine.actions.push(Action::Shutdown);
    Ok(())
}

fn monitor(call: &mut Call<'_>) -> Result {
    if call.session.is_in_exec {
        return Err(ErrorReply::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // Asked for again it answers nothing, as in Redis.
    if !call.session.is_monitor {
        call.session.is_monitor = true;
        call.engine.monitors.add(call.session.id);
        call.reply.ok();
    }
    Ok(())
}

fn role(call: &mut Call<'_>) -> Result {
    let log = &call.engine.log;
    if log.role != ShardRole::Primary {
        let primary = log.members.iter().find(|member| Some(member.id) == log.primary_id);
        call.reply.array(5);
        call.reply.bulk(b"slave");
        call.reply.bulk(primary.map_or(b"", |member| member.address.as_bytes()));
        call.reply.integer(primary.map_or(0, |member| i64::from(member.port)));
        call.reply.bulk(if log.primary_id.is_some() { b"connected" } else { b"connect" });
        call.reply.integer(log.applied_position as i64);
        return Ok(());
    }
    let is_replica = |member: &&MemberFacts| member.is_heard && !member.is_log_only;
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(log.committed_position as i64);
    call.reply.array(log.members.iter().filter(is_replica).count());
    for replica in log.members.iter().filter(is_replica) {
        call.reply.array(3);
        call.reply.bulk(replica.address.as_bytes());
        call.reply.bulk(replica.port.to_string().as_bytes());
        call.reply.bulk(log.replica_offset(replica).to_string().as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn databases_are_flushed_counted_and_swapped() {
        check(
            "
            > SET a 1
            OK
            > SELECT 1
            OK
            > SET b 2
            OK
            > SWAPDB 0 1
            OK
            > GET a
            \"1\"
            > DBSIZE
            (integer) 1
            > SWAPDB x 1
            (error) ERR invalid first DB index
            > SWAPDB 1 99
            (error) ERR DB index is out of range
            > FLUSHDB
            OK
            > DBSIZE
            (integer) 0
            > SELECT 0
            OK
            > DBSIZE
            (integer) 1
            > FLUSHALL LATER
            (error) ERR syntax error
            > FLUSHALL ASYNC
            OK
            > DBSIZE
            (integer) 0
            ",
        );
    }
}
