//! `toolpost call --background`: the call is on record, a host is there that makes it, and nobody has to wait.

use std::error::Error as _;

use serde_json::json;
use tokio::time::Instant;

use super::{CallArgs, asked};
use crate::args::load;
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM};
use crate::task::{self, Waited, Waiter};

pub(super) async fn run(args: CallArgs, verbose: u8) -> Result<Exit, Stop> {
    let launch = args.source.launch(&args.limits)?;
    let store = args.source.store()?;
    let (builder, as_json, after) = (args.source.quiet_builder()?, args.json, args.background_after);
    let loaded = load(builder.task_scope(launch.scope())).await;
    let artifacts = args.source.artifacts(&store);
    let call = asked(args, &loaded)?;
    let (tool, id) = (call.tool.clone(), call.id.clone());
    let filed = match loaded.host.file(call).await {
        Ok(filed) => filed,
        Err(error) if as_json => {
            print::json(&json!({"call": id, "tool": tool, "ok": false, "error": error}))?;
            return Ok(Exit::of(error.kind));
        }
        Err(error) => {
            print::error(format!("{}: {error}", error.kind.name()));
            if let Some(why) = error.source().filter(|_| verbose > 0) {
                print::note(print::visible(&why.to_string()));
            }
            return Ok(Exit::of(error.kind));
        }
    };
    launch.start(&store).await?;
    if let Some(span) = after {
        let span = span.map_or_else(|| loaded.host.tasks().settings().after(), |span| span.0);
        let tasks = task::tasks(&store);
        let waiter = Waiter { store: &store, tasks: &tasks, id: filed.id(), verbose };
        match waiter.wait(Instant::now().checked_add(span)).await? {
            Waited::Ended(sheet) => return task::told(&sheet, &artifacts, as_json),
            Waited::Interrupted => return task::goes_on(filed.id(), as_json),
            Waited::NotYet => {}
        }
    }
    if as_json {
        print::json(&json!({"ok": true, "task": filed.id(), "call": id, "tool": tool}))?;
    } else {
        print::out(&filed)?;
        print::note(format!("{DIM}`toolpost task wait {filed}` waits for it{DIM:#}"));
    }
    Ok(Exit::Ok)
}
