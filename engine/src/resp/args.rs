//! Arguments of one request: byte strings lying in somebody's buffer.

/// Arguments as offsets into a buffer. Argument 0 is the command's name; there is always one.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buffer: &'a [u8],
    /// Start and length of each argument.
    spans: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    pub fn new(buffer: &'a [u8], spans: &'a [(u32, u32)]) -> Args<'a> {
        Args { buffer, spans }
    }

    /// Number of arguments, the name included.
    #[allow(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The argument at `index`; panics beyond the end, as a slice does.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        let (start, length) = self.spans[index];
        &self.buffer[start as usize..start as usize + length as usize]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let args = *self;
        (0..args.len()).map(move |index| args.get(index))
    }

    /// Bytes of all arguments together, framing included where they arrived framed.
    pub fn bytes(&self) -> usize {
        let (first, last) = (self.spans[0], self.spans[self.spans.len() - 1]);
        (last.0 as usize + last.1 as usize).saturating_sub(first.0 as usize)
    }

    /// A copy in one piece, for MULTI's queue.
    pub fn to_owned(&self) -> OwnedArgs {
        let mut buffer = Vec::with_capacity(self.iter().map(<[u8]>::len).sum());
        let mut spans = Vec::with_capacity(self.len());
        for argument in self.iter() {
            spans.push((buffer.len() as u32, argument.len() as u32));
            buffer.extend_from_slice(argument);
        }
        OwnedArgs { buffer: buffer.into(), spans: spans.into() }
    }
}

/// Arguments with a buffer of their own.
#[derive(Clone, Debug)]
pub struct OwnedArgs {
    buffer: Box<[u8]>,
    spans: Box<[(u32, u32)]>,
}

impl OwnedArgs {
    /// Arguments from a list that is not empty.
    pub fn from_list<A: AsRef<[u8]>>(list: &[A]) -> OwnedArgs {
        assert!(!list.is_empty(), "a request has a name");
        let mut buffer = Vec::new();
        let mut spans = Vec::with_capacity(list.len());
        for argument in list {
            spans.push((buffer.len() as u32, argument.as_ref().len() as u32));
            buffer.extend_from_slice(argument.as_ref());
        }
        OwnedArgs { buffer: buffer.into(), spans: spans.into() }
    }

    pub fn as_args(&self) -> Args<'_> {
        Args { buffer: &self.buffer, spans: &self.spans }
    }
}
