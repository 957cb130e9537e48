//! A file as a stream. What is begun goes on in the background; a guest that wants the next piece waits for it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::file::{CHUNK_BYTES_MAX, Opened, To};

/// What is read ahead where the guest has not said how much it wants, in bytes.
const AHEAD_BYTES: usize = 4 << 10;

/// A file that is read from some place on.
pub(super) struct Input {
    file: Arc<Opened>,
    offset: u64,
    now: Reading,
}

enum Reading {
    Idle,
    Under(JoinHandle<Result<Bytes, ErrorCode>>),
    There(Bytes),
    Failed(ErrorCode),
    Over,
}

impl Input {
    pub(super) fn new(file: Arc<Opened>, offset: u64) -> Self {
        Input { file, offset, now: Reading::Idle }
    }

    fn begin(&mut self, bytes: usize) {
        let (file, offset) = (self.file.clone(), self.offset);
        self.now = Reading::Under(tokio::spawn(async move { file.read(offset, bytes).await }));
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match &mut self.now {
            Reading::Idle if size > 0 => self.begin(size),
            Reading::Idle | Reading::Under(_) => {}
            Reading::There(bytes) => {
                let part = bytes.split_to(size.min(bytes.len()));
                if bytes.is_empty() {
                    self.now = Reading::Idle;
                }
                self.offset = self.offset.saturating_add(part.len() as u64);
                return Ok(part);
            }
            Reading::Failed(code) => {
                let failed = failed(*code);
                self.now = Reading::Over;
                return Err(failed);
            }
            Reading::Over => return Err(StreamError::Closed),
        }
        Ok(Bytes::new())
    }

    /// As much as is wanted, and not as much as is read ahead.
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.now, Reading::Idle) && size > 0 {
            self.begin(size);
        }
        self.ready().await;
        self.read(size)
    }

    async fn cancel(&mut self) {
        if let Reading::Under(reading) = &mut self.now {
            let _ = reading.await;
            self.now = Reading::Over;
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    /// May be dropped half way: what is under way stays so.
    async fn ready(&mut self) {
        if matches!(self.now, Reading::Idle) {
            self.begin(AHEAD_BYTES);
        }
        if let Reading::Under(reading) = &mut self.now {
            self.now = match reading.await {
                Ok(Ok(bytes)) if bytes.is_empty() => Reading::Over,
                Ok(Ok(bytes)) => Reading::There(bytes),
                Ok(Err(code)) => Reading::Failed(code),
                Err(_) => Reading::Failed(ErrorCode::Io),
            };
        }
    }
}

/// A file that is written to, from some place on or at its end.
pub(super) struct Output {
    file: Arc<Opened>,
    to: To,
    now: Writing,
}

enum Writing {
    Idle,
    /// So many bytes are on their way.
    Under(u64, JoinHandle<Result<(), ErrorCode>>),
    Failed(ErrorCode),
    Over,
}

impl Output {
    pub(super) fn new(file: Arc<Opened>, to: To) -> Self {
        Output { file, to, now: Writing::Idle }
    }

    /// Whether a piece may be written.
    fn check(&mut self) -> StreamResult<bool> {
        match self.now {
            Writing::Idle => Ok(true),
            Writing::Under(..) => Ok(false),
            Writing::Failed(code) => {
                self.now = Writing::Over;
                Err(failed(code))
            }
            Writing::Over => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > CHUNK_BYTES_MAX || !self.check()? {
            return Err(StreamError::trap("more was written than `check-write` had allowed"));
        }
        let (file, to, length) = (self.file.clone(), self.to, bytes.len() as u64);
        self.now = Writing::Under(length, tokio::spawn(async move { file.write(bytes, to).await }));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.check()? { CHUNK_BYTES_MAX } else { 0 })
    }

    /// What is written is not taken back because its stream is not needed any more.
    async fn cancel(&mut self) {
        self.ready().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    /// May be dropped half way: what is under way stays so.
    async fn ready(&mut self) {
        if let Writing::Under(length, writing) = &mut self.now {
            let written = writing.await;
            if let To::At(offset) = &mut self.to {
                *offset = offset.saturating_add(*length);
            }
            self.now = match written {
                Ok(Ok(())) => Writing::Idle,
                Ok(Err(code)) => Writing::Failed(code),
                Err(_) => Writing::Failed(ErrorCode::Io),
            };
        }
    }
}

fn failed(code: ErrorCode) -> StreamError {
    StreamError::LastOperationFailed(code.into())
}
