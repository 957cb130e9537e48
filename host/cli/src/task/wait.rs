//! Waits for a task, with what it says on its way; and prints what came of it as the call itself would have.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use toolpost::core::task::{Ended, Sheet, Standing};
use toolpost::store::artifacts::Folder;
use toolpost::{Store, TaskId, Tasks};

use super::launch::Launch;
use super::sheet::line;
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How long a host that was started may take before it has the task.
const HOST_TIME_MAX: Duration = Duration::from_secs(10);

/// Somebody who waits at a terminal, or in a script.
pub(crate) struct Waiter<'s> {
    pub(crate) store: &'s Arc<Store>,
    pub(crate) tasks: &'s Tasks,
    pub(crate) id: &'s TaskId,
    pub(crate) verbose: u8,
}

/// How the waiting ended.
pub(crate) enum Waited {
    /// The task has ended.
    Ended(Box<Sheet>),
    /// The time was over.
    NotYet,
    /// Somebody has pressed Ctrl-C.
    Interrupted,
}

impl Waiter<'_> {
    /// Waits, until then if anything is said.
    pub(crate) async fn wait(&self, until: Option<Instant>) -> Result<Waited, Stop> {
        let bar = print::spinner();
        print::run(&bar, "waiting".into());
        let waiting = self.watch(until, &bar);
        let waited = tokio::select! {
            waited = waiting => waited,
            _ = tokio::signal::ctrl_c() => Ok(Waited::Interrupted),
        };
        bar.finish_and_clear();
        waited
    }

    async fn watch(&self, until: Option<Instant>, bar: &ProgressBar) -> Result<Waited, Stop> {
        let mut said = Said::default();
        let mut started: Option<Instant> = None;
        loop {
            let Some(sheet) = self.tasks.get(self.id).await.map_err(Stop::internal)? else { return Err(gone(self.id)) };
            said.say(&sheet, bar, self.verbose);
            match sheet.standing() {
                standing if standing.has_ended() => return Ok(Waited::Ended(Box::new(sheet))),
                // Whoever ran it is gone, or nobody has begun to.
                Standing::Queued | Standing::Left => started = self.host_for(&sheet, started).await?,
                _ => started = None,
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Waited::NotYet);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Starts a host where there is none, and says when. One that was started and is not there any more has said why.
    async fn host_for(&self, sheet: &Sheet, started: Option<Instant>) -> Result<Option<Instant>, Stop> {
        let Some(launch) = Launch::of_scope(self.store, &sheet.record.request.scope)? else { return Ok(None) };
        match started {
            None => Ok(launch.start(self.store).await?.then(Instant::now)),
            Some(at) if at.elapsed() < HOST_TIME_MAX => Ok(started),
            Some(_) if launch.place(self.store)?.is_none() => Ok(None),
            Some(_) => {
                let first = format!("no host runs `{}`; the last one said:", self.id);
                Err(Stop { exit: Exit::Internal, lines: [vec![first], launch.last_words(self.store)].concat() })
            }
        }
    }
}

/// What was printed already.
#[derive(Default)]
struct Said {
    bytes: usize,
    run: u32,
    question: Option<String>,
}

impl Said {
    fn say(&mut self, sheet: &Sheet, bar: &ProgressBar, verbose: u8) {
        let Sheet { record, notes, .. } = sheet;
        if record.runs != self.run {
            // A run that begins anew says everything anew.
            *self = Said { run: record.runs, ..Said::default() };
        }
        if verbose > 0 || std::io::stderr().is_terminal() {
            let new = notes.partial.get(self.bytes..).unwrap_or_default();
            for part in new.lines().filter(|part| !part.is_empty()) {
                bar.suspend(|| print::note(format!("{DIM}partial{DIM:#} {}", print::visible(part))));
            }
        }
        self.bytes = notes.partial.len();
        let question = sheet.question();
        if question != self.question.as_ref() {
            self.question = question.cloned();
            if let Some(question) = question {
                bar.suspend(|| {
                    print::note(format!("waiting for an answer: toolpost approvals show {}", print::visible(question)))
                });
            }
        }
        let words = notes.progress.as_ref().map_or_else(|| sheet.standing().name().to_owned(), line);
        bar.set_message(words);
    }
}

/// Prints what came of a task. The exit code is that of the call.
pub(crate) fn told(sheet: &Sheet, artifacts: &Folder, as_json: bool) -> Result<Exit, Stop> {
    let request = &sheet.record.request;
    let ended = sheet.record.ended().ok_or_else(|| not_yet(&request.id))?;
    let result = ended.result().map_err(Stop::internal)?;
    let exit = result.as_ref().err().map_or(Exit::Ok, |error| Exit::of(error.kind));
    if as_json {
        let mut whole =
            json!({"task": request.id, "state": sheet.standing(), "call": request.call, "tool": request.tool});
        let rest = match &result {
            Ok(output) => json!({"ok": true, "output": output, "report": ended.report()}),
            Err(error) => json!({"ok": false, "error": error, "report": ended.report()}),
        };
        if let (Some(whole), Value::Object(rest)) = (whole.as_object_mut(), rest) {
            whole.extend(rest);
        }
        print::json(&whole)?;
        return Ok(exit);
    }
    match &result {
        Ok(_)
            if !std::io::stdout().is_terminal()
                && let Some(name) = artifact(ended) =>
        {
            // Who reads on in a pipe or in a file wants all of it.
            crate::artifact::show(artifacts, &name)?;
        }
        Ok(output) => {
            crate::call::show(output)?;
            for note in &output.notes {
                print::note(format!("{DIM}note: {}{DIM:#}", print::visible(note)));
            }
        }
        Err(error) => print::error(format!("{}: {error}", error.kind.name())),
    }
    Ok(exit)
}

/// Where all of a result is that was cut.
fn artifact(ended: &Ended) -> Option<String> {
    ended.report().pointer("/truncated/artifact")?.as_str().map(str::to_owned)
}

pub(crate) fn not_yet(id: &TaskId) -> Stop {
    let line = format!("`{id}` has not ended; `toolpost task wait {id}` waits for it");
    Stop { exit: Exit::Policy, lines: vec![line] }
}

pub(super) fn gone(id: &TaskId) -> Stop {
    Stop::usage(format!("no task `{id}` is known; `toolpost task list` shows those that are"))
}
