//! Disks that run full soon.
//!
//! Lives here: file systems in memory of a given size. Not here: what a node makes of them (`trial`, `nemesis`).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of its own, unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
    bytes: Cell<u64>,
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl SmallDisk {
    /// `None` where mounting is not allowed. The folder is made if it is not there.
    #[allow(clippy::disallowed_methods, reason = "files of the machine are what this is about")]
    pub fn mount(folder: &Path, bytes: u64) -> Option<SmallDisk> {
        std::fs::create_dir_all(folder).ok()?;
        let path = folder.display().to_string();
        let is_mounted = succeeds("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", &path]);
        is_mounted.then(|| SmallDisk { folder: folder.to_path_buf(), bytes: Cell::new(bytes) })
    }

    /// Whether it could be done.
    pub fn grow_by(&self, bytes: u64) -> bool {
        self.bytes.set(self.bytes.get() + bytes);
        let size = format!("remount,size={}", self.bytes.get());
        succeeds("mount", &["-o", &size, &self.folder.display().to_string()])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !succeeds("umount", &["-l", &self.folder.display().to_string()]) {
            eprintln!("{} stays mounted", self.folder.display());
        }
    }
}
