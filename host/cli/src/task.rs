//! `toolpost task`: calls that nobody waits for.

mod files;
mod launch;
pub(crate) mod serve;
mod sheet;
mod wait;

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost::core::catalog::settings::Span;
use toolpost::core::task::{Cancelled, Filed, Query, Sheet, Standing};
use toolpost::store::artifacts::Folder;
use toolpost::store::tasks::TaskTable;
use toolpost::{Store, TaskId, Tasks};

pub(crate) use self::launch::{Launch, text};
pub(crate) use self::wait::{Waited, Waiter, told};
use crate::args::ConfigArgs;
use crate::ask::who;
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM};

#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the tasks, the last filed first
    List(ListArgs),
    /// Show all that is known of a task
    Show(IdArgs),
    /// Wait until a task has ended, and print its result
    Wait(WaitArgs),
    /// Print the result of a task that has ended
    Result(IdArgs),
    /// Have a task end: what only reads stops, what may change something goes on to its end
    Cancel(IdArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of a tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only those of a caller
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// Only those in a state
    #[arg(long, value_parser = state, value_name = "STATE")]
    state: Option<Standing>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

#[derive(Debug, Args)]
struct IdArgs {
    /// The task's id, or as much of its beginning as no other has
    task: String,
}

#[derive(Debug, Args)]
struct WaitArgs {
    #[command(flatten)]
    id: IdArgs,
    /// Wait no longer than so, for example 30s
    #[arg(long, value_name = "SPAN")]
    timeout: Option<Span>,
}

fn state(name: &str) -> Result<Standing, String> {
    let found = Standing::ALL.into_iter().find(|standing| standing.name() == name);
    found.ok_or_else(|| format!("expected one of {}", Standing::ALL.map(Standing::name).join(", ")))
}

pub(crate) async fn run(args: TaskArgs, verbose: u8) -> Result<Exit, Stop> {
    let TaskArgs { what, config, json: as_json } = args;
    match what {
        What::List(args) => list(args, &config, as_json).await,
        What::Show(args) => show(&Found::of(&args, &config).await?, as_json).await,
        What::Wait(args) => {
            let until = args.timeout.and_then(|span| Instant::now().checked_add(span.0));
            let found = Found::of(&args.id, &config).await?;
            let waiter = Waiter { store: &found.store, tasks: &found.tasks, id: &found.id, verbose };
            match waiter.wait(until).await? {
                Waited::Ended(sheet) => told(&sheet, &found.artifacts, as_json),
                Waited::NotYet => Err(wait::not_yet(&found.id)),
                Waited::Interrupted => goes_on(&found.id, as_json),
            }
        }
        What::Result(args) => {
            let found = Found::of(&args, &config).await?;
            told(&found.sheet().await?, &found.artifacts, as_json)
        }
        What::Cancel(args) => cancel(&Found::of(&args, &config).await?, as_json).await,
    }
}

/// The tasks in a store.
pub(crate) fn tasks(store: &Arc<Store>) -> Tasks {
    Tasks::new(Arc::new(TaskTable::new(store.clone())))
}

/// A task that somebody has named.
struct Found {
    store: Arc<Store>,
    artifacts: Folder,
    tasks: Tasks,
    id: TaskId,
}

impl Found {
    async fn of(args: &IdArgs, config: &ConfigArgs) -> Result<Self, Stop> {
        let store = config.store()?;
        let artifacts = store.artifacts(&config.examine().0.artifacts);
        let unknown = || {
            let help = "`toolpost task list` shows those that are";
            Stop::usage(format!("no task `{}` is known; {help}", args.task))
        };
        if !store.has_tasks() {
            return Err(unknown());
        }
        let tasks = tasks(&store);
        let id = match TaskId::of_text(&args.task) {
            Some(id) => id,
            None => {
                let digits = args.task.strip_prefix("task_").unwrap_or(&args.task).to_owned();
                let query = Query { digits: Some(digits), limit: 2, ..Query::default() };
                let listed = tasks.list(&query).await.map_err(Stop::internal)?;
                match listed.tasks.as_slice() {
                    [] => return Err(unknown()),
                    [Filed { record, .. }] => record.request.id.clone(),
                    _ => {
                        let why = format!("more than one task begins with `{}`; give more of it", args.task);
                        return Err(Stop::usage(why));
                    }
                }
            }
        };
        Ok(Found { store, artifacts, tasks, id })
    }

    async fn sheet(&self) -> Result<Sheet, Stop> {
        self.tasks.get(&self.id).await.map_err(Stop::internal)?.ok_or_else(|| wait::gone(&self.id))
    }
}

async fn list(args: ListArgs, config: &ConfigArgs, as_json: bool) -> Result<Exit, Stop> {
    let store = config.store()?;
    let query =
        Query { tool: args.tool, caller: args.caller, standing: args.state, limit: args.limit, ..Query::default() };
    let listed = match store.has_tasks() {
        true => tasks(&store).list(&query).await.map_err(Stop::internal)?,
        false => toolpost::core::task::Listed { tasks: Vec::new(), now_ms: 0 },
    };
    if as_json {
        let shown: Vec<Value> = listed.tasks.iter().map(sheet::of_list).collect();
        print::json(&json!({"ok": true, "tasks": shown}))?;
    } else if listed.tasks.is_empty() {
        print::note(format!("{DIM}no such tasks in {}{DIM:#}", store.dir().display()));
    } else {
        sheet::table(&listed)?;
        if listed.tasks.iter().any(|filed| filed.standing() == Standing::Left) {
            print::note(format!("{DIM}what is left goes on once `toolpost task wait` or `show` asks for it{DIM:#}"));
        }
    }
    Ok(Exit::Ok)
}

async fn show(found: &Found, as_json: bool) -> Result<Exit, Stop> {
    let sheet = found.sheet().await?;
    let launch = Launch::of_scope(&found.store, &sheet.record.request.scope)?;
    if as_json {
        print::json(&json!({"ok": true, "task": sheet::of_sheet(&sheet, launch.as_ref())}))?;
    } else {
        sheet::page(&sheet, launch.as_ref())?;
    }
    // Whoever asks for it wants it to go on.
    if let (Standing::Left | Standing::Queued, Some(launch)) = (sheet.standing(), launch) {
        launch.start(&found.store).await?;
    }
    Ok(Exit::Ok)
}

async fn cancel(found: &Found, as_json: bool) -> Result<Exit, Stop> {
    let Found { tasks, id, .. } = found;
    let (word, words) = match tasks.cancel(id, &who("toolpost task cancel")).await.map_err(Stop::internal)? {
        None => return Err(wait::gone(id)),
        Some(Cancelled::Now) if found.sheet().await?.standing() == Standing::Unknown => (
            "unknown",
            "it is over, and may have had an effect before; `toolpost task show` lists what it may have done",
        ),
        Some(Cancelled::Now) => ("now", "cancelled"),
        Some(Cancelled::Asked) => {
            ("asked", "it was told to end; an attempt that may change something ends by itself first")
        }
        Some(Cancelled::Not(standing)) => {
            let line = format!("`{id}` was over before, and is {}", standing.name());
            return Err(Stop { exit: Exit::Policy, lines: vec![line] });
        }
    };
    if as_json {
        print::json(&json!({"ok": true, "task": id, "cancelled": word}))?;
    } else {
        print::out(format!("{id}: {words}"))?;
    }
    Ok(Exit::Ok)
}

/// Somebody waits no longer.
pub(crate) fn goes_on(id: &TaskId, as_json: bool) -> Result<Exit, Stop> {
    if as_json {
        print::json(&json!({"ok": false, "task": id, "faults": wait::not_yet(id).lines}))?;
    } else {
        print::out(id)?;
        print::note(format!(
            "{DIM}it goes on; `toolpost task wait {id}` waits for it, `toolpost task cancel {id}` ends it{DIM:#}"
        ));
    }
    Ok(Exit::Policy)
}
