//! Text that arrives in pieces: a secret may come in two of them.

use std::sync::Arc;

use super::Secrets;

/// A stream on its way to whoever keeps or tells it.
#[derive(Clone, Debug)]
pub struct Stream {
    secrets: Arc<Secrets>,
    /// The end of what has come, where it may be the beginning of a secret; no longer than the longest secret.
    pending: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(secrets: Arc<Secrets>) -> Self {
        Stream { secrets, pending: Vec::new() }
    }

    /// Takes a piece in, and hands out what is certain.
    pub fn write(&mut self, bytes: &[u8], mut out: impl FnMut(&[u8])) {
        let masker = self.secrets.masker();
        if masker.is_empty() && self.pending.is_empty() {
            return out(bytes);
        }
        self.pending.extend_from_slice(bytes);
        masker.stream(&mut self.pending, out);
    }

    /// What is held back: all that is left where nothing more comes.
    pub(crate) fn rest(&self) -> Vec<u8> {
        if self.pending.is_empty() { Vec::new() } else { self.secrets.masker().bytes(&self.pending) }
    }

    /// Hands out what is held back.
    pub fn end(&mut self) -> Vec<u8> {
        let rest = self.rest();
        self.pending.clear();
        rest
    }
}
