//! Trials on nodes apart: what one node makes of damage and of a full disk while the run goes on beside.
//!
//! Lives here: the steps of a trial and what counts as right. Not here: which bytes are damaged (`damage`), the
//! small disk (`small_disk`).
//!
//! A lone node cannot repair itself. What is asked is that it notices: it either refuses to start and says why, or what
//! it serves is what the undamaged copy serves, to the last digit of the digest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ramkeep_check::reply::Reply;
use ramkeep_net::{ChaCha8Rng, Conn, Host, sleep, timeout};

use crate::cluster::{Apart, Cluster};
use crate::damage;
use crate::small_disk::SmallDisk;
use ramkeep_drive::ask::{PATIENCE, ask, encode, reply};

/// What a damaged copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// There was nothing to damage yet.
    Nothing,
    /// It does not start, and says why.
    Refused(String),
    /// It serves the same data: the damage hit nothing that counts.
    Unharmed(String),
}

/// Damages a copy of `folder` (of a node that is down when it is copied) and starts a node on it, and one on an intact
/// copy. An error is a finding.
pub struct DamageTrial {
    intact: PathBuf,
    damaged: PathBuf,
    what: Option<String>,
}

impl DamageTrial {
    /// The part for which the node must be down.
    pub fn copy(folder: &Path, scratch: &Path, rng: &mut ChaCha8Rng) -> Result<DamageTrial, String> {
        let (intact, damaged) = (scratch.join("intact"), scratch.join("damaged"));
        let mut copying = || {
            damage::copy(folder, &intact)?;
            damage::copy(folder, &damaged)?;
            damage::damage(&damaged, rng)
        };
        let what = copying().map_err(|error: std::io::Error| format!("no copy of the data: {error}"))?;
        Ok(DamageTrial { intact, damaged, what })
    }

