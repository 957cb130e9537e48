//! Asks at the terminal whether something is to be done.

use crossterm::event::{KeyCode, KeyModifiers};

use super::line;
use super::screen::Screen;

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Yes,
    No,
    /// The whole is called off.
    Stop,
}

/// Asks for a key. What it is about is said before, unless the person has it on the screen already.
///
/// # Errors
/// There is nobody to ask.
pub(crate) async fn by_key(about: Option<&str>, question: &str) -> Result<Said, String> {
    let mut screen = Screen::open()?;
    if let Some(about) = about {
        screen.say(&format!("{about}\n"))?;
    }
    // Keys that were meant for something else are no answer.
    screen.forget_keys().await?;
    screen.say(&format!("  {question} [y/N] "))?;
    let key = screen.key().await?;
    let said = match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Said::Stop,
        KeyCode::Char('y' | 'Y') => Said::Yes,
        _ => Said::No,
    };
    screen.close(&format!("{question} {}", words(said)));
    Ok(said)
}

/// Asks for a `yes` that is written out: for what nobody should say without having read it.
///
/// # Errors
/// There is nobody to ask.
pub(crate) async fn in_full(question: &str) -> Result<Said, String> {
    let mut screen = Screen::open()?;
    screen.say(&format!("  {question}\n"))?;
    screen.forget_keys().await?;
    let said = match line::read(&mut screen, "  write yes: ", String::new()).await? {
        Some(text) if text.trim().eq_ignore_ascii_case("yes") => Said::Yes,
        Some(_) => Said::No,
        None => Said::Stop,
    };
    screen.close_as_it_is();
    Ok(said)
}

fn words(said: Said) -> &'static str {
    match said {
        Said::Yes => "yes",
        Said::No => "no",
        Said::Stop => "called off",
    }
}
