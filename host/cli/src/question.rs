//! A question as a person reads it: the call, what it can do, and every argument with nothing hidden.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use toolpost::core::Effect;
use toolpost::core::check::approve::shown::escaped;
use toolpost::core::check::approve::{Choice, Question, Risk};

const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// The narrowest that a text is wrapped to, in columns.
const COLUMNS_LEAST: usize = 20;

/// How a question is set.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) columns: usize,
    pub(crate) colour: bool,
}

impl Look {
    pub(crate) fn style(self, style: Style) -> Style {
        if self.colour { style } else { Style::new() }
    }
}

/// The question, line by line.
pub(crate) fn sheet(question: &Question, look: Look) -> String {
    let (bold, dim) = (look.style(Style::new().bold()), look.style(Style::new().dimmed()));
    let risky = look.style(if question.risk == Risk::High { RED } else { YELLOW });
    let mut sheet = format!(
        "{bold}{}{bold:#}  {risky}{}, {} risk{risky:#}\n",
        escaped(&question.tool),
        question.doing.as_ref().map_or(question.effect, |doing| doing.class).name(),
        question.risk.name(),
    );
    let mut fact = |name: &str, words: &str| {
        for (at, line) in wrap(words, look.columns.saturating_sub(10)).iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(sheet, "  {dim}{name:8}{dim:#}{line}");
        }
    };
    fact("caller", &caller(question));
    if !question.inside.is_empty() {
        fact(
            "through",
            &escaped(&[question.inside.as_slice(), std::slice::from_ref(&question.tool)].concat().join(" > ")),
        );
    }
    fact("powers", &if question.powers.is_empty() { "nothing".into() } else { escaped(&question.powers.join(", ")) });
    fact("digest", &escaped(&question.digest));
    if let Some(Effect { action, target, detail, .. }) = &question.doing {
        let detail = detail.as_ref().map_or_else(String::new, |detail| format!(" ({})", escaped(detail)));
        fact("does", &format!("{} {}{detail}", escaped(action), escaped(target)));
    }
    fact("why", &escaped(&question.why));
    question.casts.iter().for_each(|cast| fact("cast", cast));
    if let Some(fault) = &question.fault {
        fact("edited", &format!("the edit cannot be used: {}", escaped(fault)));
    }
    let shown = question.shown();
    if shown.lines.is_empty() {
        let _ = writeln!(sheet, "  {dim}without arguments{dim:#}");
    }
    for line in &shown.lines {
        for (at, part) in wrap(line, look.columns.saturating_sub(6)).iter().enumerate() {
            // A line that is broken here looks unlike one that begins here.
            let bar = if at == 0 { "│" } else { "┊" };
            let _ = writeln!(sheet, "  {dim}{bar}{dim:#} {part}");
        }
    }
    sheet
}

fn caller(question: &Question) -> String {
    let caller = &question.caller;
    let id = if caller.id.is_empty() { "nobody in particular".into() } else { escaped(&caller.id) };
    let groups = caller.groups.iter().map(|group| format!(", group {}", escaped(group)));
    let session = caller.session.iter().map(|session| format!(", session {}", escaped(session)));
    id + &groups.chain(session).collect::<String>()
}

/// Breaks a line that is wider than so many columns, so that the terminal does not. What is no ASCII may take two columns.
fn wrap(line: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(COLUMNS_LEAST);
    let (mut lines, mut width) = (vec![String::new()], 0);
    for c in line.chars() {
        let wide = if c.is_ascii() { 1 } else { 2 };
        if width + wide > columns {
            lines.push(String::new());
            width = 0;
        }
        width += wide;
        if let Some(last) = lines.last_mut() {
            last.push(c);
        }
    }
    lines
}

/// A time in words, in whole seconds.
pub(crate) fn span(span: std::time::Duration) -> String {
    humantime::format_duration(std::time::Duration::from_secs(span.as_secs())).to_string()
}

/// An answer in words.
pub(crate) fn words(choice: &Choice) -> &'static str {
    match choice {
        Choice::Allow => "allowed once",
        Choice::AllowSession => "allowed for the session",
        Choice::AllowAlways => "always allowed",
        Choice::Edit { .. } => "allowed as edited",
        Choice::Answer { .. } => "answered instead",
        Choice::Deny { .. } => "denied",
    }
}
