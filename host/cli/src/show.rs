//! `toolpost show CALL`: the whole story of a call, as a timeline.

mod timeline;

use clap::Args;
use serde_json::json;
use toolpost::store::log::{Found, Logged, Story};

use crate::args::ConfigArgs;
use crate::exit::{Exit, Stop};
use crate::log::{time, took};
use crate::print::{self, BOLD, DIM, GREEN, RED, styled};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The call's id, or as much of its beginning as no other has
    call: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: ShowArgs) -> Result<Exit, Stop> {
    let store = args.config.store()?;
    let found = if store.has_log() { store.call(&args.call).await? } else { Found::None };
    let story = match found {
        Found::One(story) => story,
        Found::Several(ids) => {
            return Err(Stop::usage(format!("several calls begin with `{}`: {}", args.call, ids.join(", "))));
        }
        Found::None => {
            let help = "`toolpost log` lists those that are there";
            return Err(Stop::usage(format!("no call `{}` is in {}; {help}", args.call, store.dir().display())));
        }
    };
    if args.json {
        print::json(&json!({"ok": true, "story": &*story}))?;
    } else {
        print::out(page(&story).join("\n"))?;
    }
    Ok(Exit::Ok)
}

fn page(Story { call, events }: &Story) -> Vec<String> {
    let (bold, dim) = (styled(BOLD), styled(DIM));
    let mut lines = vec![format!("{bold}{}{bold:#}  {}", print::words(&call.tool), print::words(&call.call))];
    let mut add = |name: &str, text: String| {
        for (at, line) in text.lines().enumerate() {
            lines.push(format!("{dim}{:<9}{dim:#}  {line}", if at == 0 { name } else { "" }).trim_end().to_owned());
        }
    };
    add("outcome", outcome(call));
    add("began", format!("{} UTC", time(call.started)));
    add("took", sums(call));
    if let Some(caller) = who(call) {
        add("caller", caller);
    }
    if let Some(parent) = &call.parent {
        add("inside of", print::words(parent));
    }
    if let Some(arguments) = &call.arguments {
        add("arguments", print::brief(arguments));
    }
    if let Some(result) = call.result.as_ref().filter(|result| *result != "null") {
        add("result", print::brief(result));
    }
    lines.push(String::new());
    lines.extend(timeline::lines(call, events));
    lines
}

fn outcome(call: &Logged) -> String {
    let (red, green) = (styled(RED), styled(GREEN));
    match (call.outcome.as_deref(), &call.message) {
        (None, _) => "no end was written: it runs, or its host is gone".into(),
        (Some("ok"), _) => format!("{green}ok{green:#}"),
        (Some(kind), Some(message)) => format!("{red}{kind}{red:#}: {}", print::words(message)),
        (Some(kind), None) => format!("{red}{kind}{red:#}"),
    }
}

fn sums(call: &Logged) -> String {
    let (attempts, effects) = (print::many(call.attempts, "attempt"), print::many(call.effects, "effect"));
    format!("{}, {attempts}, fuel {}, {effects}", took(call.time), call.fuel)
}

fn who(call: &Logged) -> Option<String> {
    let caller = Some(print::words(&call.caller)).filter(|caller| !caller.is_empty());
    let session = call.session.as_ref().map(|session| format!("session {}", print::words(session)));
    let both: Vec<String> = caller.into_iter().chain(session).collect();
    (!both.is_empty()).then(|| both.join(", "))
}
