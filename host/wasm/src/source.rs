//! The file of a component, read once: what is judged by its digest is what is loaded.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::cache::hex;
use crate::component::LoadError;
use crate::docs;

/// The largest component that is loaded, in bytes.
pub const COMPONENT_BYTES_MAX: u64 = 128 << 20;

/// What a component's file holds. Nothing of it has been looked at.
pub struct Source {
    /// `sha256:` and the hash of its bytes.
    pub digest: String,
    pub(crate) bytes: Vec<u8>,
    /// The text beside it that documents it.
    pub(crate) wit: Option<String>,
    file: PathBuf,
}

impl Source {
    /// Reads a file, and the `.wit` file beside it where there is one.
    ///
    /// # Errors
    /// It cannot be read, is no file, or is longer than [`COMPONENT_BYTES_MAX`].
    pub fn read(file: &Path) -> Result<Self, LoadError> {
        let fail =
            |error: std::io::Error| LoadError { message: format!("`{}` cannot be read: {error}", file.display()) };
        let bytes = read(file, COMPONENT_BYTES_MAX).map_err(fail)?;
        let wit = read(&file.with_extension("wit"), docs::TEXT_BYTES_MAX as u64).ok();
        let wit = wit.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Source { digest: digest(&bytes), bytes, wit, file: file.to_owned() })
    }

    pub(crate) fn unusable(&self, error: &LoadError) -> LoadError {
        LoadError { message: format!("`{}` cannot be used: {}", self.file.display(), error.message) }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("file", &self.file).field("digest", &self.digest).finish_non_exhaustive()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// A file's bytes. What is no file could be endless, or wait for ever.
fn read(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let wrong = |message: String| Err(std::io::Error::other(message));
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return wrong("it is no file".into());
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return wrong(format!("it is longer than the {bytes_max} bytes that are read"));
    }
    Ok(bytes)
}
