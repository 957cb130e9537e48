//! The terminal, while a question is on it. Whatever ends the question, the terminal is as it was before.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use crossterm::terminal;

use crate::question::Look;

/// How often the keyboard is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// For how long no key may come before keys count.
const QUIET: Duration = Duration::from_millis(150);

/// The columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// What is said when a question goes before it was answered here.
const GONE: &str = "no longer asked: it was answered elsewhere, has expired, or was called off";

pub(super) struct Screen {
    tty: File,
    raw: bool,
    closed: bool,
}

impl Screen {
    /// Opens the terminal, if there is one and this process has it.
    pub(super) fn open() -> Result<Self, String> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| "there is no terminal")?;
        if !is_in_front() {
            return Err("the terminal belongs to another program".into());
        }
        let mut screen = Screen { tty, raw: false, closed: false };
        screen.take_back().inspect_err(|_| screen.closed = true)?;
        Ok(screen)
    }

    pub(super) fn look(&self) -> Look {
        let columns = terminal::size().map_or(COLUMNS, |(columns, _)| usize::from(columns));
        let colour = !matches!(anstream::AutoStream::choice(&self.tty), anstream::ColorChoice::Never);
        Look { columns: if columns == 0 { COLUMNS } else { columns }, colour }
    }

    /// Writes; a line end also begins the next line.
    pub(super) fn say(&mut self, text: &str) -> Result<(), String> {
        let text = if self.raw { text.replace('\n', "\r\n") } else { text.to_owned() };
        let written = self.tty.write_all(text.as_bytes()).and_then(|()| self.tty.flush());
        written.map_err(|error| format!("the terminal cannot be written to: {error}"))
    }

    /// Waits for a key.
    pub(super) async fn key(&mut self) -> Result<KeyEvent, String> {
        loop {
            if let Some(key) = pressed()? {
                return Ok(key);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Forgets keys until none has come for a moment.
    pub(super) async fn forget_keys(&mut self) -> Result<(), String> {
        let mut quiet = Duration::ZERO;
        while quiet < QUIET {
            tokio::time::sleep(LOOK_EVERY).await;
            quiet = if pressed()?.is_some() { Duration::ZERO } else { quiet + LOOK_EVERY };
        }
        Ok(())
    }

    /// Gives the terminal to another program for a while.
    pub(super) fn lend(&mut self) -> Result<(), String> {
        self.raw = false;
        terminal::disable_raw_mode().map_err(|error| format!("the terminal cannot be set: {error}"))
    }

    pub(super) fn take_back(&mut self) -> Result<(), String> {
        terminal::enable_raw_mode().map_err(|error| format!("the terminal cannot be set: {error}"))?;
        self.raw = true;
        Ok(())
    }

    /// Says how it ended.
    pub(super) fn close(&mut self, words: &str) {
        let _ = self.say(&format!("\r\x1b[K  {words}\n"));
        self.closed = true;
    }

    /// Ends with the line that the person has written.
    pub(super) fn close_as_it_is(&mut self) {
        self.closed = true;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !self.closed {
            let _ = self.say(&format!("\r\x1b[K  {GONE}\n"));
        }
        if self.raw {
            let _ = terminal::disable_raw_mode();
        }
    }
}

fn pressed() -> Result<Option<KeyEvent>, String> {
    let lost = |error: std::io::Error| format!("the terminal cannot be read: {error}");
    while event::poll(Duration::ZERO).map_err(lost)? {
        match event::read().map_err(lost)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(Some(key)),
            _ => {}
        }
    }
    Ok(None)
}

/// Whether this process may use its terminal: one in the background would be stopped. Where nobody can tell, it may.
fn is_in_front() -> bool {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return true };
    // The fields behind the name in brackets: state, parent, group, session, terminal, the terminal's group.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    match (fields.get(2), fields.get(5)) {
        (Some(group), Some(in_front)) => group == in_front,
        _ => true,
    }
}
