//! `ramkeep member`: the members of a cluster, and changes of them followed to their end.
//!
//! Lives here: asking a node, the table for people, telling how far a change is. Not here: what the primary does
//! (`crate::members`).
//!
//! Exit codes: 0 when it is done, 1 when it was refused or is not done in time. A change that has begun goes on without
//! this command.

use super::Outcome;
use super::client::{Client, ClientError, Target};
use crate::members::{MemberStatus, MembersStatus, NO_MEMBER};
use ramkeep_net::Host;
use std::time::Duration;

/// `ramkeep member …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberArguments {
    pub target: Target,
    pub action: MemberAction,
    /// A change is followed for so long.
    pub timeout_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAction {
    List {
        json: bool,
    },
    /// The five words of a `member` line.
    Add(Vec<String>),
    Remove(String),
    /// A node, and the five words of the `member` line of the one that takes its place; none: the node itself.
    Replace(String, Vec<String>),
}

/// How long is waited for a change where the operator says nothing.
pub const TIMEOUT_S: u64 = 600;
const STEP: Duration = Duration::from_millis(200);
/// How far a learner is is told after so many steps.
const TOLD_STEPS: u64 = 25;

/// Does what was asked; `told` hears, line by line, how a change gets on.
pub async fn run(host: &Host, arguments: &MemberArguments, told: &mut dyn FnMut(&str)) -> Outcome {
    let outcome = match &arguments.action {
        MemberAction::List { json } => list(host, arguments, *json).await,
        MemberAction::Add(line) => {
            let words = [&["ADD".to_owned()], &line[..]].concat();
            change(host, arguments, &words, &Wanted::In(line[0].clone()), told).await
        }
        MemberAction::Remove(name) => {
            let words = ["REMOVE".to_owned(), name.clone()];
            change(host, arguments, &words, &Wanted::Out(name.clone()), told).await
        }
        MemberAction::Replace(name, line) => {
            let words = [&["REPLACE".to_owned(), name.clone()], &line[..]].concat();
            let newcomer = line.first().unwrap_or(name).clone();
            change(host, arguments, &words, &Wanted::In(newcomer), told).await
        }
    };
    outcome.map_or_else(
        |why| Outcome { text: format!("{}: {why}\n", arguments.target), exit_code: 1 },
        |text| Outcome { text, exit_code: 0 },
    )
}

async fn list(host: &Host, arguments: &MemberArguments, json: bool) -> Result<String, String> {
    let status = ask(host, &arguments.target).await.map_err(|error| error.to_string())?;
    Ok(match json {
        true => serde_json::to_string_pretty(&status).expect("text and numbers") + "\n",
        false => table(&status),
    })
}

async fn ask(host: &Host, target: &Target) -> Result<MembersStatus, ClientError> {
    let text = Client::connect(host, target).await?.call(&["RAMKEEP", "MEMBER", "LIST"]).await?;
    serde_json::from_str(&text.unwrap_or_default())
        .map_err(|error| ClientError::Refused(format!("a list that cannot be read: {error}")))
}

/// What a change is to bring about.
enum Wanted {
    /// The node of this name has its place.
    In(String),
    Out(String),
}

impl Wanted {
    /// None: not yet. Else what is so now.
    fn reached(&self, status: &MembersStatus) -> Option<String> {
        match self {
            Wanted::Out(name) => {
                let is_there = status.members.iter().any(|member| member.node == *name);
                (!is_there && !status.is_changing).then(|| format!("{name} is no member any more\n"))
            }
            Wanted::In(name) => {
                let member = newest(status, name)?;
                match &*member.standing {
                    _ if status.is_changing => None,
                    "voter" => Some(format!("{name} votes for zone {}\n", member.zone)),
                    // Its zone has a voter: it is an extra replica.
                    "learner" if member.is_heard && member.lag == Some(0) => Some(format!(
                        "{name} is a replica in zone {}, which has its voter: it holds the log and does not vote\n",
                        member.zone
                    )),
                    _ => None,
                }
            }
        }
    }

    /// How far it is.
    fn progress(&self, status: &MembersStatus) -> String {
        let (Wanted::In(name) | Wanted::Out(name)) = self;
        let Some(member) = newest(status, name) else { return String::new() };
        match (&*member.standing, member.lag) {
            ("learner", _) if !member.is_heard => {
                format!("{name} is a learner, and does not answer the primary yet")
            }
            ("learner", Some(lag)) => format!("{name} is a learner: {lag} positions of the log to go"),
            ("joining", _) => format!("{name} is given its vote"),
            ("leaving", _) => format!("{name} leaves"),
            _ => format!("{name} is a {}", member.standing),
        }
    }
}

/// Of a node that is there twice, the one that came last.
fn newest<'s>(status: &'s MembersStatus, name: &str) -> Option<&'s MemberStatus> {
    status.members.iter().filter(|member| member.node == *name).max_by_key(|member| member.incarnation)
}

