//! A call's hold on its key: renewed while the call runs, made durable before its first effect, and settled at its end.
//!
//! | the call ended with | behind it | what is kept |
//! |---|---|---|
//! | a result | anything | done |
//! | a final failure of the tool | an effect | failed |
//! | | no effect | failed, for ten minutes; nothing where settings do not keep errors |
//! | anything else | no effect | nothing: the key is free |
//! | | an effect that may be done twice | the next call runs it again |
//! | | another effect | unknown |

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::book::{Asked, Book};
use super::ending::Kept;
use super::ledger::{Lead, in_time, unusable};
use super::record::{Fenced, Release};
use super::renewal::{Renewals, Renewed};
use super::settings::{Idempotency, Keep, OnCrash};
use super::store::LedgerFailure;
use crate::effect::{Effect, Witness};
use crate::guard::retry::Fence;
use crate::tell::{CallError, ErrorKind, Output, Stage};

/// How long a failure without an effect is kept.
const FAILURE_TTL: Duration = Duration::from_secs(600);

/// How often an end is written, if it cannot be, and the pause between.
const WRITES_MAX: u32 = 3;
const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// The longest text about an effect that is kept, in bytes.
const EFFECT_BYTES_MAX: usize = 256;

/// The hold of a running call on its key. Dropping it gives the key back as far as is known: free when nothing happened.
pub(crate) struct Ticket {
    hold: Arc<Hold>,
    _renewed: Renewed,
    /// Goes with the last write, so that no twin looks before it.
    lead: Option<Lead>,
    settled: bool,
}

/// What is known of a key that was acquired.
pub(super) struct Acquired {
    pub(super) fence: u64,
    pub(super) created_ms: u64,
    /// Whether the call that had begun may have changed something.
    pub(super) effects_before: bool,
}

/// What the attempts of a call share of its ticket.
pub(crate) struct Hold {
    book: Book,
    asked: Arc<Asked>,
    fence: u64,
    created_ms: u64,
    /// Whether the call that had begun may have changed something.
    effects_before: bool,
    /// Whether it is on record that something may have been changed.
    marked: OnceCell<()>,
    /// Whether it may be.
    touched: AtomicBool,
    /// Until when nobody else can have the key.
    until: Mutex<Instant>,
    ended: Notify,
    is_lost: AtomicBool,
    lost: Notify,
}

impl Hold {
    /// A key that was asked for at that moment, and acquired.
    pub(super) fn new(book: Book, asked: &Arc<Asked>, acquired: Acquired, until: Instant) -> Self {
        let Acquired { fence, created_ms, effects_before } = acquired;
        Hold {
            book,
            asked: asked.clone(),
            fence,
            created_ms,
            effects_before,
            marked: OnceCell::new(),
            touched: AtomicBool::new(false),
            until: Mutex::new(until),
            ended: Notify::new(),
            is_lost: AtomicBool::new(false),
            lost: Notify::new(),
        }
    }

    /// The key that goes along with the call's so-maniest request that may change something. Whoever takes the call over
    /// sends the same ones; a call that begins anew, once the record is gone, sends others.
    pub(crate) fn forwarded(&self, number: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"toolpost forwarded key v1\0").update(self.asked.key.as_str().as_bytes());
        hasher.update(&self.created_ms.to_le_bytes()).update(&number.to_le_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Waits until another one has the key.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn lost(&self) -> CallError {
        let mut told = pin!(self.lost.notified());
        // In the line before it is looked: what is told between the two is heard.
        told.as_mut().enable();
        if !self.is_lost.load(Ordering::Acquire) {
            told.await;
        }
        taken_over()
    }

    /// Keeps the lease from now on, until the call has ended, or the lease is lost.
    pub(super) async fn renew(self: Arc<Self>, lease: Duration) {
        let (pace, hurry) = (lease / 3, lease / 30);
        loop {
            let (asked, until) = (Instant::now(), *self.until());
            let pause = match timeout_at(until, self.book.renew(&self.asked.key, self.fence, lease)).await {
                Ok(Ok(Fenced::Held)) => {
                    *self.until() = asked + lease;
                    pace
                }
                Ok(Err(_)) if asked < until => hurry,
                // Another one has it, or may have it by now.
                Ok(_) | Err(_) => break,
            };
            if timeout(pause, self.ended.notified()).await.is_ok() {
                return;
            }
        }
        self.lose();
    }

    /// Another one has the key, or may have it by now.
    fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.lost.notify_waiters();
    }

