//! RAMKEEP: what an operator asks of the cluster through any of its nodes.
//!
//! Lives here: arguments and permission. Not here: the answers, which the node gathers from its peers and gives later.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::node::ClusterRequest;
use crate::{Action, Blocked};

const FLAGS: Flags = super::ADMIN.with(Flags::NO_MULTI);

pub(super) const SUBCOMMANDS: &[Command] = &[
    Command::node("ramkeep|status", exactly(1), status).flags(FLAGS).group("server").doc(
        "7.2.0",
        "",
        "Tells of every node of the cluster, as one JSON value.",
        "O(N) in the nodes",
    ),
    Command::node("ramkeep|failover", at_least(1), failover).flags(FLAGS).group("server").doc(
        "7.2.0",
        "[TO node]",
        "Hands the primary's role to another node.",
        "O(1)",
    ),
    Command::node("ramkeep|cut", exactly(1), cut).flags(FLAGS).group("server").doc(
        "7.2.0",
        "",
        "Cuts this node off from all others, for trying out what happens.",
        "O(N) in the nodes",
    ),
    Command::node("ramkeep|heal", exactly(1), heal).flags(FLAGS).group("server").doc(
        "7.2.0",
        "",
        "Takes a cut back.",
        "O(N) in the nodes",
    ),
    crate::commands::help_of("ramkeep|help").group("server"),
];

fn ask(call: &mut Call<'_>, request: ClusterRequest) -> Result {
    if call.session.is_in_exec {
        // The answer comes later, and a transaction answers at once.
        return Err(ErrorReply::new("ERR Command not allowed inside a transaction"));
    }
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::Cluster { session: call.session.id, request });
    Ok(())
}

fn status(call: &mut Call<'_>) -> Result {
    ask(call, ClusterRequest::Status)
}

fn failover(call: &mut Call<'_>) -> Result {
    let to = match call.args.len() {
        2 => None,
        4 if call.is_word(2, "TO") => Some(String::from_utf8_lossy(call.arg(3)).into_owned()),
        _ => return Err(SYNTAX),
    };
    ask(call, ClusterRequest::Failover { to })
}

fn cut(call: &mut Call<'_>) -> Result {
    may_cut(call)?;
    ask(call, ClusterRequest::Cut)
}

fn heal(call: &mut Call<'_>) -> Result {
    may_cut(call)?;
    ask(call, ClusterRequest::Heal)
}

fn may_cut(call: &Call<'_>) -> Result {
    let is_local = super::config::is_local(&call.session.address);
    if call.engine.config.settings().enable_debug_command.permits(is_local) {
        return Ok(());
    }
    Err(ErrorReply::new("ERR cuts by command need the directive 'enable-debug-command'"))
}