async fn change(
    host: &Host,
    arguments: &MemberArguments,
    words: &[String],
    wanted: &Wanted,
    told: &mut dyn FnMut(&str),
) -> Result<String, String> {
    let command: Vec<&str> =
        ["RAMKEEP", "MEMBER"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let mut client = Client::connect(host, &arguments.target).await.map_err(|error| error.to_string())?;
    client.call(&command).await.map_err(|error| error.to_string())?;
    let mut shown = String::new();
    let mut standing = String::new();
    for step in 0..arguments.timeout_s * 1_000 / STEP.as_millis() as u64 {
        match ask(host, &arguments.target).await {
            Ok(status) => {
                if let Some(text) = wanted.reached(&status) {
                    return Ok(text + "\n" + &table(&status));
                }
                let line = wanted.progress(&status);
                let now = line.split(':').next().unwrap_or_default().to_owned();
                if !line.is_empty() && line != shown && (now != standing || step % TOLD_STEPS == 0) {
                    told(&line);
                    (shown, standing) = (line, now);
                }
            }
            Err(ClientError::Refused(why))
                if why.ends_with(NO_MEMBER) && matches!(wanted, Wanted::Out(_)) =>
            {
                return Ok(format!("{NO_MEMBER}\n"));
            }
            // A primary that changes: the next look tells more.
            Err(_) => {}
        }
        ramkeep_net::sleep(STEP).await;
    }
    Err(format!(
        "not done within {} s. The change goes on without this command; `ramkeep member list` shows how far it is, and \
         `ramkeep member remove` of a learner calls it off",
        arguments.timeout_s
    ))
}

/// The members as a table, with a verdict above it.
pub fn table(status: &MembersStatus) -> String {
    let voters = status.members.iter().filter(|member| member.standing == "voter").count();
    let mut text = match (&status.primary, status.is_changing) {
        (Some(primary), false) => format!("primary {primary}; {voters} voters\n"),
        (Some(primary), true) => format!("primary {primary}; a change of members is under way\n"),
        (None, _) => format!("no primary; as {} knows them:\n", status.asked),
    };
    if !status.is_changing && voters > 1 && voters.is_multiple_of(2) {
        text +=
            &format!("{voters} voters bear no more failures than {}: add one or remove one\n", voters - 1);
    }
    let head = ["node", "zone", "role", "standing", "heard", "lag", "incarnation", "nodes", "clients"];
    let rows = std::iter::once(head.map(str::to_owned).to_vec()).chain(status.members.iter().map(row));
    text + &super::columns(&rows.collect::<Vec<_>>())
}

fn row(member: &MemberStatus) -> Vec<String> {
    let standing = match &member.replaces {
        Some(old) => format!("{} for {old}", member.standing),
        None => member.standing.clone(),
    };
    vec![
        member.node.clone(),
        member.zone.clone(),
        member.role.clone(),
        if member.is_primary { format!("{standing} (primary)") } else { standing },
        if member.is_heard { "yes" } else { "no" }.to_owned(),
        member.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
        member.incarnation.to_string(),
        member.peer_address.clone(),
        member.client_address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, standing: &str) -> MemberStatus {
        MemberStatus {
            node: node.into(),
            zone: format!("z{node}"),
            role: "engine".into(),
            standing: standing.into(),
            incarnation: 1,
            is_heard: true,
            lag: Some(0),
            peer_address: "127.0.0.1:1".into(),
            client_address: "127.0.0.1:2".into(),
            ..MemberStatus::default()
        }
    }

    fn status(members: Vec<MemberStatus>, is_changing: bool) -> MembersStatus {
        MembersStatus { asked: "a".into(), primary: Some("a".into()), is_changing, members }
    }

    #[test]
    fn the_table_tells_who_votes_and_what_is_under_way() {
        let primary = MemberStatus { is_primary: true, ..member("a", "voter") };
        let learner = MemberStatus { replaces: Some("b".into()), incarnation: 2, ..member("b", "learner") };
        let silent = MemberStatus { is_heard: false, lag: None, ..member("b", "voter") };
        assert_eq!(
            table(&status(vec![primary, silent, learner], true)),
            "primary a; a change of members is under way\n  \
             node  zone  role    standing         heard  lag  incarnation  nodes        clients\n  \
             a     za    engine  voter (primary)  yes    0    1            127.0.0.1:1  127.0.0.1:2\n  \
             b     zb    engine  voter            no     -    1            127.0.0.1:1  127.0.0.1:2\n  \
             b     zb    engine  learner for b    yes    0    2            127.0.0.1:1  127.0.0.1:2\n"
        );
        let four = status(["a", "b", "c", "d"].map(|name| member(name, "voter")).to_vec(), false);
        assert!(table(&four).contains("4 voters bear no more failures than 3"));
    }

    #[test]
    fn a_change_is_done_when_the_node_has_its_place_and_nothing_is_under_way() {
        let add = Wanted::In("d".into());
        assert_eq!(add.reached(&status(vec![member("a", "voter")], false)), None);
        let learner = MemberStatus { lag: Some(7), ..member("d", "learner") };
        assert_eq!(add.reached(&status(vec![learner.clone()], true)), None);
        assert_eq!(
            add.progress(&status(vec![learner], true)),
            "d is a learner: 7 positions of the log to go"
        );
        assert_eq!(add.reached(&status(vec![member("d", "voter")], true)), None);
        assert!(add.reached(&status(vec![member("d", "voter")], false)).is_some());
        assert!(
            add.reached(&status(vec![member("d", "learner")], false))
                .is_some_and(|text| text.contains("replica"))
        );
        let remove = Wanted::Out("d".into());
        assert_eq!(remove.reached(&status(vec![member("d", "leaving")], true)), None);
        assert!(remove.reached(&status(vec![member("a", "voter")], false)).is_some());
    }
}
