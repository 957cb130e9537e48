//! A file as a stream. What is begun goes on in the background; a guest that wants the next piece waits for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
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
    _place: OwnedSemaphorePermit,
}

/// What is under way.
type Work<T> = BoxFuture<'static, Result<T, ErrorCode>>;

enum Reading {
    Idle,
    Under(Work<Bytes>),
    There(Bytes),
    Failed(ErrorCode),
    Over,
}

impl Input {
    pub(super) fn new(file: Arc<Opened>, offset: u64) -> Result<Self, ErrorCode> {
        let _place = file.share.desk.stream()?;
        Ok(Input { file, offset, now: Reading::Idle, _place })
    }

    fn begin(&mut self, bytes: usize) {
        let (file, offset) = (self.file.clone(), self.offset);
        let mut reading = self.file.off(async move { file.read(offset, bytes) });
        self.now = set_off(&mut reading).map_or(Reading::Under(reading), Reading::from);
    }

    /// Sees how far it is.
    fn look(&mut self) {
        if let Reading::Under(reading) = &mut self.now
            && let Some(read) = set_off(reading)
        {
            self.now = read.into();
        }
    }
}

impl From<Result<Bytes, ErrorCode>> for Reading {
    fn from(read: Result<Bytes, ErrorCode>) -> Self {
        match read {
            Ok(bytes) if bytes.is_empty() => Reading::Over,
            Ok(bytes) => Reading::There(bytes),
            Err(code) => Reading::Failed(code),
        }
    }
}

/// Has a piece of work begin or go on, and looks whether it is done. On its way it needs nobody who waits for it.
fn set_off<T>(work: &mut Work<T>) -> Option<Result<T, ErrorCode>> {
    match work.poll_unpin(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.look();
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
            self.now = reading.await.into();
        }
    }
}

/// A file that is written to, from some place on or at its end.
pub(super) struct Output {
    file: Arc<Opened>,
    to: To,
    now: Writing,
    _place: OwnedSemaphorePermit,
}

enum Writing {
    Idle,
    /// So many bytes are on their way.
    Under(u64, Work<()>),
    Failed(ErrorCode),
    Over,
}

impl Output {
    pub(super) fn new(file: Arc<Opened>, to: To) -> Result<Self, ErrorCode> {
        let _place = file.share.desk.stream()?;
        Ok(Output { file, to, now: Writing::Idle, _place })
    }

    /// A piece is written, or was not.
    fn written(&mut self, length: u64, written: Result<(), ErrorCode>) {
        if let To::At(offset) = &mut self.to {
            *offset = offset.saturating_add(length);
        }
        self.now = written.map_or_else(Writing::Failed, |()| Writing::Idle);
    }

    /// Whether a piece may be written.
    fn check(&mut self) -> StreamResult<bool> {
        if let Writing::Under(length, writing) = &mut self.now
            && let (length, Some(written)) = (*length, set_off(writing))
        {
            self.written(length, written);
        }
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
        let mut writing = self.file.off(async move { file.write(bytes, to).await });
        match set_off(&mut writing) {
            Some(written) => self.written(length, written),
            None => self.now = Writing::Under(length, writing),
        }
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
            let (length, written) = (*length, writing.await);
            self.written(length, written);
        }
    }
}

fn failed(code: ErrorCode) -> StreamError {
    StreamError::LastOperationFailed(code.into())
}
