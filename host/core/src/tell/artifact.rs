//! Where is the whole of a result that is too long for its reader? In an artifact: kept once, before anything is cut off.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Content, Output};

/// Where whole results are kept.
pub trait Artifacts: Send + Sync {
    /// Keeps a result. Says the name by which it can be had.
    ///
    /// # Errors
    /// It cannot be kept. The reader gets the cut result all the same.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the result kept whole, or not at all.
    fn keep(&self, whole: Whole) -> BoxFuture<'_, Result<String, ArtifactError>>;
}

/// Why a result cannot be kept, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactError(pub String);

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArtifactError {}

/// A result that is to be kept. It is written piece by piece, so that it is not in memory a second time.
#[derive(Clone, Debug)]
pub struct Whole {
    tool: String,
    output: Arc<Output>,
}

impl Whole {
    pub(crate) fn new(tool: &str, output: Arc<Output>) -> Self {
        Whole { tool: tool.to_owned(), output }
    }

    /// The tool that it comes from.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The ending that says what it is: `txt` for a text, which is kept byte for byte, and `json` for all else.
    #[must_use]
    pub fn ending(&self) -> &'static str {
        if matches!(self.body(), Body::Text(_)) { "txt" } else { "json" }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        match self.body() {
            Body::Text(text) => to.write_all(text.as_bytes()),
            Body::Json(value) => Ok(serde_json::to_writer(to, value)?),
            Body::Parts(parts) => Ok(serde_json::to_writer(to, parts)?),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.body() {
            Body::Text(text) => text.len() as u64,
            Body::Json(value) => json_bytes(value, u64::MAX),
            Body::Parts(parts) => json_bytes(parts, u64::MAX),
        }
    }

    fn body(&self) -> Body<'_> {
        match (self.output.content.as_slice(), &self.output.value) {
            ([], Value::String(text)) | ([Content::Text { text }], _) => Body::Text(text),
            ([], value) | ([Content::Json { value }], _) => Body::Json(value),
            (parts, _) => Body::Parts(parts),
        }
    }
}

enum Body<'w> {
    Text(&'w str),
    Json(&'w Value),
    Parts(&'w [Content]),
}

/// The length of a value as JSON, counted no further than a little beyond `enough`.
pub(super) fn json_bytes(value: &(impl serde::Serialize + ?Sized), enough: u64) -> u64 {
    struct Count(u64, u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len() as u64);
            if self.0 > self.1 { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0, enough);
    // What cannot be written is too long, or no JSON; the count says which.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Keeps artifacts in memory, for a host that has no disk. When they are too many, the oldest go first.
#[derive(Debug)]
pub struct InMemory {
    bytes_max: usize,
    kept: Mutex<VecDeque<(String, Arc<[u8]>)>>,
}

impl InMemory {
    /// Keeps so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        InMemory { bytes_max, kept: Mutex::default() }
    }

    /// The artifact of that name, while it is kept.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes.clone())
    }

    fn add(&self, whole: &Whole) -> Result<String, ArtifactError> {
        let mut bytes = Vec::new();
        whole.write(&mut bytes).map_err(|error| ArtifactError(error.to_string()))?;
        if bytes.len() > self.bytes_max {
            return Err(ArtifactError(format!("it has {} bytes; at most {} are kept", bytes.len(), self.bytes_max)));
        }
        let name = artifact_name(whole, blake3::hash(&bytes).as_bytes());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| *other != name);
        kept.push_back((name.clone(), bytes.into()));
        while kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > self.bytes_max {
            kept.pop_front();
        }
        Ok(name)
    }
}

impl Artifacts for InMemory {
    fn keep(&self, whole: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
        async move { self.add(&whole) }.boxed()
    }
}

/// The name of an artifact: the tool, and a hash of what it holds, so that the same result is kept once. It is at most 66
/// characters of `a-z`, `0-9`, `_`, `-` and `.`, and begins with a letter or digit.
#[must_use]
pub fn artifact_name(whole: &Whole, hash: &[u8; 32]) -> String {
    let plain = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    let tool: String = whole.tool.chars().filter(plain).skip_while(|c| *c == '_').take(40).collect();
    let tool = if tool.is_empty() { Cow::Borrowed("result") } else { Cow::Owned(tool) };
    let hash: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("{tool}-{hash}.{}", whole.ending())
}
