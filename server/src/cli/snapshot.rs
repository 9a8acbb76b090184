//! `ramkeep snapshot list` and `ramkeep snapshot verify`: the snapshots of a data directory as they lie there.
//! `ramkeep snapshot create`: a running node makes one.
//!
//! Lives here: reading and telling; nothing is changed, and the node may be running. Asking for one, and waiting.
//! Not here: the files (`crate::snapshot`), making one (BGSAVE).

use super::Outcome;
use super::client::{Client, ClientError, Target};
use crate::holdings::VerifiedSnapshot;
use crate::options::{SnapshotAction, SnapshotArguments};
use crate::snapshot;
use crate::start::IDENTITY_FILE;
use ramkeep_log::Position;
use ramkeep_net::{Disk, Host};
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

/// Runs the subcommand; exit code 1 if a snapshot is damaged, there is none to verify, or the directory is no data directory.
pub async fn run(host: &Host, arguments: &SnapshotArguments) -> Outcome {
    let outcome = match host.disk_read_only(&arguments.directory.to_string_lossy()) {
        Ok(disk) => tell(&disk, arguments).await,
        Err(error) => Err(format!("{}: {error}", arguments.directory.display())),
    };
    outcome.unwrap_or_else(|why| {
        let text = if arguments.json { json!({ "error": why }).to_string() } else { format!("error: {why}") };
        Outcome { text: text + "\n", exit_code: 1 }
    })
}

/// Time between two looks at a snapshot that is being made.
const LOOK: Duration = Duration::from_millis(100);

/// Has a node make a snapshot and waits for its end; exit code 1 if there is none then.
pub async fn create(host: &Host, target: &Target) -> Outcome {
    match try_create(host, target).await {
        Ok(text) => Outcome { text, exit_code: 0 },
        Err(error) => Outcome { text: format!("{target}: {error}\n"), exit_code: 1 },
    }
}

async fn try_create(host: &Host, target: &Target) -> Result<String, ClientError> {
    let mut client = Client::connect(host, target).await?;
    let made_before = facts(&mut client).await?.number("rdb_saves");
    client.call(&["BGSAVE"]).await?;
    loop {
        let facts = facts(&mut client).await?;
        if facts.number("rdb_bgsave_in_progress") == 0 {
            let is_made = facts.number("rdb_saves") > made_before;
            return match is_made {
                true => Ok(format!(
                    "snapshot at position {}: {} keys, {} bytes\n",
                    facts.number("snapshot_position"),
                    facts.number("snapshot_keys"),
                    facts.number("snapshot_bytes")
                )),
                false => {
                    Err(ClientError::Refused("no snapshot was made; the node's messages say why".into()))
                }
            };
        }
        ramkeep_net::sleep(LOOK).await;
    }
}

/// Lines of INFO.
struct Facts(String);

async fn facts(client: &mut Client) -> Result<Facts, ClientError> {
    Ok(Facts(client.call(&["INFO", "persistence", "durability"]).await?.unwrap_or_default()))
}

impl Facts {
    fn number(&self, name: &str) -> u64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

async fn tell(disk: &Rc<dyn Disk>, arguments: &SnapshotArguments) -> Result<Outcome, String> {
    let positions = snapshot::list(disk).await.map_err(|error| error.to_string())?;
    let mut outcome = Outcome { text: String::new(), exit_code: 0 };
    if positions.is_empty() {
        let shown = arguments.directory.display();
        let names = disk.list().await.map_err(|error| error.to_string())?;
        // Snapshots that were copied away have no identity beside them.
        if !names.iter().any(|name| name == IDENTITY_FILE) {
            return Err(format!("{shown} is no data directory: it holds neither an identity nor a snapshot"));
        }
        match arguments.action {
            SnapshotAction::Verify => return Err(format!("no snapshot in {shown}: nothing was verified")),
            SnapshotAction::List if arguments.json => {}
            SnapshotAction::List => outcome.text = format!("no snapshot in {shown}\n"),
        }
    }
    for position in positions {
        let line = match arguments.action {
            SnapshotAction::List => {
                let name = snapshot::name_of(position);
                let file = disk.open(&name).await.map_err(|error| format!("{name}: {error}"))?;
                let bytes = file.len().map_err(|error| format!("{name}: {error}"))?;
                listed(position, bytes, arguments.json)
            }
            SnapshotAction::Verify => {
                let found = snapshot::check(disk, position, &mut |_, _| {}).await;
                outcome.exit_code |= u8::from(found.is_err());
                verified(position, found, arguments.json)
            }
        };
        outcome.text += &line;
        outcome.text.push('\n');
    }
    Ok(outcome)
}

fn listed(position: Position, bytes: u64, as_json: bool) -> String {
    let name = snapshot::name_of(position);
    if as_json {
        return json!({ "file": name, "position": position.0, "bytes": bytes }).to_string();
    }
    format!("{name}  position {}  {bytes} bytes", position.0)
}

fn verified(position: Position, found: Result<VerifiedSnapshot, String>, as_json: bool) -> String {
    let name = snapshot::name_of(position);
    match (found, as_json) {
        (Ok(VerifiedSnapshot { head, foot, bytes }), true) => json!({
            "file": name, "verdict": "good", "position": head.position, "term": head.term, "bytes": bytes,
            "keys": foot.keys, "digest": format!("{:032x}", foot.digest),
        })
        .to_string(),
        (Ok(VerifiedSnapshot { head, foot, bytes }), false) => format!(
            "{name}  good  position {}  term {}  {} keys  {bytes} bytes  digest {:032x}",
            head.position, head.term, foot.keys, foot.digest
        ),
        (Err(why), true) => json!({ "file": name, "verdict": "damaged", "why": why }).to_string(),
        (Err(why), false) => format!("{name}  DAMAGED  {why}"),
    }
}
