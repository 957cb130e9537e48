//! A program on a terminal, as a person sits at it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::missing_panics_doc, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::time::Instant;

use crate::command;

/// How many characters a row of the terminal has.
pub const COLUMNS: usize = COLUMNS_OF_TERMINAL as usize;

const COLUMNS_OF_TERMINAL: u16 = 100;

/// A program on a terminal of its own, and what is on its screen.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn std::io::Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    _master: Box<dyn MasterPty + Send>,
}

impl Pty {
    /// Runs a line of shell in which `$T` is the binary.
    #[must_use]
    pub fn run(folder: &Path, script: &str) -> Self {
        Self::with(folder, script, &[])
    }

    /// The same, with these variables beside those that every program has.
    #[must_use]
    pub fn with(folder: &Path, script: &str, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 40, cols: COLUMNS_OF_TERMINAL, ..PtySize::default() };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut shell = CommandBuilder::new("sh");
        shell.args(["-c", script]);
        shell.cwd(folder);
        let binary = command(folder, &[]);
        shell.env("T", binary.get_program());
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            }
        }
        for name in ["VISUAL", "EDITOR"] {
            shell.env_remove(name);
        }
        shell.env("TERM", "xterm-256color");
        shell.env("USER", "ann");
        for (name, value) in environment {
            shell.env(name, value);
        }
        let child = pair.slave.spawn_command(shell).expect("started");
        drop(pair.slave);
        let [rows, columns] = [size.rows, size.cols].map(|count| NonZero::new(count).expect("not none"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut output, shown) = (pair.master.try_clone_reader().expect("a reader"), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("unpoisoned").process(&bytes[..read]);
            }
        });
        let keys = pair.master.take_writer().expect("a writer");
        Pty { child, keys, screen, _master: pair.master }
    }

    /// What is on the screen.
    #[must_use]
    pub fn text(&self) -> String {
        self.screen.lock().expect("unpoisoned").screen().contents()
    }

    /// Waits until that is on the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_all(&[text])
    }

    /// Waits until all of that is on the screen at once.
    pub fn wait_for_all(&self, texts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let shown = self.text();
            let Some(text) = texts.iter().find(|text| !shown.contains(**text)) else { return shown };
            assert!(begun.elapsed() < Duration::from_secs(30), "`{text}` does not come:\n{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the prompt, and until keys count.
    pub fn wait_for_prompt(&self) -> String {
        self.wait_for("[?] help")
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("pressed");
    }

    /// Waits for the end; the exit code, and what is on the screen.
    #[must_use]
    pub fn end(mut self) -> (u32, String) {
        let begun = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status.exit_code();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        // What it wrote last is on its way.
        std::thread::sleep(Duration::from_millis(200));
        (code, self.text())
    }
}
