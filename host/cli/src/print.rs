//! What a person sees: data on standard output, all else on standard error, colour only on a terminal.

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::{Exit, Stop};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Writes a line of data, byte for byte.
///
/// # Errors
/// It cannot be written. A reader that went away, as `head` does, is no error: the command goes on to its own exit code.
pub(crate) fn out(line: impl std::fmt::Display) -> Result<(), Stop> {
    flow(line).map(drop)
}

/// As [`out`], for a command that has no end of its own: says whether somebody still reads.
pub(crate) fn flow(line: impl std::fmt::Display) -> Result<bool, Stop> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritten(&error)),
        Ok(()) => Ok(true),
    }
}

pub(crate) fn unwritten(error: &std::io::Error) -> Stop {
    Stop { exit: Exit::Internal, lines: vec![format!("the answer cannot be written to standard output: {error}")] }
}

/// A style for what goes to [`out`]: plain, unless standard output takes colours.
pub(crate) fn styled(style: Style) -> Style {
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => Style::new(),
        _ => style,
    }
}

/// Words of a tool or its author. On a terminal what would move the cursor or change colours is shown, not done.
pub(crate) fn words(text: &str) -> String {
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) { visible(text) } else { text.to_owned() }
}

/// So many of something, in words.
pub(crate) fn many<N: std::fmt::Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    format!("{count} {one}{}", if count == N::from(1) { "" } else { "s" })
}

/// What of a long text is for a page that a person reads, in characters; and of a hash. `--json` has all of it.
const BRIEF_MAX: usize = 300;
const HASH_MAX: usize = 12;

/// The beginning of a text, where it is long, and of the hashes in it.
pub(crate) fn brief(text: &str) -> String {
    let is_hash = |word: &str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = |word: &str| format!("{}..", word.get(..HASH_MAX).unwrap_or(word));
    let pieces = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|piece| {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_hash(word) { piece.replacen(word, &hash(word), 1) } else { piece.to_owned() }
    });
    let text: String = pieces.collect();
    match text.char_indices().nth(BRIEF_MAX) {
        Some((at, _)) => {
            let (begin, rest) = text.split_at(at);
            words(&format!("{begin}.. and {} more, with --json", bytes(rest.len() as u64)))
        }
        None => words(&text),
    }
}

/// A text with its control characters as visible escapes, but for line breaks and tabs.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() || is_bidi(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Characters that change the direction of the text behind them, and so what a reader takes it for.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes a line beside the data.
pub(crate) fn note(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr(), "{line}");
}

pub(crate) fn error(line: impl std::fmt::Display) {
    note(format!("{RED}error:{RED:#} {}", visible(&line.to_string())));
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Stop {
        exit: Exit::Internal,
        lines: vec![format!("the answer cannot be printed: {error}")],
    })?;
    out(words(&text))
}

/// A table without lines, as wide as the terminal.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.iter().map(|name| name.to_uppercase()));
    table
}

/// A table's text without the spaces that fill up its last column.
pub(crate) fn rows(table: &Table) -> String {
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The beginning of a text, with dots where it is cut.
pub(crate) fn cut(text: &str, characters_max: usize) -> String {
    let mut kept: String = text.chars().take(characters_max).collect();
    if kept.len() < text.len() {
        kept.push_str("...");
    }
    kept
}

/// The columns of the terminal, or as many as a page has.
pub(crate) fn columns() -> usize {
    crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns)).max(20)
}

/// The first sentence or line of a description.
pub(crate) fn summary(text: &str) -> String {
    let line = text.lines().take_while(|line| !line.trim().is_empty()).collect::<Vec<_>>().join(" ");
    match line.find(". ") {
        Some(end) => line.get(..=end).unwrap_or(&line).trim_end_matches('.').to_owned(),
        None => line.trim_end_matches('.').to_owned(),
    }
}

pub(crate) fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// How a spinner looks.
const SPINNER: &str = "{spinner} {msg} {elapsed:.dim}";

/// Shows on a terminal, once it [runs](run), that something goes on; elsewhere nothing.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(SPINNER) {
        bar.set_style(style);
    }
    bar
}

pub(crate) fn run(bar: &ProgressBar, message: String) {
    bar.set_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
}

/// Shows how far a tool is: with a bar, where it says how much there is in all.
pub(crate) fn far(bar: &ProgressBar, done: u64, total: Option<u64>, message: Option<&str>) {
    let message = plain(message.unwrap_or_default());
    let (template, message) = match total {
        Some(_) => ("{spinner} {bar:24} {pos}/{len} {msg} {elapsed:.dim}", message),
        None => (SPINNER, format!("{done} {message}").trim_end().to_owned()),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar.set_length(total.unwrap_or_default());
    bar.set_position(done);
    bar.set_message(message);
}

/// A tool's words on one line, without what would move the cursor or change the terminal.
pub(crate) fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible(&text)
}

/// Prints what the host logs: warnings always, more with `-v`.
pub(crate) fn listen(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "toolpost=info,toolpost_wasm=info,toolpost_core=warn,warn",
        2 => "toolpost=debug,toolpost_wasm=debug,toolpost_core=debug,info",
        _ => "debug",
    };
    // Each line names its call; what a span of the call bears would make it longer, and no clearer.
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},toolpost::span=off"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    let _ = subscriber.without_time().try_init();
}
