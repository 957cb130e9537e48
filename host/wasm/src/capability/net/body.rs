//! Bodies on their way out and in. Each is bounded, is asked for no faster than the other side takes it, and ends with the
//! attempt that it belongs to.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use wasmtime_wasi_http::{Error, WasiBody};

use super::health::Watch;
use super::inject::Veil;
use super::pool::Lease;
use super::reason;
use crate::aws::Payload;

/// What bodies that are signed may take together, of one attempt: each is in memory, whole, until it is sent.
pub(super) const SIGNED_BYTES_MAX: usize = 16 << 20;

/// What of a body that is in memory is handed out in one go.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// A body that is at most so long is read whole before its request is judged, where the guest has said its length.
pub(super) const AHEAD_BYTES_MAX: u64 = 64 << 10;

/// Whether the attempt still runs. A body that a guest leaves unfinished would look like one that has come to its end.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicBool);

impl Life {
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A body that a guest has made and that is not sent yet; dropping it is the end of it.
pub(super) struct Made(pub(super) Arc<AtomicUsize>);

impl Drop for Made {
    fn drop(&mut self) {
        let less = |made: usize| Some(made.saturating_sub(1));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// How long a body may be, by its grant.
pub(super) struct Bound {
    pub(super) attempt: Attempt,
    /// What it is: a request or an answer.
    pub(super) what: &'static str,
    pub(super) bytes_max: u64,
    /// The key of the grant that says so, and the grant's destination.
    pub(super) key: &'static str,
    pub(super) to: String,
    taken: u64,
}

impl Bound {
    pub(super) fn new(attempt: &Attempt, what: &'static str, bytes_max: u64, key: &'static str, to: String) -> Self {
        Bound { attempt: attempt.clone(), what, bytes_max, key, to, taken: 0 }
    }

    /// Counts so many bytes; `false` where they are too many, which is noted.
    fn take(&mut self, bytes: u64) -> bool {
        self.taken = self.taken.saturating_add(bytes);
        let fits = self.taken <= self.bytes_max;
        if !fits {
            self.attempt.keep_from(self.exceeded());
        }
        fits
    }

    pub(super) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max
    }

    pub(super) fn exceeded(&self) -> CallError {
        let allowed = ByteSize(self.bytes_max).display().iec();
        let message = format!("{} is longer than the {allowed} that its grant allows", self.what);
        CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message)
            .with_help(format!("the operator can raise `{}` in the grant of `{}`", self.key, self.to))
    }
}

/// A request's body, as far as it is there before the request is sent.
pub(super) struct Draft {
    ahead: VecDeque<Frame<Bytes>>,
    bytes: u64,
    /// What comes later; nothing where the body is whole.
    rest: Option<WasiBody>,
    /// The room that it takes up, where all of it is in memory.
    room: Option<OwnedSemaphorePermit>,
    _made: Option<Made>,
}

/// Why a body cannot be had whole.
pub(super) enum Ungathered {
    /// It broke off.
    Broken(Error),
    /// It is longer than its grant allows.
    TooLong,
    /// There is no room for it.
    NoRoom,
}

impl Draft {
    pub(super) fn new(body: WasiBody, made: Option<Made>) -> Self {
        let rest = Some(body).filter(|body| !body.is_end_stream());
        Draft { ahead: VecDeque::new(), bytes: 0, rest, room: None, _made: made }
    }