    /// Starts both and compares.
    pub async fn run(self, host: &Host, cluster: &mut Cluster) -> Result<Damaged, String> {
        let Some(what) = self.what.clone() else { return Ok(Damaged::Nothing) };
        let expected = match serve(host, cluster, &self.intact).await? {
            Served::Digest(digest) => digest,
            Served::Refused(text) => return Err(format!("an intact copy of the data is refused: {text}")),
        };
        let outcome = match serve(host, cluster, &self.damaged).await? {
            Served::Refused(text) if text.contains("panicked") => Err(format!("{what}: panicked\n{text}")),
            Served::Refused(_) => Ok(Damaged::Refused(what)),
            Served::Digest(digest) if digest == expected => Ok(Damaged::Unharmed(what)),
            Served::Digest(digest) => Err(format!(
                "{what}: served as if nothing were wrong, digest {digest}, undamaged {expected}; kept in {}",
                self.damaged.display()
            )),
        };
        if outcome.is_ok() {
            for folder in [&self.intact, &self.damaged] {
                damage::remove(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
        }
        outcome
    }
}

enum Served {
    Digest(String),
    Refused(String),
}

async fn serve(host: &Host, cluster: &mut Cluster, folder: &Path) -> Result<Served, String> {
    let mut apart = start(cluster, folder, &["--segment-size-bytes", "16mb"])?;
    if apart.ready().await.is_err() {
        return match apart.process.ended() {
            Some(status) if !status.success() => Ok(Served::Refused(apart.printed())),
            _ => Err(format!("a node on a copy neither serves nor ends\n{}", apart.printed())),
        };
    }
    match ask(host, apart.address, &["DEBUG", "DIGEST"], PATIENCE).await {
        Ok(Reply::Simple(digest)) => Ok(Served::Digest(digest)),
        other => Err(format!("DEBUG DIGEST on a copy: {other:?}")),
    }
}

fn start(cluster: &mut Cluster, folder: &Path, settings: &[&str]) -> Result<Apart, String> {
    cluster.apart(folder, settings).map_err(|error| format!("a node apart: {error}"))
}

/// Small enough to fill in a moment, large enough for a few segments.
const FULL_DISK_BYTES: u64 = 48 << 20;
const MORE_ROOM_BYTES: u64 = 112 << 20;
/// Bytes of each value that fills the disk.
const FILLING_BYTES: usize = 16 << 10;
/// After there is room again, writes must be taken within this.
const ROOM_PATIENCE_STEPS: u32 = 200;

/// Fills the disk of a node. Writes must be refused, reads go on; killed, started again on the full disk and given room,
/// it must have every acknowledged write and take new ones. Gives how many writes were acknowledged, or
/// `None` where no small disk can be had.
pub async fn full_disk(host: &Host, cluster: &mut Cluster, scratch: &Path) -> Result<Option<u64>, String> {
    let folder = scratch.join("full");
    let Some(disk) = SmallDisk::mount(&folder, FULL_DISK_BYTES) else { return Ok(None) };
    let settings = ["--segment-size-bytes", "8mb"];
    let mut node = start(cluster, &folder, &settings)?;
    node.ready().await?;
    let mut acknowledged = 0;
    let refusal = fill(host, &node, &mut acknowledged).await?;
    if !ramkeep_check::call::is_refusal(&refusal) {
        return Err(format!(
            "on a full disk SET answered {refusal}, which does not say that nothing was done"
        ));
    }
    check_filling(host, &node, acknowledged, "on a full disk").await?;
    node.process.kill();
    drop(node);
    let mut node = start(cluster, &folder, &settings)?;
    // To lead, a node writes an entry: without room for it, it may only say that it is loading.
    sleep(Duration::from_millis(500)).await;
    if !disk.grow_by(MORE_ROOM_BYTES) {
        return Err("the small disk does not grow".into());
    }
    node.ready().await.map_err(|why| format!("no start after a full disk: {why}"))?;
    let mut last = String::new();
    for _ in 0..ROOM_PATIENCE_STEPS {
        match ask(host, node.address, &["SET", "room", "again"], PATIENCE).await {
            Ok(Reply::Simple(_)) => {
                check_filling(host, &node, acknowledged, "with room again").await?;
                return Ok(Some(acknowledged));
            }
            other => last = format!("{other:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(format!("there is room again, but SET still answers {last}"))
}

fn filling(number: u64) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(FILLING_BYTES, b'.');
    value
}

/// Writes until something else than OK comes.
async fn fill(host: &Host, node: &Apart, acknowledged: &mut u64) -> Result<String, String> {
    let writing = async {
        let conn = host.connect(node.address).await?;
        let mut inbox = Vec::new();
        loop {
            let (key, value) = (format!("full:{acknowledged}"), filling(*acknowledged));
            match exchange(&conn, &mut inbox, &[b"SET", key.as_bytes(), &value]).await? {
                Reply::Simple(text) if text == "OK" => *acknowledged += 1,
                Reply::Error(text) => return Ok(text),
                other => return Ok(format!("{other:?}")),
            }
        }
    };
    let outcome: Result<std::io::Result<String>, _> = timeout(Duration::from_secs(60), writing).await;
    match outcome {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => {
            Err(format!("on a disk that fills, SET number {acknowledged}: {error}\n{}", node.printed()))
        }
        Err(_) => Err(format!("on a disk that fills, SET number {acknowledged} hangs\n{}", node.printed())),
    }
}

async fn exchange(conn: &Conn, inbox: &mut Vec<u8>, words: &[&[u8]]) -> std::io::Result<Reply> {
    let mut request = Vec::new();
    encode(words, &mut request);
    conn.write_all(&request).await?;
    reply(conn, inbox).await
}

async fn check_filling(host: &Host, node: &Apart, acknowledged: u64, when: &str) -> Result<(), String> {
    let reading = async {
        let conn = host.connect(node.address).await?;
        let mut inbox = Vec::new();
        for number in 0..acknowledged {
            let key = format!("full:{number}");
            let value = exchange(&conn, &mut inbox, &[b"GET", key.as_bytes()]).await?;
            if value != Reply::Bulk(filling(number)) {
                return Err(std::io::Error::other(format!("{key} was acknowledged and is not there")));
            }
        }
        Ok(())
    };
    let outcome: Result<std::io::Result<()>, _> = timeout(Duration::from_secs(60), reading).await;
    let outcome = outcome.map_err(std::io::Error::from).and_then(|inner| inner);
    outcome
        .map_err(|error| format!("{when}, reading back {acknowledged} writes: {error}\n{}", node.printed()))
}
