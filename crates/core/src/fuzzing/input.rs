//! Takes values off the front of an input. What is not there is zero, so that every input means
//! something.

/// An input that is being read.
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// As many bytes as the next two say, or what is left.
    pub fn chunk(&mut self) -> &'a [u8] {
        let length = usize::from(self.number()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