    /// Its lease is kept no more.
    pub(super) fn ended(&self) {
        self.ended.notify_one();
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn mark(&self, effect: &Effect) -> Result<(), CallError> {
        let Effect { action, target, .. } = effect;
        let mut text = format!("{action} {target}");
        text.truncate(text.floor_char_boundary(EFFECT_BYTES_MAX));
        match self.book.mark_effects(&*self.asked, self.fence, &text).await {
            Ok(Fenced::Held) => Ok(()),
            Ok(Fenced::Lost) => {
                self.lose();
                Err(taken_over())
            }
            Err(failure) => Err(unusable(failure)),
        }
    }

    /// What is left to say when the call ends untold.
    async fn abandon(&self) {
        let release = match (self.touched.load(Ordering::Acquire), self.asked.on_crash) {
            (true, OnCrash::Unknown) => Release::Unknown,
            (true, OnCrash::Rerun) => Release::Rerun,
            (false, _) => self.release_untouched(),
        };
        // If it cannot be written, the lease runs out.
        let _ = in_time(self.book.release(&*self.asked, self.fence, release)).await;
    }

    fn release_untouched(&self) -> Release {
        if self.effects_before { Release::Rerun } else { Release::Free }
    }
}

impl Witness for Hold {
    fn before_change<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), CallError>> {
        async move {
            if self.is_lost.load(Ordering::Acquire) || *self.until() <= Instant::now() {
                return Err(taken_over());
            }
            self.touched.store(true, Ordering::Release);
            self.marked.get_or_try_init(|| self.mark(effect)).await.copied()
        }
        .boxed()
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("key", &self.asked.key).finish_non_exhaustive()
    }
}

/// What is written at the end.
enum End {
    Keep(Kept, Duration),
    Release(Release),
}

impl Ticket {
    pub(super) fn new(hold: Hold, renewals: &Arc<Renewals>, lead: Lead) -> Self {
        let hold = Arc::new(hold);
        Ticket { _renewed: renewals.keep(hold.clone()), hold, lead: Some(lead), settled: false }
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// Writes down how the call ended, and hands out what is to be told: what may have been done and is not recorded is never
    /// told as done.
    ///
    /// # Errors
    /// The call's own; [`ErrorKind::OutcomeUnknown`] when something was done and could not be recorded.
    ///
    /// # Cancel safety
    /// Dropping the future is dropping the ticket, unless the end was written.
    pub(crate) async fn settle(
        mut self,
        settings: &Idempotency,
        result: Result<Output, CallError>,
        fence: Fence,
    ) -> Result<Output, CallError> {
        let end = self.end(settings, &result, fence);
        // The call is over: whoever waits for it does not wait for a store that hangs.
        let written = in_time(self.write(&end)).await;
        self.settled = true;
        match written {
            Ok(Fenced::Held) => result,
            // What had no effect may be told: it is as if it had not been.
            _ if !matches!(fence, Fence::Effect { .. }) => result,
            Ok(Fenced::Lost) => Err(not_recorded(result, LedgerFailure::new("another call has the key by now"))),
            Err(failure) => Err(not_recorded(result, failure)),
        }
    }

    fn end(&self, settings: &Idempotency, result: &Result<Output, CallError>, fence: Fence) -> End {
        let (effect, again) = match fence {
            Fence::Nothing | Fence::ReadOnly => (false, true),
            Fence::Effect { idempotent } => (true, idempotent),
        };
        match result {
            Ok(output) => End::Keep(Kept::ok((settings.keep == Keep::Result).then_some(output)), settings.ttl),
            Err(error)
                if error.kind == ErrorKind::ToolFailed { retryable: false } && (settings.keep_errors || !again) =>
            {
                let kept = Kept::failed(&error.message, error.detail.as_ref());
                End::Keep(kept, if effect { settings.ttl } else { settings.ttl.min(FAILURE_TTL) })
            }
            Err(_) => End::Release(match fence {
                Fence::Nothing | Fence::ReadOnly => self.hold.release_untouched(),
                Fence::Effect { idempotent: true } => Release::Rerun,
                Fence::Effect { idempotent: false } => Release::Unknown,
            }),
        }
    }

    async fn write(&self, end: &End) -> Result<Fenced, LedgerFailure> {
        let Hold { book, asked, fence, .. } = &*self.hold;
        let mut writes = 0;
        loop {
            let written = match end {
                End::Keep(kept, ttl) => book.complete(&**asked, *fence, kept, *ttl).await,
                End::Release(release) => book.release(&**asked, *fence, *release).await,
            };
            writes += 1;
            if written.is_ok() || writes >= WRITES_MAX {
                return written;
            }
            sleep(WRITE_PAUSE).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.settled, Handle::try_current()) {
            let (hold, lead) = (self.hold.clone(), self.lead.take());
            runtime.spawn(async move {
                hold.abandon().await;
                drop(lead);
            });
        }
    }
}

fn taken_over() -> CallError {
    CallError::new(ErrorKind::KeyInUse, Stage::Run, "another call has taken over this idempotency key")
        .with_help("call again with the same key, and get its answer")
}

fn not_recorded(result: Result<Output, CallError>, why: LedgerFailure) -> CallError {
    let (what, detail) = match result {
        Ok(output) => ("the tool has answered".to_owned(), json!({"executed": true, "output": output})),
        Err(error) => (error.message.clone(), json!({"executed": true, "error": error})),
    };
    CallError::new(ErrorKind::OutcomeUnknown, Stage::Tell, format!("{what}; what it did was executed but not recorded"))
        .with_help("look before you call again, also with the same key")
        .with_detail(detail)
        .because(why)
}
