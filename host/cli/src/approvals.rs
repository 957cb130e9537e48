//! `toolpost approvals`: the questions of calls that wait, and answers to them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use toolpost::approve::{Answered, Desk, Filed, State};
use toolpost::core::check::approve::shown::escaped;
use toolpost::core::check::approve::{Answer, Choice, Question};

use crate::args::ConfigArgs;
use crate::ask::{editor, who};
use crate::call::arguments::ArgumentArgs;
use crate::exit::{Exit, Stop};
use crate::print;
use crate::question::{Look, sheet, span, words};

#[derive(Debug, Args)]
pub(crate) struct ApprovalsArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the questions that wait for an answer
    List,
    /// Show a question whole
    Show(IdArgs),
    /// Let the call run
    Allow {
        #[command(flatten)]
        id: IdArgs,
        /// Also calls exactly like it, until the session ends
        #[arg(long, conflicts_with = "always")]
        session: bool,
        /// Also calls exactly like it, from now on: a rule is written into the store
        #[arg(long)]
        always: bool,
    },
    /// Refuse the call
    Deny {
        #[command(flatten)]
        id: IdArgs,
        /// Why, for the one who called
        reason: Option<String>,
    },
    /// Let the call run with other arguments; in an editor, where none are given here
    Edit {
        #[command(flatten)]
        id: IdArgs,
        #[command(flatten)]
        arguments: ArgumentArgs,
    },
    /// Give the result in place of the tool
    Answer {
        #[command(flatten)]
        id: IdArgs,
        /// The result, as JSON or plain text
        result: String,
    },
}

#[derive(Debug, Args)]
struct IdArgs {
    /// The question's id, or how it begins
    id: String,
}

pub(crate) async fn run(args: ApprovalsArgs) -> Result<Exit, Stop> {
    let desk = Desk::of(&args.config.store()?);
    let (id, choice) = match args.action {
        Action::List => return list(&desk, args.json).await,
        Action::Show(IdArgs { id }) => return show(&find(&desk, &id).await?, args.json),
        Action::Allow { id, session, always } => {
            let choice = match (session, always) {
                (true, _) => Choice::AllowSession,
                (_, true) => Choice::AllowAlways,
                _ => Choice::Allow,
            };
            (id.id, choice)
        }
        Action::Deny { id, reason } => (id.id, Choice::Deny { reason }),
        Action::Answer { id, result } => {
            let value = serde_json::from_str(&result).unwrap_or(Value::String(result));
            (id.id, Choice::Answer { value })
        }
        Action::Edit { id, arguments } => {
            let filed = pending(find(&desk, &id.id).await?)?;
            about_a_call(&filed.question)?;
            let arguments = edited(&filed.question, &arguments).await?;
            return answer(&desk, &filed.question, Choice::Edit { arguments }, args.json).await;
        }
    };
    let filed = pending(find(&desk, &id).await?)?;
    if matches!(choice, Choice::Answer { .. }) {
        about_a_call(&filed.question)?;
    }
    answer(&desk, &filed.question, choice, args.json).await
}

/// What a running tool does can be allowed or not; there is nothing to edit, and nothing to answer.
fn about_a_call(question: &Question) -> Result<(), Stop> {
    match &question.doing {
        None => Ok(()),
        Some(effect) => Err(Stop::usage(format!(
            "`{}` asks about `{}` of a call that runs already; allow it, or deny it",
            question.id,
            escaped(&effect.words())
        ))),
    }
}

async fn list(desk: &Desk, as_json: bool) -> Result<Exit, Stop> {
    let pending = desk.pending().await.map_err(Stop::internal)?;
    if as_json {
        let questions: Vec<_> = pending.iter().map(|filed| &filed.question).collect();
        print::json(&json!({"ok": true, "questions": questions}))?;
        return Ok(Exit::Ok);
    }
    let mut table = print::table(&["question", "tool", "risk", "caller", "expires", "arguments or effect"]);
    for Filed { question, .. } in &pending {
        let lines = question.shown().lines;
        let more = if lines.len() > 1 { format!(" and {} lines more", lines.len() - 1) } else { String::new() };
        let arguments = match &question.doing {
            Some(effect) => print::cut(&escaped(&effect.words()), 60),
            None => print::cut(lines.first().map_or("", |line| line), 40) + &more,
        };
        let (caller, left) = (escaped(&question.caller.id), span(question.left()));
        table.add_row([&question.id, &question.tool, question.risk.name(), &caller, &left, &arguments]);
    }
    if pending.is_empty() {
        print::note("no question waits");
    } else {
        print::out(print::rows(&table))?;
    }
    Ok(Exit::Ok)
}

