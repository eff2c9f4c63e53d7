//! Where the bytes of an unpacked tar go.

use std::io::{self, Write};

use super::ReadAt;

/// Takes the bytes of an unpacked tar, one after the other, and then gives them back at any place.
///
/// Nothing in a tar can be reached before all in front of it is unpacked. A scratch that keeps its bytes in a file
/// bounds the memory that takes.
pub trait Scratch: Write + Send {
    /// Ends the writing.
    ///
    /// # Errors
    /// Those of what is underneath.
    fn finish(self: Box<Self>) -> io::Result<Box<dyn ReadAt>>;
}

impl Scratch for Vec<u8> {
    fn finish(self: Box<Self>) -> io::Result<Box<dyn ReadAt>> {
        Ok(self)
    }
}
