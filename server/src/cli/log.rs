//! `ramkeep log inspect` and `ramkeep log verify`: a data directory read as it lies there.
//!
//! Lives here: walking the segments and telling what stands in them. Nothing is changed.
//! Not here: the format (`ramkeep-log`).

use super::Outcome;
use crate::log_driver::{VOTE_FILE, segment_name, segment_number};
use crate::options::{LogAction, LogArguments};
use crate::snapshot;
use crate::start::IDENTITY_FILE;
use ramkeep_log::{
    HardState, Identity, Inspector, Layout, Mutants, Position, Recovery, RecoveryOptions, RecoveryStep,
    SegmentFile, ShardId, Term, Verdict,
};
use ramkeep_net::{Disk, Host};
use serde_json::{Value, json};
use std::rc::Rc;

/// Runs the subcommand; exit code 1 if the log is damaged or cannot be read.
pub async fn run(host: &Host, arguments: &LogArguments) -> Outcome {
    let outcome = match Reader::open(host, &arguments.directory.to_string_lossy()).await {
        Ok(reader) => match arguments.action {
            LogAction::Inspect => reader.inspect(arguments.json).await,
            LogAction::Verify => reader.verify(arguments.json).await,
        },
        Err(why) => Err(why),
    };
    outcome.unwrap_or_else(|why| {
        let text = if arguments.json { json!({ "error": why }).to_string() } else { format!("error: {why}") };
        Outcome { text: text + "\n", exit_code: 1 }
    })
}

struct Reader {
    disk: Rc<dyn Disk>,
    identity: Identity,
    layout: Layout,
    segments: Vec<u64>,
}

impl Reader {
    async fn open(host: &Host, directory: &str) -> Result<Reader, String> {
        let disk = host.disk_read_only(directory).map_err(|error| format!("{directory}: {error}"))?;
        let identity = disk
            .read_file(IDENTITY_FILE)
            .await
            .map_err(|error| format!("{directory}/{IDENTITY_FILE}: {error}"))?;
        let identity = Identity::decode(&identity).map_err(|error| error.to_string())?;
        let names = disk.list().await.map_err(|error| error.to_string())?;
        let segments = names.iter().filter_map(|name| segment_number(name)).collect();
        Ok(Reader { disk, identity, layout: identity.layout(ShardId(0)), segments })
    }

    async fn read(&self, segment: u64) -> Result<Vec<u8>, String> {
        let name = segment_name(segment);
        self.disk.read_file(&name).await.map_err(|error| format!("{name}: {error}"))
    }

    /// Every frame of every segment, in the order of the files.
    async fn inspect(&self, as_json: bool) -> Result<Outcome, String> {
        let mut text = String::new();
        let mut is_bad = false;
        for segment in &self.segments {
            let bytes = self.read(*segment).await?;
            for found in Inspector::new(self.layout, *segment, &bytes) {
                is_bad |= matches!(found.verdict, Verdict::Bad(_));
                text += &describe(*segment, &found, as_json);
                text.push('\n');
            }
        }
        Ok(Outcome { text, exit_code: u8::from(is_bad) })
    }

    /// Position and term of the snapshot that a start would load.
    async fn newest_snapshot(&self) -> Result<(Position, Term), String> {
        for position in snapshot::list(&self.disk).await.map_err(|error| error.to_string())? {
            if let Ok(found) = snapshot::check(&self.disk, position, &mut |_, _| {}).await {
                return Ok((found.position(), found.term()));
            }
        }
        Ok((Position::ZERO, Term(0)))
    }

