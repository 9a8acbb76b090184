//! Damage to the files of a node that is down.
//!
//! Lives here: which file, which bytes, what is done to them; copies of folders. Not here: what the node makes of it
//! (`trial`, `nemesis`).
//!
//! Damage stays within what had been durable for some time: the last write of a log cannot be told from a torn one,
//! and nobody promises that.
#![allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ramkeep_check::random::{below, between, pick, pick_weighted};
use ramkeep_net::ChaCha8Rng;

/// Bytes at the end of the written log that stay whole: more than the frames that no watermark covers yet.
const TAIL_BYTES: usize = 256 << 10;

/// Damages one file of `folder`; says what was done, or `None` where there is nothing to damage yet.
pub fn damage(folder: &Path, rng: &mut ChaCha8Rng) -> io::Result<Option<String>> {
    let segments = segments(folder)?;
    let others = ["vote", "identity", "roster"].map(|name| folder.join(name));
    let others: Vec<PathBuf> = others.into_iter().filter(|path| path.exists()).collect();
    match pick_weighted(rng, &[6, 2, 1, 1, 1]) {
        0 => flip_in_log(&segments, rng),
        1 if !others.is_empty() => {
            let path: &PathBuf = pick(rng, &others);
            flip_in_file(path, rng).map(Some)
        }
        2 => remove_segment(&segments, rng),
        3 if !others.is_empty() => {
            let path: &PathBuf = pick(rng, &others);
            fs::remove_file(path)?;
            Ok(Some(format!("{} removed", name(path))))
        }
        _ => zero_in_log(&segments, rng),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Files of the log that hold something, in their order, with the length up to their last byte that is not zero.
fn segments(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.is_file() && name(path).starts_with("log-"));
    paths.sort();
    let mut segments = Vec::new();
    for path in paths {
        let mut bytes = fs::read(&path)?;
        let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(length);
        segments.push((path, bytes));
    }
    // A spare segment holds its head alone.
    segments.retain(|(_, bytes)| bytes.len() > 4096);
    if let Some((_, last)) = segments.last_mut() {
        last.truncate(last.len().saturating_sub(TAIL_BYTES));
    }
    segments.retain(|(_, bytes)| !bytes.is_empty());
    Ok(segments)
}

/// A place in the log where a byte is not zero.
fn place<'s>(segments: &'s [(PathBuf, Vec<u8>)], rng: &mut ChaCha8Rng) -> Option<(&'s PathBuf, usize)> {
    let (path, bytes) = pick_some(rng, segments)?;
    let start = below(rng, bytes.len() as u64) as usize;
    let at = start + bytes[start..].iter().position(|&byte| byte != 0)?;
    Some((path, at))
}

fn pick_some<'s, T>(rng: &mut ChaCha8Rng, choices: &'s [T]) -> Option<&'s T> {
    (!choices.is_empty()).then(|| pick(rng, choices))
}

fn flip_in_log(segments: &[(PathBuf, Vec<u8>)], rng: &mut ChaCha8Rng) -> io::Result<Option<String>> {
    let Some((path, at)) = place(segments, rng) else { return Ok(None) };
    let bit = 1_u8 << below(rng, 8);
    change(path, at, 1, |byte| byte ^ bit)?;
    Ok(Some(format!("{}: bit {bit:#04x} of byte {at} flipped", name(path))))
}

fn zero_in_log(segments: &[(PathBuf, Vec<u8>)], rng: &mut ChaCha8Rng) -> io::Result<Option<String>> {
    let Some((path, at)) = place(segments, rng) else { return Ok(None) };
    let sector = at / 512 * 512;
    change(path, sector, 512, |_| 0)?;
    Ok(Some(format!("{}: 512 bytes from {sector} zeroed", name(path))))
}

fn flip_in_file(path: &Path, rng: &mut ChaCha8Rng) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let at = between(rng, 0, bytes.len().saturating_sub(1) as u64) as usize;
    let bit = 1_u8 << below(rng, 8);
    change(path, at, 1, |byte| byte ^ bit)?;
    Ok(format!("{}: bit {bit:#04x} of byte {at} flipped", name(path)))
}

/// The last one stays: what was written to it may be the torn tail alone.
fn remove_segment(segments: &[(PathBuf, Vec<u8>)], rng: &mut ChaCha8Rng) -> io::Result<Option<String>> {
    let Some((_, before)) = segments.split_last() else { return Ok(None) };
    let Some((path, _)) = pick_some(rng, before) else { return flip_in_log(segments, rng) };
    fs::remove_file(path)?;
    Ok(Some(format!("{} removed", name(path))))
}

fn change(path: &Path, at: usize, count: usize, new: impl Fn(u8) -> u8) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    let end = bytes.len().min(at + count);
    for byte in bytes.get_mut(at..end).unwrap_or_default() {
        *byte = new(*byte);
    }
    fs::write(path, bytes)
}

/// Copies the files of a folder into a fresh one.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove(to)?;
    copy_into(from, to)
}

/// The same into a folder that may be there, and hold other files.
pub fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy_into(&path, &to.join(name(&path)))?;
        } else {
            fs::copy(&path, to.join(name(&path)))?;
        }
    }
    Ok(())
}

/// Bytes of all files of a folder.
pub fn bytes(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        sum += if path.is_dir() { bytes(&path)? } else { fs::metadata(&path)?.len() };
    }
    Ok(sum)
}

/// Removes what the node has set aside, as an operator would; says how many folders that were.
pub fn remove_set_aside(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && name(&path).starts_with("quarantine-") {
            remove(&path)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Removes a folder, if it is there.
pub fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
