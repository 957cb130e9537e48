//! A batch on a terminal: a line for each call that runs, one for the whole, and what has ended above them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use toolpost::{Call, CallId, Event, Outcome, Sink, Told};

use super::report::span;
use crate::print::{self, DIM, GREEN, RED};

/// Lines of calls that run, at most; the others are counted.
const LINES_MAX: usize = 12;

/// What of a message and of an error is shown, in characters.
const MESSAGE_MAX: usize = 60;

/// What is shown of a batch while it runs. Where standard error is no terminal, nothing is.
pub(super) struct Progress {
    lines: MultiProgress,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    whole: Option<ProgressBar>,
    /// What each call is called on its line.
    names: HashMap<CallId, String>,
    running: HashMap<CallId, Option<ProgressBar>>,
    total: usize,
    ended: usize,
    /// Questions that wait for an answer, by the call that asks and their id. While there are any, nothing is shown.
    asked: HashSet<(CallId, String)>,
    /// What has ended meanwhile.
    kept: Vec<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { lines: MultiProgress::new(), shown: Mutex::default() }
    }
}

impl Progress {
    pub(super) fn begin(&self, total: usize) {
        let mut shown = self.shown();
        let whole = self.lines.add(ProgressBar::new(total as u64));
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {elapsed:.dim}") {
            whole.set_style(style.progress_chars("━━╌"));
        }
        whole.enable_steady_tick(Duration::from_millis(120));
        (shown.whole, shown.total) = (Some(whole), total);
        shown.count();
    }

    /// A call of that id is that one of the batch.
    pub(super) fn knows(&self, call: &Call, index: usize) {
        let name = format!("{} {}", index + 1, print::visible(&print::cut(&call.tool, 40)));
        self.shown().names.insert(call.id.clone(), name);
    }

    /// A call has ended.
    pub(super) fn ended(&self, index: usize, outcome: &Outcome) {
        let mut shown = self.shown();
        if let Some(Some(line)) = shown.running.remove(&outcome.call) {
            line.finish_and_clear();
            self.lines.remove(&line);
        }
        shown.ended += 1;
        shown.count();
        let (number, tool) = (index + 1, print::visible(&print::cut(&outcome.tool, 40)));
        let took = span(outcome.report.time);
        let line = match &outcome.result {
            Ok(_) => format!("{GREEN}✓{GREEN:#} {number} {tool} {DIM}{took}{DIM:#}"),
            Err(error) => {
                let why = brief(&error.to_string());
                format!("{RED}✗{RED:#} {number} {tool} {RED}{}{RED:#} {why} {DIM}{took}{DIM:#}", error.kind.name())
            }
        };
        if shown.asked.is_empty() {
            let _ = self.lines.println(line);
        } else {
            shown.kept.push(line);
        }
    }

    /// Writes a line above what runs.
    pub(super) fn say(&self, line: &str) {
        self.lines.suspend(|| print::note(line));
    }

    pub(super) fn end(&self) {
        let mut shown = self.shown();
        if !shown.asked.is_empty() {
            shown.asked.clear();
            self.shows_again(&mut shown);
        }
        if let Some(whole) = shown.whole.take() {
            whole.finish_and_clear();
        }
        let _ = self.lines.clear();
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Questions are over, by an answer or because nobody wants one any more.
    fn is_not_asked(&self, shown: &mut Shown, which: impl Fn(&CallId, &str) -> bool) {
        let before = shown.asked.len();
        shown.asked.retain(|(call, question)| !which(call, question));
        if shown.asked.is_empty() && before > 0 {
            self.shows_again(shown);
        }
    }

    fn shows_again(&self, shown: &mut Shown) {
        self.lines.set_draw_target(ProgressDrawTarget::stderr());
        for line in shown.kept.drain(..) {
            let _ = self.lines.println(line);
        }
    }

    fn runs(&self, shown: &mut Shown, call: &CallId) {
        let Some(name) = shown.names.get(call).cloned() else { return };
        if shown.running.contains_key(call) {
            return;
        }
        let line = (shown.running.len() < LINES_MAX).then(|| {
            let whole = shown.whole.as_ref();
            let line = ProgressBar::new_spinner();
            let line = match whole {
                Some(whole) => self.lines.insert_before(whole, line),
                None => self.lines.add(line),
            };
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed:.dim}") {
                line.set_style(style);
            }
            line.set_prefix(name);
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        shown.running.insert(call.clone(), line);
        shown.count();
    }
}

impl Shown {
    fn count(&self) {
        let Some(whole) = &self.whole else { return };
        let running = self.running.len();
        let waiting = self.total.saturating_sub(self.ended + running);
        whole.set_position(self.ended as u64);
        whole.set_message(format!("{running} running, {waiting} waiting"));
    }
}

impl Sink for Progress {
    fn tell(&self, told: &Told<'_>) {
        let Some(call) = told.call else { return };
        let mut shown = self.shown();
        match told.event {
            Event::AttemptStarted { .. } => self.runs(&mut shown, call),
            Event::Progress { done, total, message } => {
                let total = total.map_or_else(String::new, |total| format!(" of {total}"));
                let message = message.map_or_else(String::new, |message| format!(", {message}"));
                if let Some(Some(line)) = shown.running.get(call) {
                    line.set_message(brief(&format!("{done}{total}{message}")));
                }
            }
            // While somebody thinks, nothing moves.
            Event::Question { question } => {
                shown.asked.insert((call.clone(), question.id.clone()));
                self.lines.set_draw_target(ProgressDrawTarget::hidden());
            }
            Event::Decision { decision } => {
                let decided = decision.question.as_deref();
                self.is_not_asked(&mut shown, |of, question| of == call && Some(question) == decided);
            }
            // Its questions have ended with it: a deadline, or another call's failure, takes them back without a decision.
            Event::AttemptEnded { .. } | Event::CallEnded { .. } => {
                self.is_not_asked(&mut shown, |of, _| of == call);
            }
            _ => {}
        }
    }
}

fn brief(text: &str) -> String {
    print::cut(&print::plain(text), MESSAGE_MAX)
}
