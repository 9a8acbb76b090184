//! Large files without a name, whose space is given back piece by piece.
//!
//! Lives here: [`Retired`]. Not here: removing names.
//!
//! A file system frees a file when its last name and its last descriptor are gone: all at once, in one transaction, with
//! which the log's writes wait. A segment of 64 MiB held up a write for 20 ms here, given back by the mebibyte for 2 to 8. So
//! a file stays open while its name goes, and is cut shorter and shorter after that.
//!
//! Invariant: a file is cut only when the end of its name is durable; until then a crash brings it back whole.

use super::system;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Smaller files are not worth it.
const BYTES_MIN: u64 = 4 << 20;
const PIECE_BYTES: u64 = 1 << 20;
/// Between two pieces: 100 MiB go in a second.
const REST: Duration = Duration::from_millis(10);

/// The files of one directory whose names are removed and not yet durably so.
#[derive(Default, Clone)]
pub struct Retired(Arc<Mutex<Vec<File>>>);

impl Retired {
    /// Opens a file that is about to lose its name; none if it is small.
    pub fn hold(path: &Path) -> Option<File> {
        let file = open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        (bytes >= BYTES_MIN).then_some(file)
    }

    /// Its name is removed.
    pub fn keep(&self, file: File) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }

    /// Those whose names are removed: to be asked by the thread that removes names, when it has synced the directory.
    pub fn take(&self) -> Vec<File> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Takes piece after piece from the end.
#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
pub fn shrink(file: &File) -> io::Result<()> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES);
        system::drop_cached(file, start..end);
        file.set_len(start)?;
        end = start;
        std::thread::sleep(REST);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_given_back_to_its_end_and_a_small_one_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("ramkeep-retired-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("large");
        std::fs::write(&path, vec![1; BYTES_MIN as usize + 5]).unwrap();
        let seen = File::open(&path).unwrap();
        let held = Retired::hold(&path).expect("it is large");
        std::fs::remove_file(&path).unwrap();
        shrink(&held).unwrap();
        assert_eq!(seen.metadata().unwrap().len(), 0);
        std::fs::write(&path, b"small").unwrap();
        assert!(Retired::hold(&path).is_none());
        assert!(Retired::hold(&directory.join("none")).is_none());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
