//! Would a text lead up and out where it is taken for a path? Who reads it may read its escapes twice or thrice, and any byte may
//! be written as one. So they are read before it is looked at.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// How often the escapes in a text are read.
const READINGS_MAX: usize = 3;

/// The text with its escapes read.
pub(super) fn plain(text: &str) -> Vec<u8> {
    let mut plain = text.as_bytes().to_vec();
    for _ in 0..READINGS_MAX {
        match Cow::from(percent_decode(&plain)) {
            Cow::Borrowed(_) => break,
            Cow::Owned(read) => plain = read,
        }
    }
    plain
}

/// What stands between the slashes of such a text, to the left or to the right.
pub(super) fn segments(plain: &[u8]) -> impl Iterator<Item = &[u8]> {
    plain.split(|byte| matches!(byte, b'/' | b'\\'))
}
