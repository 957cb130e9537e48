//! What changed about a component, as a person reads it: red and a `+` where it can do more, green and a `-` where less.

use toolpost::core::catalog::grants::Way;
use toolpost::lock::{About, Change};

use crate::print::{self, BOLD, DIM, GREEN, RED, styled};

/// Whether the component can do more by it.
pub(crate) fn is_wider(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.way == Way::Wider)
}

/// A page about one component: a head, which says `more` where it can do more, and a line for each change under what it is
/// about.
pub(crate) fn page(name: &str, state: &str, more: &str, changes: &[Change]) -> String {
    let (bold, dim, red) = (styled(BOLD), styled(DIM), styled(RED));
    let more = if is_wider(changes) { format!("{red}{more}{red:#}") } else { String::new() };
    let mut lines = vec![format!("{bold}{}{bold:#} {state}{more}", print::words(name))];
    let mut above: Option<&Change> = None;
    for change in changes {
        let same = above.filter(|above| above.about == change.about);
        let about = if same.is_some() { "" } else { label(change.about) };
        let (style, mark) = match change.way {
            Way::Wider => (red, '+'),
            Way::Narrower => (styled(GREEN), '-'),
            Way::Other => (anstyle::Style::new(), ' '),
        };
        let words = match &change.tool {
            // Of several changes of a tool, the first one names it.
            Some(tool) if same.is_some_and(|above| above.tool == change.tool) => {
                format!("{}{}", " ".repeat(tool.len() + 2), change.words)
            }
            Some(tool) => format!("{tool}: {}", change.words),
            None if change.about == About::Digest => print::brief(&change.words),
            None => change.words.clone(),
        };
        lines.push(format!("  {dim}{about:8}{dim:#}{style}{mark} {}{style:#}", print::words(&words)));
        above = Some(change);
    }
    if matches!(changes, [change] if change.about == About::Digest) {
        lines.push("            what it asks for and what agents are told of it is the same".into());
    }
    lines.join("\n")
}

fn label(about: About) -> &'static str {
    match about {
        About::Digest => "file",
        About::Powers => "powers",
        About::Effect => "effect",
        About::Grants => "grants",
        About::Calls => "calls",
        About::Memory => "memory",
        About::Imports => "imports",
        About::Tools => "tools",
        About::Sheet => "lock",
    }
}
