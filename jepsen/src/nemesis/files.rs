//! Faults of a node's files: damaged, lost, without room.
//!
//! Lives here: what is done to the files of a node of the run, and what has to come of it. Not here: which bytes are damaged
//! (`damage`), the small disks themselves (`small_disk`), trials on nodes apart (`trial`).
//!
//! Invariant: one member at a time has lost something, and before anything else is harmed it votes again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ramkeep_check::random::chance;
use ramkeep_check::reply::Reply;
use ramkeep_net::{sleep, timeout};
use serde_json::Value as Json;

use super::{Fault, HEALED_PATIENCE, Nemesis, STEP};
use crate::damage;
use crate::small_disk::SmallDisk;
use crate::trial::{DamageTrial, Damaged};
use ramkeep_drive::ask::{PATIENCE, ask, encode, reply};
use ramkeep_drive::target::Target;

/// Longest wait until a member that lost its data votes again.
const REPLACED_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes beyond its data that a member gets whose disk is to run full: less than a segment of its log.
const ROOM_BYTES: u64 = 4 << 20;
/// What the small disk grows by when there is to be room again.
const MORE_ROOM_BYTES: u64 = 512 << 20;
/// What is written at once to fill it: values under a few keys that nobody judges.
const FILLING_BATCH: usize = 16;
const FILLING_BYTES: usize = 64 << 10;
/// With two spare segments of 16 MiB it is full long before.
const FILLING_BATCHES_MAX: usize = 160;
/// What a node prints when its log cannot grow.
const NO_ROOM_LINE: &str = "the log's next segment cannot be made";

impl Nemesis {
    /// A lone node: its copy is damaged, the node itself goes on.
    pub(super) async fn damage_copy(&mut self) {
        let folder = self.cluster.nodes[0].folder.clone();
        self.blow(Fault::Damage);
        self.kill(0);
        let copied = DamageTrial::copy(&folder, &self.scratch, &mut self.rng);
        let started = self.cluster.start(0);
        let outcome = match (copied, started) {
            (Ok(trial), Ok(())) => trial.run(&self.host, &mut self.cluster).await,
            (Err(why), _) | (_, Err(why)) => Err(why),
        };
        match outcome {
            Ok(Damaged::Nothing) => {}
            Ok(Damaged::Refused(what)) => {
                self.counts.damaged += 1;
                self.counts.refused += 1;
                self.record(Fault::Damage, &[("what", what), ("outcome", "refused".to_string())]);
            }
            Ok(Damaged::Unharmed(what)) => {
                self.counts.damaged += 1;
                self.counts.unharmed += 1;
                self.record(Fault::Damage, &[("what", what), ("outcome", "nothing that counts".to_string())]);
            }
            Err(why) => self.complain(format!("damage: {why}")),
        }
    }

    /// One of three: its files are damaged while it is down. Nobody helps it: it must vote again by itself. Where the damage
    /// counts it has been replaced then, and what it had stands aside.
    pub(super) async fn damage_member(&mut self) {
        let victim = self.replica().await;
        let folder = self.cluster.nodes[victim].folder.clone();
        self.kill(victim);
        let what = match damage::damage(&folder, &mut self.rng) {
            Ok(Some(what)) => what,
            Ok(None) => return,
            Err(error) => return self.complain(format!("damage: {error}")),
        };
        self.counts.damaged += 1;
        self.record(Fault::Damage, &[("what", what.clone())]);
        if let Err(why) = self.vote_again(victim).await {
            return self.complain(format!("{what}: {why}"));
        }
        match damage::remove_set_aside(&folder) {
            Ok(0) => self.counts.unharmed += 1,
            Ok(_) => self.counts.replaced += 1,
            Err(error) => self.complain(format!("{}: {error}", folder.display())),
        }
    }

    /// The primary as often as another.
    async fn any_member(&mut self) -> usize {
        if chance(&mut self.rng, 500) { self.primary().await } else { self.replica().await }
    }

    /// One of three loses its data.
    pub(super) async fn empty_member(&mut self) {
        let victim = self.any_member().await;
        self.record(Fault::EmptyMember, &self.node_detail(victim));
        let was_primary = self.cluster.primary().await == Some(victim);
        let since_ns = self.now_ns();
        self.kill(victim);
        if was_primary {
            self.blow(Fault::EmptyMember);
            self.taken_over(Fault::EmptyMember, since_ns).await;
        }
        self.replace(victim).await;
    }

    /// Starts a member, which is down, with an empty directory, and waits until it votes again.
    async fn replace(&mut self, victim: usize) {
        let folder = self.cluster.nodes[victim].folder.clone();
        let emptied = damage::remove(&folder).and_then(|()| make_folder(&folder));
        if let Err(error) = emptied {
            return self.complain(format!("{}: {error}", folder.display()));
        }
        match self.vote_again(victim).await {
            Ok(()) => self.counts.replaced += 1,
            Err(why) => self.complain(format!("with an empty directory: {why}")),
        }
    }

    /// Starts a member, which is down and has lost something, and waits until it votes.
    async fn vote_again(&mut self, victim: usize) -> Result<(), String> {
        let name = self.cluster.nodes[victim].name.clone();
        let until_ns = self.now_ns() + REPLACED_PATIENCE.as_nanos() as u64;
        let started = self.start_and_wait(victim).await;
        started.map_err(|why| format!("{name} does not take part: {why}"))?;
        while !self.votes(&name).await {
            if self.now_ns() > until_ns {
                return Err(format!(
                    "{name} does not vote again within {REPLACED_PATIENCE:?}\n{}",
                    self.cluster.log_tails()
                ));
            }
            sleep(STEP * 10).await;
        }
        Ok(())
    }

