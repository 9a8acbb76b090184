//! `ramkeep status` and `ramkeep failover`.
//!
//! Lives here: asking a node, and the table for people. Not here: what the nodes say (`crate::status`).
//!
//! Exit codes: 0 with a quorum, 1 without one or where nobody answers.

use super::Outcome;
use super::client::{Client, ClientError, Target};
use crate::banner::size_text;
use crate::status::{ClusterStatus, NodeStatus};
use ramkeep_net::Host;
use serde_json::json;

/// `ramkeep status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusArguments {
    pub target: Target,
    pub json: bool,
}

/// `ramkeep failover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverArguments {
    pub target: Target,
    pub to: Option<String>,
}

/// What a node says of the whole cluster.
pub async fn ask(host: &Host, target: &Target) -> Result<ClusterStatus, ClientError> {
    let text = Client::connect(host, target).await?.call(&["RAMKEEP", "STATUS"]).await?;
    serde_json::from_str(&text.unwrap_or_default())
        .map_err(|error| ClientError::Refused(format!("a status that cannot be read: {error}")))
}

/// The cluster as a node sees it; an error is for standard error, unless JSON is wanted: then it is JSON as well.
pub async fn status(host: &Host, arguments: &StatusArguments) -> Result<Outcome, String> {
    let asked = ask(host, &arguments.target).await.map_err(|error| failed(&arguments.target, &error));
    match asked {
        Ok(status) => {
            let text = match arguments.json {
                true => serde_json::to_string_pretty(&status).expect("text and numbers") + "\n",
                false => table(&status),
            };
            Ok(Outcome { text, exit_code: u8::from(!status.has_quorum) })
        }
        Err(why) if arguments.json => {
            Ok(Outcome { text: format!("{}\n", json!({ "error": why })), exit_code: 1 })
        }
        Err(why) => Err(why),
    }
}

/// Hands the primary's role over; an error is for standard error.
pub async fn failover(host: &Host, arguments: &FailoverArguments) -> Result<Outcome, String> {
    let asked = async {
        let mut client = Client::connect(host, &arguments.target).await?;
        let words: &[&str] = match &arguments.to {
            Some(name) => &["RAMKEEP", "FAILOVER", "TO", name],
            None => &["RAMKEEP", "FAILOVER"],
        };
        client.call(words).await?;
        ask(host, &arguments.target).await
    };
    let status = asked.await.map_err(|error| failed(&arguments.target, &error))?;
    Ok(Outcome { text: table(&status), exit_code: 0 })
}

fn failed(target: &Target, error: &ClientError) -> String {
    format!("{target}: {error}")
}

/// The nodes as a table, with a verdict above it.
pub fn table(status: &ClusterStatus) -> String {
    let own = status.nodes.iter().find(|node| node.node == status.asked);
    let text = match (&status.primary, status.has_quorum) {
        _ if own.is_some_and(|own| own.state == "removed") => {
            format!("node {} was removed or replaced: ask another node\n", status.asked)
        }
        (Some(primary), true) => format!("primary {primary}; a majority of zones follows it\n"),
        (Some(primary), false) => format!("primary {primary}, but no majority follows it\n"),
        (None, _) => "NO QUORUM: nobody serves\n".to_owned(),
    };
    let head = [
        "node",
        "zone",
        "role",
        "state",
        "term",
        "committed",
        "applied",
        "lag",
        "log",
        "snapshot",
        "clients",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.nodes.iter().map(row));
    text + &super::columns(&rows)
}

fn row(node: &NodeStatus) -> Vec<String> {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let mut cells = vec![node.node.clone(), or_dash(&node.zone), node.role.clone()];
    if !node.is_reachable {
        cells.push("unreachable".to_owned());
        cells.extend((0..6).map(|_| "-".to_owned()));
    } else {
        let lease = match (&*node.state, node.has_lease) {
            ("primary", true) => " (lease)",
            ("primary", false) => " (no lease)",
            _ => "",
        };
        let learner = if node.standing == "learner" { " (learner)" } else { "" };
        cells.push(format!("{}{lease}{learner}", node.state));
        cells.push(node.term.to_string());
        cells.push(node.committed_position.to_string());
        cells.push(node.applied_position.to_string());
        cells.push(node.lag_entries.map_or("-".to_owned(), |lag| lag.to_string()));
        cells.push(size_text(node.log_bytes));
        cells.push(if node.snapshot_position == 0 { "-".into() } else { node.snapshot_position.to_string() });
    }
    cells.push(node.client_address.clone());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_who_is_there_and_how_far() {
        let node = |name: &str, state: &str, applied| NodeStatus {
            node: name.into(),
            zone: name.into(),
            role: "engine".into(),
            is_reachable: state != "unreachable",
            state: state.into(),
            has_lease: true,
            term: 3,
            committed_position: 40,
            applied_position: applied,
            lag_entries: Some(40 - applied),
            log_bytes: 64 << 20,
            snapshot_position: 30,
            client_address: "127.0.0.1:7000".into(),
            ..NodeStatus::default()
        };
        let status = ClusterStatus {
            asked: "b".into(),
            has_quorum: true,
            primary: Some("a".into()),
            nodes: vec![node("a", "primary", 40), node("b", "replica", 38), node("c", "unreachable", 0)],
        };
        assert_eq!(
            table(&status),
            "primary a; a majority of zones follows it\n  \
             node  zone  role    state            term  committed  applied  lag  log       snapshot  clients\n  \
             a     a     engine  primary (lease)  3     40         40       0    64.0 MiB  30        127.0.0.1:7000\n  \
             b     b     engine  replica          3     40         38       2    64.0 MiB  30        127.0.0.1:7000\n  \
             c     c     engine  unreachable      -     -          -        -    -         -         127.0.0.1:7000\n"
        );
    }

    #[test]
    fn a_node_that_was_removed_says_so_first() {
        let own = NodeStatus { node: "a".into(), state: "removed".into(), ..NodeStatus::default() };
        let status = ClusterStatus {
            asked: "a".into(),
            has_quorum: false,
            primary: Some("b".into()),
            nodes: vec![own],
        };
        assert!(table(&status).starts_with("node a was removed or replaced"));
    }
}
