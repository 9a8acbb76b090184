//! RAMKEEP: what an operator asks of the cluster through any of its nodes.
//!
//! Lives here: arguments and permission. Not here: the answers, which the node gathers from its peers and gives later.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::config::{Member, read_member};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::node::{ClusterRequest, MembersRequest};
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
    Command::node("ramkeep|member", at_least(2), member).flags(FLAGS).group("server").doc(
        "7.2.0",
        "<LIST | ADD name zone role peer-address client-address | REMOVE name | REPLACE name [name zone role peer-address client-address]>",
        "Shows the members of the cluster, or begins a change of them.",
        "O(N) in the nodes",
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

fn member(call: &mut Call<'_>) -> Result {
    let name = |call: &Call<'_>| String::from_utf8_lossy(call.arg(3)).into_owned();
    let request = match call.args.len() {
        3 if call.is_word(2, "LIST") => MembersRequest::List,
        8 if call.is_word(2, "ADD") => MembersRequest::Add(described(call, 3)?),
        4 if call.is_word(2, "REMOVE") => MembersRequest::Remove(name(call)),
        4 if call.is_word(2, "REPLACE") => MembersRequest::Replace { name: name(call), with: None },
        9 if call.is_word(2, "REPLACE") => {
            MembersRequest::Replace { name: name(call), with: Some(described(call, 4)?) }
        }
        _ => return Err(SYNTAX),
    };
    ask(call, ClusterRequest::Members(request))
}

/// The member that five arguments from this one on describe.
fn described(call: &Call<'_>, first: usize) -> Result<Member> {
    let words: Vec<&[u8]> = (first..call.args.len()).map(|index| call.arg(index)).collect();
    read_member(&words).map_err(|why| ErrorReply::owned(format!("ERR {why}")))
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
