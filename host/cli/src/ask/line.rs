//! One line of input, with a cursor that moves in it.

use crossterm::event::{KeyCode, KeyModifiers};
use toolpost::core::check::approve::shown::escaped;

use super::screen::Screen;

/// The longest line, in characters.
const CHARACTERS_MAX: usize = 64 << 10;

/// A text in the making, and where the cursor is in it.
struct Line {
    text: Vec<char>,
    at: usize,
}

/// Reads a line that begins as `text`; nothing where the person leaves it.
pub(super) async fn read(screen: &mut Screen, label: &str, text: String) -> Result<Option<String>, String> {
    let text: Vec<char> = text.chars().collect();
    let mut line = Line { at: text.len(), text };
    loop {
        let room = screen.look().columns.saturating_sub(label.chars().count() + 1).max(10);
        screen.say(&line.drawn(label, room))?;
        let key = screen.key().await?;
        match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Enter, _) => {
                screen.say("\n")?;
                return Ok(Some(line.text.into_iter().collect()));
            }
            (KeyCode::Esc, _) | (KeyCode::Char('c'), true) => {
                screen.say("\n")?;
                return Ok(None);
            }
            (code, control) => line.press(code, control),
        }
    }
}

impl Line {
    fn press(&mut self, code: KeyCode, control: bool) {
        match (code, control) {
            (KeyCode::Char('a'), true) | (KeyCode::Home, _) => self.at = 0,
            (KeyCode::Char('e'), true) | (KeyCode::End, _) => self.at = self.text.len(),
            (KeyCode::Char('u'), true) => {
                self.text.drain(..self.at);
                self.at = 0;
            }
            (KeyCode::Char('k'), true) => self.text.truncate(self.at),
            (KeyCode::Char(c), false) if self.text.len() < CHARACTERS_MAX => {
                self.text.insert(self.at, c);
                self.at += 1;
            }
            (KeyCode::Backspace, _) if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.at);
            }
            (KeyCode::Delete, _) if self.at < self.text.len() => drop(self.text.remove(self.at)),
            (KeyCode::Left, _) => self.at = self.at.saturating_sub(1),
            (KeyCode::Right, _) => self.at = (self.at + 1).min(self.text.len()),
            _ => {}
        }
    }

    /// The part of the line around the cursor that fits, and the cursor at its place.
    fn drawn(&self, label: &str, room: usize) -> String {
        let first = (self.at + 1).saturating_sub(room);
        let shown: String = self.text.iter().skip(first).take(room - 1).map(|c| visible(*c)).collect();
        let back = shown.chars().count() - (self.at - first);
        let back = if back > 0 { format!("\x1b[{back}D") } else { String::new() };
        format!("\r\x1b[K{label}{shown}{back}")
    }
}

/// A character, or a dot for one that cannot be seen or takes more than its place.
fn visible(c: char) -> char {
    if c == '\\' || escaped(c.encode_utf8(&mut [0; 4])).chars().eq([c]) { c } else { '·' }
}
