//! What is kept of what a tool writes? A beginning and a small end, without secrets; the rest is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secret::{Secrets, Stream};
use crate::tell::Captured;

/// The length of the end of what a tool writes, which is kept beside the beginning, in bytes.
const TAIL_BYTES_MAX: usize = 1 << 10;

/// The beginning of what a tool writes; the rest is counted. A small end is kept beside it, because a program's last words
/// say why it died.
#[derive(Debug)]
pub struct Capture {
    bytes_max: usize,
    written: Mutex<Written>,
}

#[derive(Clone, Debug)]
struct Written {
    masked: Stream,
    kept: Vec<u8>,
    dropped: u64,
    /// The end of what was dropped.
    tail: VecDeque<u8>,
}

impl Capture {
    /// Keeps that many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Capture::masked(bytes_max, Arc::default())
    }

    /// Keeps that many bytes, without these secrets: of one that the limit would cut in two, nothing is left.
    pub(crate) fn masked(bytes_max: u64, secrets: Arc<Secrets>) -> Self {
        let masked = Stream::new(secrets);
        let written = Written { masked, kept: Vec::new(), dropped: 0, tail: VecDeque::new() };
        Capture { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), written: Mutex::new(written) }
    }

    /// Takes in what is written.
    pub fn write(&self, bytes: &[u8]) {
        let Written { masked, kept, dropped, tail } = &mut *self.lock();
        masked.write(bytes, |bytes| add(bytes, self.bytes_max, kept, dropped, tail));
    }

    /// What was written so far, as text.
    #[must_use]
    pub fn captured(&self) -> Captured {
        let Written { kept, dropped, .. } = &self.whole();
        // A character that the limit cut in two is no fault of the tool's.
        let is_cut = |rest: &[u8]| std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
        let last = kept.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
        let whole = kept.len() - if *dropped > 0 && is_cut(last) { last.len() } else { 0 };
        let text = kept.get(..whole).unwrap_or_default();
        Captured {
            text: String::from_utf8_lossy(text).into_owned(),
            dropped_bytes: dropped + (kept.len() - whole) as u64,
        }
    }

    /// The last that was written so far, as text of at most 1 KiB, which begins with a whole character.
    #[must_use]
    pub fn tail(&self) -> String {
        let Written { kept, dropped, tail, .. } = &self.whole();
        let from = kept.len().saturating_sub(TAIL_BYTES_MAX - tail.len());
        let mut bytes: Vec<u8> = kept.get(from..).unwrap_or_default().iter().chain(tail).copied().collect();
        if kept.len() as u64 + dropped > bytes.len() as u64 {
            // The rest of a character that was cut in two: at most three bytes.
            let is_rest = |byte: &&u8| **byte & 0xc0 == 0x80;
            let rest = bytes.iter().take(3).take_while(is_rest).count();
            bytes.drain(..rest);
        }
        // What is no text gets longer as text.
        let text = String::from_utf8_lossy(&bytes);
        text.get(text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES_MAX))..).unwrap_or_default().to_owned()
    }

    /// What was written so far, with what is held back as the possible beginning of a secret.
    fn whole(&self) -> Written {
        let mut written = self.lock().clone();
        let rest = written.masked.end();
        add(&rest, self.bytes_max, &mut written.kept, &mut written.dropped, &mut written.tail);
        written
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(bytes: &[u8], bytes_max: usize, kept: &mut Vec<u8>, dropped: &mut u64, tail: &mut VecDeque<u8>) {
    let (keep, drop) = bytes.split_at(bytes.len().min(bytes_max.saturating_sub(kept.len())));
    kept.extend_from_slice(keep);
    *dropped += drop.len() as u64;
    let last = drop.get(drop.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default();
    let excess = (tail.len() + last.len()).saturating_sub(TAIL_BYTES_MAX);
    tail.drain(..excess);
    tail.extend(last);
}