    /// Takes in all of it, as long as it is at most so long and there is room.
    ///
    /// # Cancel safety
    /// Dropping the future loses the body.
    pub(super) async fn gather(&mut self, bytes_max: u64, room: &Arc<Semaphore>) -> Result<(), Ungathered> {
        // A guest may send it byte by byte, and each piece that is kept takes more than its bytes.
        let (mut whole, mut trailers) = (BytesMut::new(), None);
        let mut taken = self.room.take();
        loop {
            let frame = match (self.ahead.pop_front(), &mut self.rest) {
                (Some(frame), _) => Some(Ok(frame)),
                (None, None) => None,
                (None, Some(rest)) => rest.frame().await,
            };
            let Some(frame) = frame else { break };
            match frame.map_err(Ungathered::Broken)?.into_data() {
                Ok(data) => {
                    let more = room.clone().try_acquire_many_owned(u32::try_from(data.len()).unwrap_or(u32::MAX));
                    if (whole.len() + data.len()) as u64 > bytes_max {
                        return Err(Ungathered::TooLong);
                    }
                    let more = more.map_err(|_| Ungathered::NoRoom)?;
                    match &mut taken {
                        Some(taken) => taken.merge(more),
                        None => taken = Some(more),
                    }
                    whole.extend_from_slice(&data);
                }
                Err(frame) => trailers = Some(frame),
            }
        }
        (self.rest, self.room, self.bytes) = (None, taken, whole.len() as u64);
        let mut whole = whole.freeze();
        while !whole.is_empty() {
            self.ahead.push_back(Frame::data(whole.split_to(whole.len().min(PIECE_BYTES_MAX))));
        }
        self.ahead.extend(trailers);
        Ok(())
    }

    /// What stands for it in a signature: nothing of it, where not all of it is there.
    pub(super) fn payload(&self) -> Payload {
        let parts = self.ahead.iter().filter_map(Frame::data_ref).map(|data| &**data);
        if self.rest.is_none() { Payload::of_parts(parts) } else { Payload::Unsigned }
    }

    /// Takes in what is there; ready when the body has ended, or is too long for this.
    pub(super) fn poll_ahead(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while let Some(rest) = self.rest.as_mut().filter(|_| self.bytes < AHEAD_BYTES_MAX) {
            match Pin::new(rest).poll_frame(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.rest = None,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Some(Ok(frame))) => {
                    self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    // What is empty says nothing, and costs a place in the list.
                    if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                        self.ahead.push_back(frame);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Adds what is there of it to a hash, and says whether that is all.
    pub(super) fn hash(&self, hash: &mut blake3::Hasher) -> bool {
        for data in self.ahead.iter().filter_map(Frame::data_ref) {
            hash.update(data);
        }
        self.rest.is_none() && self.ahead.iter().all(Frame::is_data)
    }

    /// Its size in words, and its hash where it is whole.
    pub(super) fn describe(&self, declared: Option<u64>) -> Option<String> {
        match (&self.rest, declared) {
            (None, _) if self.bytes == 0 => None,
            (None, _) => {
                let mut hash = blake3::Hasher::new();
                self.hash(&mut hash);
                Some(format!("{} bytes, blake3 {}", self.bytes, hash.finalize()))
            }
            (Some(_), Some(bytes)) => Some(format!("{bytes} bytes")),
            (Some(_), None) => Some("a stream of bytes".into()),
        }
    }

    /// How long it is at least.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn send(self, bound: Bound, life: Arc<Life>, upload: Arc<Upload>) -> RequestBody {
        // An empty body is never asked for.
        upload.finished.store(self.rest.is_none() && self.ahead.is_empty(), Ordering::Release);
        RequestBody { draft: self, bound, life, upload }
    }
}

/// How far a body is on its way out.
#[derive(Debug, Default)]
pub(super) struct Upload {
    finished: AtomicBool,
    broken: AtomicBool,
    waits_for_guest: AtomicBool,
    moved: Mutex<Option<Instant>>,
}

impl Upload {
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Whether it ends before its end, which is never the other side's doing.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Since when it is the other side's turn, if that has begun to take the body; now, while it is the guest's.
    pub(super) fn taken_until(&self) -> Option<Instant> {
        match self.waits_for_guest.load(Ordering::Acquire) {
            true => Some(Instant::now()),
            false => *self.moved.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn polled(&self, is_ready: bool, is_finished: bool) {
        self.waits_for_guest.store(!is_ready, Ordering::Release);
        self.finished.store(is_finished, Ordering::Release);
        if is_ready {
            *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// A request's body on its way out.
pub(super) struct RequestBody {
    draft: Draft,
    bound: Bound,
    life: Arc<Life>,
    upload: Arc<Upload>,
}

impl RequestBody {
    fn next(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let frame = match (self.draft.ahead.pop_front(), &mut self.draft.rest) {
                (Some(frame), _) => frame,
                (None, None) => return Poll::Ready(None),
                (None, Some(rest)) => match Pin::new(rest).poll_frame(task) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(frame))) => frame,
                    Poll::Ready(end) => {
                        self.draft.rest = None;
                        return Poll::Ready(end);
                    }
                },
            };
            let Some(data) = frame.data_ref() else { return Poll::Ready(Some(Ok(frame))) };
            if !self.bound.take(data.len() as u64) {
                return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.bound.bytes_max)))));
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = self.next(task);
        let is_over = self.life.is_over();
        if is_over || matches!(next, Poll::Ready(Some(Err(_)))) {
            self.upload.broken.store(true, Ordering::Release);
        }
        // After the end of the attempt nothing more is sent, and what it had begun must not look whole.
        if is_over {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        }
        self.upload.polled(next.is_ready(), self.is_end_stream());
        next
    }