    /// Whether the member is a voter, as the primary sees it.
    async fn votes(&self, name: &str) -> bool {
        let Some(primary) = self.cluster.primary().await else { return false };
        let answer = ask(&self.host, self.cluster.address(primary), &["RAMKEEP", "STATUS"], PATIENCE).await;
        let Ok(Reply::Bulk(text)) = answer else { return false };
        let Ok(status) = serde_json::from_slice::<Json>(&text) else { return false };
        let nodes = status["nodes"].as_array().into_iter().flatten();
        nodes.into_iter().any(|node| node["node"] == name && node["standing"] == "voter")
    }

    /// The disk of one of three runs full.
    pub(super) async fn fill_member(&mut self) {
        let victim = self.any_member().await;
        self.record(Fault::FullMember, &self.node_detail(victim));
        let folder = self.cluster.nodes[victim].folder.clone();
        let kept = self.scratch.join("kept");
        self.kill(victim);
        match onto_small_disk(&folder, &kept) {
            Ok(Some(disk)) => {
                self.live_on_full_disk(victim, &disk).await;
                self.kill(victim);
                if let Err(error) = off_small_disk(disk, &folder, &kept) {
                    self.complain(format!("{}: {error}", folder.display()));
                }
            }
            Ok(None) => *self.counts.skipped.entry(Fault::FullMember.name()).or_default() += 1,
            Err(error) => self.complain(format!("{}: {error}", folder.display())),
        }
    }

    async fn live_on_full_disk(&mut self, victim: usize, disk: &SmallDisk) {
        let name = self.cluster.nodes[victim].name.clone();
        let lived = async {
            self.start_and_wait(victim).await?;
            self.write_until_full(victim).await?;
            if chance(&mut self.rng, 500) {
                self.kill(victim);
                self.start_and_wait(victim).await?;
            }
            let since_ns = self.now_ns();
            self.taken_over(Fault::FullMember, since_ns).await;
            self.millis(0, 2_000).await;
            if !disk.grow_by(MORE_ROOM_BYTES) {
                return Err("its small disk does not grow".to_owned());
            }
            self.counts.full_members += 1;
            self.catch_up(victim).await
        };
        if let Err(why) = lived.await {
            self.complain(format!("{name}, on a disk that runs full: {why}"));
        }
    }

    async fn start_and_wait(&mut self, number: usize) -> Result<(), String> {
        self.cluster.start(number)?;
        self.cluster.ready(number).await
    }

    /// Writes to the cluster, which has to take it, until the member says that its log cannot grow.
    async fn write_until_full(&mut self, victim: usize) -> Result<(), String> {
        let entry: Target = self.cluster.address((victim + 1) % self.nodes()).into();
        let mut request = Vec::new();
        for number in 0..FILLING_BATCH {
            encode(&[b"SET", format!("full:{number}").as_bytes(), &[b'.'; FILLING_BYTES]], &mut request);
        }
        for _ in 0..FILLING_BATCHES_MAX {
            let is_full = |process: &ramkeep_drive::process::Process| process.has_printed(NO_ROOM_LINE);
            if self.cluster.nodes[victim].process.as_ref().is_some_and(is_full) {
                return Ok(());
            }
            let writing = async {
                let conn = entry.connect(&self.host).await?;
                conn.write_all(&request).await?;
                let mut inbox = Vec::new();
                for _ in 0..FILLING_BATCH {
                    reply(&conn, &mut inbox).await?;
                }
                Ok::<(), std::io::Error>(())
            };
            // A primary that gives way ends the connection: what counts is whether writes are taken in the end.
            if !matches!(timeout(PATIENCE, writing).await, Ok(Ok(()))) {
                sleep(STEP * 10).await;
            }
        }
        Err("it does not become full".into())
    }

    /// Waits until the member has on disk what is committed now.
    async fn catch_up(&mut self, victim: usize) -> Result<(), String> {
        let mut wanted = None;
        let until_ns = self.now_ns() + HEALED_PATIENCE.as_nanos() as u64;
        while self.now_ns() < until_ns {
            if wanted.is_none()
                && let Some(primary) = self.cluster.primary().await
            {
                wanted = self.position(primary, "committed_position").await;
            }
            let has = self.position(victim, "durable_position").await;
            if wanted.is_some() && has >= wanted {
                return Ok(());
            }
            sleep(STEP * 10).await;
        }
        Err(format!("there is room again, but for {HEALED_PATIENCE:?} it does not catch up"))
    }

    /// A position of the node's log, as it says itself.
    async fn position(&self, number: usize, name: &str) -> Option<u64> {
        let address = self.cluster.address(number);
        match ask(&self.host, address, &["INFO", "durability"], PATIENCE).await {
            Ok(Reply::Bulk(text)) => String::from_utf8_lossy(&text)
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok()),
            _ => None,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// Puts a small disk in the place of a folder, with the files that were in it; those stay in `kept`. `None`, and all as it
/// was, where no small disk can be had.
#[allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]
fn onto_small_disk(folder: &Path, kept: &PathBuf) -> std::io::Result<Option<SmallDisk>> {
    damage::remove(kept)?;
    let bytes = damage::bytes(folder)? + ROOM_BYTES;
    std::fs::rename(folder, kept)?;
    let Some(disk) = SmallDisk::mount(folder, bytes) else {
        damage::remove(folder)?;
        std::fs::rename(kept, folder)?;
        return Ok(None);
    };
    damage::copy_into(kept, folder)?;
    Ok(Some(disk))
}

/// Takes the small disk away; its files stay.
#[allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]
fn off_small_disk(disk: SmallDisk, folder: &Path, kept: &Path) -> std::io::Result<()> {
    damage::copy(folder, kept)?;
    drop(disk);
    damage::remove(folder)?;
    std::fs::rename(kept, folder)
}
