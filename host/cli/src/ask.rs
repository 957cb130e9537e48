//! Asks the person at the terminal. It talks to the terminal itself, so standard input can be the tool's arguments and
//! standard output its result; where there is no terminal, the next one is asked.

pub(crate) mod confirm;
pub(crate) mod editor;
mod line;
mod screen;

use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::Style;
use crossterm::event::{KeyCode, KeyModifiers};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Mutex;
use toolpost::core::check::approve::{Answer, Approver, Choice, Pass, Question};

use self::screen::Screen;
use crate::print;
use crate::question::{Look, sheet, span, words};

/// The person at the terminal.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    /// One question at a time.
    turn: Mutex<()>,
    /// Whether a question can be answered from another terminal.
    elsewhere: AtomicBool,
}

/// Who answers here.
pub(crate) fn who(how: &str) -> String {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    format!("{} ({how})", name.unwrap_or_else(|| "somebody".into()))
}

/// What the terminal calls itself.
pub(crate) const HERE: &str = "terminal";

impl Terminal {
    /// Says whether a question can be answered from another terminal.
    pub(crate) fn answered_elsewhere(&self, can: bool) {
        self.elsewhere.store(can, Ordering::Relaxed);
    }

    async fn prompt(&self, question: &Question) -> Result<Choice, String> {
        let _turn = self.turn.lock().await;
        let mut screen = Screen::open()?;
        let look = screen.look();
        let rule = look.style(Style::new().dimmed());
        let line = "─".repeat(look.columns.saturating_sub(24).min(76));
        screen.say(&format!("{rule}── {} {line}{rule:#}\n{}", title(question), sheet(question, look)))?;
        if self.elsewhere.load(Ordering::Relaxed) {
            let id = &question.id;
            let left = span(question.left());
            screen
                .say(&format!("  {rule}expires in {left}; from elsewhere: toolpost approvals show {id}{rule:#}\n"))?;
        } else {
            screen.say(&format!("  {rule}expires in {}{rule:#}\n", span(question.left())))?;
        }
        // Keys that were meant for something else are no answer.
        screen.forget_keys().await?;
        let choice = loop {
            screen.say(&menu(question, look))?;
            if let Some(choice) = choose(&mut screen, question).await? {
                break choice;
            }
        };
        screen.close(words(&choice));
        Ok(choice)
    }
}

impl Approver for Terminal {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        async move {
            match self.prompt(question).await {
                Ok(choice) => Ok(Answer { choice, by: who(HERE) }),
                Err(why) => {
                    if self.elsewhere.load(Ordering::Relaxed) {
                        let (id, left) = (&question.id, span(question.left()));
                        print::note(format!("waiting {left} for an answer: toolpost approvals show {id}"));
                    }
                    Err(Pass::new(HERE, why))
                }
            }
        }
        .boxed()
    }
}

/// The keys that mean something.
fn menu(question: &Question, look: Look) -> String {
    let key = look.style(Style::new().bold());
    let mut keys = vec![("a", "allow once")];
    if question.session {
        keys.push(("s", "for the session"));
    }
    if question.always.is_some() {
        keys.push(("A", "always"));
    }
    keys.extend(match question.doing {
        // It runs already: what it does can be allowed or not.
        Some(_) => vec![("d", "deny"), ("?", "help")],
        None => vec![("e", "edit"), ("d", "deny"), ("i", "answer instead"), ("?", "help")],
    });
    let keys = keys.iter().map(|(name, does)| format!("{key}[{name}]{key:#} {does}"));
    format!("  {} ", keys.collect::<Vec<_>>().join("  "))
}

/// One key, and what it asks for; nothing where it comes to nothing.
async fn choose(screen: &mut Screen, question: &Question) -> Result<Option<Choice>, String> {
    let key = screen.key().await?;
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Ok(Some(Choice::Deny { reason: Some("interrupted".into()) }));
    }
    Ok(match key.code {
        KeyCode::Char('a') => Some(Choice::Allow),
        KeyCode::Char('s') if question.session => Some(Choice::AllowSession),
        KeyCode::Char('A') if question.always.is_some() => always(screen).await?,
        KeyCode::Char('e') if question.doing.is_none() => edit(screen, question).await?,
        KeyCode::Char('d') => {
            screen.say("\n")?;
            let reason = line::read(screen, "  why, for the one who called (may be empty): ", String::new()).await?;
            reason.map(|reason| Choice::Deny { reason: Some(reason) })
        }
        KeyCode::Char('i') if question.doing.is_none() => {
            screen.say("\n")?;
            let result = line::read(screen, "  the result, as JSON or plain text: ", String::new()).await?;
            // What is no JSON is a text.
            let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
            result.map(|text| Choice::Answer { value: value(text) })
        }
        KeyCode::Char('?') => {
            screen.say(if question.doing.is_some() { HELP_EFFECT } else { HELP })?;
            None
        }
        _ => {
            screen.say("\r\x1b[K")?;
            None
        }
    })
}

const HELP: &str = "
  a  it runs now; the next call like it is asked about again
  s  it and every call exactly like it run until the session ends
  A  it and every call exactly like it run from now on: a rule is written into the store
  e  other arguments, which are judged like any call; what is denied stays denied
  d  it does not run, and the one who called is told why
  i  it does not run, and the one who called gets your result instead
  Ctrl-C is a denial; Esc leaves a line of input. A mask (***) stands for a secret.
";

const HELP_EFFECT: &str = "
  The call runs already, and waits before it does this.
  a  it does this now; the next time is asked about again
  s  this very thing is allowed until the session ends
  A  this very thing is allowed from now on: a rule is written into the store
  d  it does not do this, and is told so; what it does then is up to the tool
  Ctrl-C is a denial.
";

fn title(question: &Question) -> &'static str {
    if question.doing.is_some() { "may it do this?" } else { "may this call run?" }
}

async fn always(screen: &mut Screen) -> Result<Option<Choice>, String> {
    screen.say("\n  from now on exactly this is allowed without a question; are you sure? [y/N] ")?;
    let sure = matches!(screen.key().await?.code, KeyCode::Char('y' | 'Y'));
    if !sure {
        screen.say("no\n")?;
    }
    Ok(sure.then_some(Choice::AllowAlways))
}

async fn edit(screen: &mut Screen, question: &Question) -> Result<Option<Choice>, String> {
    screen.say("\n")?;
    let before = editor::writable(&question.arguments);
    let text = match editor::chosen() {
        Some(editor) => {
            screen.lend()?;
            let edited = editor::run(&editor, &before).await;
            screen.take_back()?;
            edited.map(Some)
        }
        None => Ok(line::read(screen, "  arguments: ", compact(&before)).await?),
    };
    let said = match text.map(|text| text.map(|text| editor::parsed(&text, &question.arguments))) {
        Ok(Some(Ok(Some(arguments)))) => return Ok(Some(Choice::Edit { arguments })),
        Ok(Some(Ok(None))) => "nothing was changed".into(),
        Ok(Some(Err(why))) | Err(why) => why,
        Ok(None) => return Ok(None),
    };
    screen.say(&format!("  {}\n", print::visible(&said)))?;
    Ok(None)
}

/// A JSON text on one line.
fn compact(text: &str) -> String {
    text.lines().map(str::trim_start).collect::<Vec<_>>().join(" ")
}