fn show(filed: &Filed, as_json: bool) -> Result<Exit, Stop> {
    let question = &filed.question;
    if as_json {
        let shown = question.shown().lines;
        print::json(&json!({"ok": true, "state": state(&filed.state), "question": question, "shown": shown}))?;
        return Ok(Exit::Ok);
    }
    let look = Look { columns: print::columns(), colour: print::styled(print::BOLD) == print::BOLD };
    print::out(format!("{}  {}", question.id, state(&filed.state)))?;
    print::out(sheet(question, look).trim_end())?;
    if filed.state == State::Pending {
        let always = if question.always.is_some() { " [--always]" } else { "" };
        let others = if question.doing.is_some() { " or deny" } else { ", deny, edit or answer" };
        print::note(format!("toolpost approvals allow {}{always}{others}", question.id));
    }
    Ok(Exit::Ok)
}

async fn find(desk: &Desk, id: &str) -> Result<Filed, Stop> {
    let mut found = desk.find(id).await.map_err(Stop::internal)?;
    match (found.len(), found.pop()) {
        (1, Some(filed)) => Ok(filed),
        (0, _) => {
            Err(Stop::usage(format!("no question is known as `{id}`; `toolpost approvals list` has those that wait")))
        }
        (count, _) => Err(Stop::usage(format!("{count} questions begin with `{id}`; write more of it"))),
    }
}

fn pending(filed: Filed) -> Result<Filed, Stop> {
    if filed.state == State::Pending { Ok(filed) } else { Err(not_pending(&filed.question, &filed.state)) }
}

/// Nobody is let run by an answer that comes too late, and whoever gave it is told.
fn not_pending(question: &Question, at: &State) -> Stop {
    let words = format!("`{}` is not pending: {}; nothing was changed", question.id, state(at));
    Stop { exit: Exit::Policy, lines: vec![words] }
}

async fn answer(desk: &Desk, question: &Question, choice: Choice, as_json: bool) -> Result<Exit, Stop> {
    let unlasting = match &choice {
        Choice::AllowSession if !question.session => Some("the call has no session; allow it once"),
        Choice::AllowAlways if question.always.is_none() => Some("it cannot always be allowed; allow it once"),
        _ => None,
    };
    if let Some(why) = unlasting {
        return Err(Stop::usage(why));
    }
    let answer = Answer { choice, by: who("toolpost approvals") };
    match desk.answer(question, &answer).await.map_err(Stop::internal)? {
        Answered::Taken => {}
        Answered::NotPending(state) => return Err(not_pending(question, &state)),
        Answered::Changed => {
            let line = format!("`{}` is another question by now; nothing was changed", question.id);
            return Err(Stop { exit: Exit::Policy, lines: vec![line] });
        }
    }
    if as_json {
        print::json(&json!({"ok": true, "question": question.id, "answer": answer.masked()}))?;
    } else {
        print::out(format!("{}: {} {}", question.id, question.tool, words(&answer.choice)))?;
    }
    Ok(Exit::Ok)
}

fn state(state: &State) -> String {
    match state {
        State::Pending => "pending".into(),
        State::Answered(answer) => format!("{} by {}", words(&answer.choice), escaped(&answer.by)),
        State::Closed => "answered elsewhere, or nobody waits any more".into(),
        State::Expired => "expired".into(),
    }
}

/// The arguments as they are given here: some of them, all of them, or what comes out of the editor.
async fn edited(question: &Question, given: &ArgumentArgs) -> Result<Value, Stop> {
    if given.is_none() {
        let Some(editor) = editor::chosen() else {
            return Err(Stop::usage("no arguments are given, and neither VISUAL nor EDITOR names an editor"));
        };
        let text = editor::run(&editor, &editor::writable(&question.arguments)).await.map_err(Stop::usage)?;
        let edited = editor::parsed(&text, &question.arguments).map_err(Stop::usage)?;
        return edited.ok_or_else(|| Stop::usage("nothing was changed"));
    }
    let text = given.read(&[])?;
    let given_whole = given.is_whole();
    let given: Value = serde_json::from_str(&text).map_err(|error| Stop::usage(format!("this is no JSON: {error}")))?;
    let (Value::Object(given), false) = (&given, given_whole) else { return Ok(given) };
    let mut arguments = question.arguments.clone();
    if let Some(arguments) = arguments.as_object_mut() {
        for (key, value) in given {
            // The arguments that are shown are spelled with `_`; a tool's own spelling means the same.
            let shown = key.replace('-', "_");
            let key = if arguments.contains_key(&shown) { &shown } else { key };
            // A text stays one only where there was one.
            let was_text = arguments.get(key).is_none_or(|was| was.is_string() || was.is_null());
            let json = value.as_str().filter(|_| !was_text).and_then(|text| serde_json::from_str(text).ok());
            arguments.insert(key.clone(), json.unwrap_or_else(|| value.clone()));
        }
    }
    Ok(arguments)
}
