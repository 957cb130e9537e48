//! Arguments in a person's own editor.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use toolpost::core::check::approve::shown::escaped;

/// How often is looked whether the editor has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The most that is read back, in bytes.
const BYTES_MAX: u64 = 2 << 20;

/// The editor that the person has chosen.
pub(crate) fn chosen() -> Option<String> {
    ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty()))
}

/// Arguments as JSON for a person to change: what is left out is not there, and what cannot be seen is an escape of JSON.
pub(crate) fn writable(arguments: &Value) -> String {
    let mut arguments = arguments.clone();
    if let Some(members) = arguments.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    let text = serde_json::to_string_pretty(&arguments).unwrap_or_default();
    let seen = |c: char| c == '\n' || c == '\\' || escaped(c.encode_utf8(&mut [0; 4])).chars().eq([c]);
    let units = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
    text.chars().map(|c| if seen(c) { c.to_string() } else { units(c) }).collect()
}

/// The arguments in a text, unless they are still what they were.
pub(crate) fn parsed(text: &str, before: &Value) -> Result<Option<Value>, String> {
    let edited: Value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    if !edited.is_object() {
        return Err("this is no JSON object".into());
    }
    let unchanged = serde_json::from_str::<Value>(&writable(before)).is_ok_and(|before| before == edited);
    Ok((!unchanged).then_some(edited))
}

/// The editor as it runs; it ends with the question.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
            // It had no chance to leave the terminal as it found it.
            if let Ok(mut tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") {
                let _ = tty.write_all(b"\x1b[?1049l\x1b[?25h\r\n");
                let _ = Command::new("stty").arg("sane").stdin(tty).status();
            }
        }
    }
}

/// Lets a person change a text in the editor.
pub(crate) async fn run(editor: &str, text: &str) -> Result<String, String> {
    let fault = |error: std::io::Error| format!("`{editor}` cannot be used: {error}");
    let mut file = tempfile::Builder::new().prefix("toolpost-").suffix(".json").tempfile().map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(fault)?;
    let tty = || OpenOptions::new().read(true).write(true).open("/dev/tty").map(Stdio::from).map_err(fault);
    let mut command = Command::new("sh");
    // The editor may have options of its own.
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path());
    let child = command.stdin(tty()?).stdout(tty()?).stderr(tty()?).spawn().map_err(fault)?;
    let mut running = Running(child);
    let ended = loop {
        match running.0.try_wait().map_err(fault)? {
            Some(ended) => break ended,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    if !ended.success() {
        return Err(format!("`{editor}` has failed; nothing was changed"));
    }
    // Editors write another file under the same name.
    let file = std::fs::File::open(file.path()).map_err(fault)?;
    let mut edited = String::new();
    file.take(BYTES_MAX).read_to_string(&mut edited).map_err(fault)?;
    Ok(edited)
}
