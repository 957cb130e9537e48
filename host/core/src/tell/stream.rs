//! What does a call say while it runs? A stream for one reader: how far the tool is, the parts of the result that it hands out, and
//! at last the outcome.
//!
//! Between the tool and its reader there is room for a few parts. A tool that hands out more waits until the reader has caught up,
//! in its own time; what it says of its progress is left out where there is no room, because the next word says more. Who has
//! gone keeps nobody waiting. So however slow a reader is, it costs no more memory than that room.

use std::collections::VecDeque;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Outcome, Report, Stage};
use crate::call::{Call, CallId};
use crate::host::Host;

/// Pieces that wait for a reader, at most.
const PIECES_MAX: usize = 16;

/// The length of a part, in bytes; a longer one comes in several.
const PART_BYTES_MAX: usize = 16 << 10;

/// Something that is told while a call runs.
#[derive(Debug)]
pub enum Piece {
    /// How far the tool is.
    Progress {
        /// The attempt that says so.
        attempt: u32,
        /// Units done.
        done: u64,
        /// Units in all, where the tool knows.
        total: Option<u64>,
        /// What it is at.
        message: Option<String>,
    },
    /// A part of the result.
    Partial {
        /// The attempt that hands it out. Behind one that failed, the next begins anew.
        attempt: u32,
        /// The part.
        text: String,
    },
    /// The call is over. This is the last piece.
    Ended(Box<Outcome>),
}

/// Where a call tells its reader.
#[derive(Clone)]
pub struct Reader(Arc<Ends>);

struct Ends {
    pieces: mpsc::Sender<Piece>,
    rest: Rest,
}

/// What the end of an attempt had to say, for which nobody could wait.
type Rest = Arc<Mutex<VecDeque<Piece>>>;

/// A call that runs, read piece by piece. Dropping it cancels the call, as dropping [`Host::call`] does.
pub struct Streaming {
    pieces: mpsc::Receiver<Piece>,
    rest: Rest,
    call: (CallId, String),
    running: Option<JoinHandle<Outcome>>,
    outcome: Option<Outcome>,
}

impl Reader {
    /// Hands on a part, as soon as there is room for it; at once, where nobody reads any more.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part half handed on.
    pub(crate) async fn part(&self, attempt: u32, text: &str) {
        for piece in parts(attempt, text) {
            // Who has gone reads nothing.
            let _ = self.0.pieces.send(piece).await;
        }
    }

    /// Hands on the last part, for which the tool does not wait. It is no longer than what masking has held back.
    pub(crate) fn last_part(&self, attempt: u32, text: &str) {
        let mut rest = self.0.rest.lock().unwrap_or_else(PoisonError::into_inner);
        // What an attempt before it had left is of no use to anybody.
        rest.clear();
        rest.extend(parts(attempt, text));
    }

    /// Hands on how far the tool is, if there is room.
    pub(crate) fn progress(&self, attempt: u32, done: u64, total: Option<u64>, message: Option<&str>) {
        let message = message.map(str::to_owned);
        let _ = self.0.pieces.try_send(Piece::Progress { attempt, done, total, message });
    }
}

fn parts(attempt: u32, mut text: &str) -> impl Iterator<Item = Piece> + '_ {
    std::iter::from_fn(move || {
        let (part, rest) = text.split_at(text.floor_char_boundary(PART_BYTES_MAX));
        text = rest;
        (!part.is_empty()).then(|| Piece::Partial { attempt, text: part.to_owned() })
    })
}

impl Host {
    /// Runs a call whose pieces are read while it runs: what it says of its progress, the parts of its result, and at last its
    /// outcome. A slow reader slows the tool down, and costs no memory.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use serde_json::json;
    /// use toolpost_core::tell::Piece;
    /// use toolpost_core::{Call, Catalog, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut catalog = Catalog::default();
    /// catalog.add(Native::new("count", "Counts").run(|attempt| async move {
    ///     attempt.emit("one ").await;
    ///     attempt.emit("two").await;
    ///     Ok(json!(2))
    /// }))?;
    /// let mut streaming = Host::new(catalog).stream(Call::new("count", json!({})));
    /// let mut text = String::new();
    /// while let Some(piece) = streaming.next().await {
    ///     match piece {
    ///         Piece::Partial { text: part, .. } => text.push_str(&part),
    ///         Piece::Ended(outcome) => assert_eq!(outcome.result?.value, json!(2)),
    ///         Piece::Progress { .. } => {}
    ///     }
    /// }
    /// assert_eq!(text, "one two");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stream(&self, call: Call) -> Streaming {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let rest = Rest::default();
        let (id, host) = ((call.id.clone(), call.tool.clone()), self.clone());
        let call = Call { reader: Some(Reader(Arc::new(Ends { pieces: sender, rest: rest.clone() }))), ..call };
        let running = tokio::spawn(async move { host.call(call).await });
        Streaming { pieces, rest, call: id, running: Some(running), outcome: None }
    }
}

impl Stream for Streaming {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Poll::Ready(Some(piece)) = self.pieces.poll_recv(task) {
            return Poll::Ready(Some(piece));
        }
        if let Some(running) = &mut self.running {
            let Poll::Ready(ended) = pin!(running).poll(task) else { return Poll::Pending };
            self.running = None;
            let (call, tool) = self.call.clone();
            self.outcome = Some(ended.unwrap_or_else(|error| {
                let error = crate::bug!(Stage::Run, "the task of a call: {error}");
                Outcome { call, tool, result: Err(error), report: Report::default() }
            }));
        }
        // What was handed on before the end comes before it.
        if let Ok(piece) = self.pieces.try_recv() {
            return Poll::Ready(Some(piece));
        }
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let last = || self.outcome.take().map(|outcome| Piece::Ended(Box::new(outcome)));
        Poll::Ready(rest.or_else(last))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("call", &self.call).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader(..)")
    }
}