    fn is_end_stream(&self) -> bool {
        self.draft.rest.is_none() && self.draft.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.draft.ahead.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        match self.draft.rest {
            // Trailers need the form of a body whose length is not said.
            None if self.draft.ahead.iter().all(Frame::is_data) => SizeHint::with_exact(ahead),
            _ => SizeHint::default(),
        }
    }
}

/// The body of an answer, as its guest takes it in.
pub(super) struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    /// Until the answer has come to an end, where its head has not said it all.
    watch: Option<Watch>,
    /// Where the host has put something into the request that must not come back.
    veil: Option<Veil>,
    bound: Bound,
    /// How long the other side may be silent.
    silence_max: Duration,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        watch: Option<Watch>,
        veil: Option<Veil>,
        bound: Bound,
        silence_max: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let silence = Box::pin(sleep_until(Instant::now() + silence_max));
        let lease = Some(lease);
        let mut body = ResponseBody { incoming, lease, watch, veil, bound, silence_max, silence, _place: place };
        if body.incoming.is_end_stream() {
            body.finish();
            body.veil = None;
        }
        body
    }

    /// The answer has come to its end: the connection may serve another request.
    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
        if let Some(watch) = self.watch.take() {
            watch.whole();
        }
    }

    /// A part as the tool may see it; nothing where it has to wait for the next one.
    fn veiled(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        match &mut self.veil {
            Some(veil) => veil.frame(frame),
            None => Some(frame),
        }
    }

    /// The rest is not wanted.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        drop((self.lease.take(), self.veil.take()));
        if let Some(watch) = self.watch.take() {
            watch.broken(&error);
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if self.lease.is_none() {
                let rest = self.veil.take().and_then(|mut veil| veil.end());
                return Poll::Ready(rest.map(Ok));
            }
            match Pin::new(&mut self.incoming).poll_frame(task) {
                Poll::Ready(None) => self.finish(),
                Poll::Ready(Some(Err(error))) => return self.fail(reason::of_answer(&error)),
                Poll::Ready(Some(Ok(frame))) => {
                    let Some(bytes) = frame.data_ref().map(|data| data.len() as u64) else {
                        match self.veiled(frame) {
                            Some(frame) => return Poll::Ready(Some(Ok(frame))),
                            None => continue,
                        }
                    };
                    if !self.bound.take(bytes) {
                        let bytes_max = self.bound.bytes_max;
                        return self.fail(Error::HttpResponseBodySize(Some(bytes_max)));
                    }
                    // What is empty is no progress.
                    if bytes > 0 {
                        let until = Instant::now() + self.silence_max;
                        self.silence.as_mut().reset(until);
                        if let Some(frame) = self.veiled(frame) {
                            return Poll::Ready(Some(Ok(frame)));
                        }
                    }
                }
                Poll::Pending if self.silence.as_mut().poll(task).is_ready() => {
                    return self.fail(Error::ConnectionReadTimeout);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() && self.veil.is_none()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A guest that has read all that was announced need not ask for more.
        if self.incoming.is_end_stream() {
            self.finish();
        }
        if let Some(watch) = self.watch.take() {
            watch.left();
        }
    }
}