    /// What a start would make of the directory, without changing it.
    async fn verify(&self, as_json: bool) -> Result<Outcome, String> {
        let vote = self.disk.read_file(VOTE_FILE).await.map_err(|error| format!("{VOTE_FILE}: {error}"))?;
        let hard_state =
            HardState::read(&self.layout, self.identity.member, &vote).map_err(|error| error.to_string())?;
        let mut files = Vec::new();
        for segment in &self.segments {
            let file = self.disk.open(&segment_name(*segment)).await.map_err(|error| error.to_string())?;
            files.push(SegmentFile {
                segment: *segment,
                bytes: file.len().map_err(|error| error.to_string())?,
            });
        }
        let base = self.newest_snapshot().await?;
        let options = RecoveryOptions { layout: self.layout, hard_state, base, mutants: Mutants::default() };
        let mut recovery = Recovery::new(options, &files).map_err(|error| error.to_string())?;
        let mut entries = Vec::new();
        loop {
            match recovery.step(&mut entries).map_err(|error| error.to_string())? {
                RecoveryStep::Finished => break,
                RecoveryStep::Continue => entries.clear(),
                RecoveryStep::Read { segment, offset, bytes } => {
                    let name = segment_name(segment);
                    let file = self.disk.open(&name).await.map_err(|error| format!("{name}: {error}"))?;
                    let read = file
                        .read_at(offset, bytes as usize)
                        .await
                        .map_err(|error| format!("{name}: {error}"))?;
                    recovery.supply(&read);
                }
            }
        }
        let (recovered, report) = recovery.finish().map_err(|error| error.to_string())?;
        let torn = report.torn.map(|reason| reason.to_string());
        let text = if as_json {
            json!({
                "verdict": "good",
                "directory": self.identity.directory.to_string(),
                "segments": report.segments,
                "frames": report.frames,
                "last_position": recovered.last.0,
                "committed_position": recovered.committed.0,
                "term": recovered.term.0,
                "torn_tail": torn,
                "torn_bytes": report.cut_bytes,
                "torn_frames": report.cut_frames,
                "frames_to_write_again": report.rewritten_frames,
            })
            .to_string()
        } else {
            let tail = torn.map_or("none".to_owned(), |reason| {
                format!(
                    "{} bytes, {} whole frames, never acknowledged: {reason}",
                    report.cut_bytes, report.cut_frames
                )
            });
            format!(
                "good: no acknowledged record is damaged\n  directory      {}\n  segments       {}\n  frames         {}\n  last position  {} (term {})\n  torn tail      {tail}",
                self.identity.directory, report.segments, report.frames, recovered.last.0, recovered.term.0,
            )
        };
        Ok(Outcome { text: text + "\n", exit_code: 0 })
    }
}

fn describe(segment: u64, found: &ramkeep_log::Inspected, as_json: bool) -> String {
    let (verdict, frame) = match &found.verdict {
        Verdict::Good(frame) => ("good", Some(frame)),
        Verdict::Unchained(frame) => ("unchained", Some(frame)),
        Verdict::Blank => ("blank", None),
        Verdict::Bad(_) => ("bad", None),
    };
    let reason = if let Verdict::Bad(error) = &found.verdict { Some(error.to_string()) } else { None };
    if as_json {
        let mut row = json!({
            "segment": segment,
            "offset": found.offset,
            "bytes": found.bytes,
            "verdict": verdict,
        });
        if let Some(frame) = frame {
            row["position"] = json!(frame.position.0);
            row["term"] = json!(frame.term.0);
            row["kind"] = json!(format!("{:?}", frame.kind).to_lowercase());
            row["watermark"] = json!(frame.watermark.0);
            row["committed"] = json!(frame.committed.0);
        }
        if let Some(reason) = reason {
            row["reason"] = Value::String(reason);
        }
        return row.to_string();
    }
    let place = format!("{segment:>6} {:>10} {:>9}", found.offset, found.bytes);
    match (frame, reason) {
        (Some(frame), _) => format!(
            "{place}  {verdict:<9} position {} term {} {:?} watermark {} committed {}",
            frame.position.0, frame.term.0, frame.kind, frame.watermark.0, frame.committed.0
        ),
        (None, Some(reason)) => format!("{place}  {verdict:<9} {reason}"),
        (None, None) => format!("{place}  {verdict}"),
    }
}
