//! Several byte strings as one field of an effect.
//!
//! Lives here: writing and reading the run of strings, each with its length in front. Not here: what they mean.
//!
//! Invariant: a [`Strings`] holds whole strings only; bytes from a log are checked when they become one.

use super::{DecodeError, Reader, bytes};

/// A run of byte strings in binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strings<'a>(&'a [u8]);

/// Collects the strings of a run.
#[derive(Debug, Default)]
pub struct StringList(Vec<u8>);

impl StringList {
    pub fn push(&mut self, string: &[u8]) {
        bytes(&mut self.0, string);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_strings(&self) -> Strings<'_> {
        Strings(&self.0)
    }
}

impl<'a> Strings<'a> {
    /// Checks bytes from a log: so many strings, or a multiple of that.
    pub(super) fn read(run: &'a [u8], multiple_of: usize) -> Result<Strings<'a>, DecodeError> {
        let mut reader = Reader::new(run);
        let mut count = 0;
        while !reader.rest.is_empty() {
            reader.bytes()?;
            count += 1;
        }
        match count {
            0 => Err(DecodeError::OutOfRange),
            _ if count % multiple_of != 0 => Err(DecodeError::OutOfRange),
            _ => Ok(Strings(run)),
        }
    }

    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let is_over = reader.rest.is_empty();
            (!is_over).then(|| reader.bytes().expect("a run holds whole strings"))
        })
    }

    /// The strings two by two; of an odd number the last is left out.
    pub fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut strings = self.iter();
        std::iter::from_fn(move || Some((strings.next()?, strings.next()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_back_and_broken_ones_are_refused() {
        let mut list = StringList::default();
        assert!(list.is_empty());
        for string in ["a", "", "ccc", "d"] {
            list.push(string.as_bytes());
        }
        let strings = list.as_strings();
        assert_eq!(Strings::read(strings.as_bytes(), 2), Ok(strings));
        assert_eq!(strings.iter().collect::<Vec<_>>(), [b"a".as_slice(), b"", b"ccc", b"d"]);
        assert_eq!(strings.pairs().collect::<Vec<_>>(), [(b"a".as_slice(), b"".as_slice()), (b"ccc", b"d")]);
        assert_eq!(Strings::read(strings.as_bytes(), 3), Err(DecodeError::OutOfRange));
        assert_eq!(Strings::read(&strings.as_bytes()[..5], 1), Err(DecodeError::Short));
        assert_eq!(Strings::read(b"", 1), Err(DecodeError::OutOfRange));
    }
}
