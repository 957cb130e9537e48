//! What came of a batch, as a person reads it.

use std::time::Duration;

use toolpost::core::batch::{BatchReport, Step};

use crate::print::{self, DIM, GREEN, RED};

/// Steps of the critical path that are named one by one.
const STEPS_MAX: usize = 8;

/// Prints it beside the answers.
pub(super) fn print(report: &BatchReport) {
    let failed = report.failed.iter().map(|(kind, count)| format!("{RED}{count} {kind}{RED:#}"));
    let ok = format!("{GREEN}{} ok{GREEN:#}", report.ok);
    let ended: Vec<String> = std::iter::once(ok).chain(failed).collect();
    let calls = print::many(report.calls, "call");
    print::note(format!("\n{calls} in {}: {}", span(report.time), ended.join(", ")));
    let mut table = print::table(&["class", "calls", "failed", "waited", "at most", "ran", "at most"]);
    for (name, class) in &report.classes {
        table.add_row([
            (*name).to_owned(),
            class.calls.to_string(),
            class.failed.to_string(),
            span(class.waited),
            span(class.waited_max),
            span(class.ran),
            span(class.ran_max),
        ]);
    }
    if !table.is_empty() {
        print::note(print::rows(&table));
    }
    print::note(format!("{DIM}most at once:{DIM:#} {}", report.parallel));
    if report.asked > 0 {
        print::note(format!("{DIM}asked about:{DIM:#} {}", report.asked));
    }
    if !report.effects.is_empty() {
        let effects: Vec<String> = report.effects.iter().map(|(fate, count)| format!("{count} {fate}")).collect();
        print::note(format!("{DIM}effects:{DIM:#} {}", effects.join(", ")));
    }
    let is_long = report.critical_path.len() > 1 || report.critical_path.iter().any(|step| step.asked);
    if is_long {
        let mut steps: Vec<String> =
            report.critical_path.iter().enumerate().map(|(at, step)| way(at == 0, step)).collect();
        if steps.len() > STEPS_MAX {
            let left = steps.len() - STEPS_MAX;
            steps.splice(STEPS_MAX / 2..STEPS_MAX / 2 + left, [format!("({left} more)")]);
        }
        print::note(format!("{DIM}longest way:{DIM:#} {}", print::visible(&steps.join(" > "))));
    }
}

/// A step, with what it adds to the time of the batch. Before the first one nothing ran, so the wait for an answer adds to it.
fn way(is_first: bool, step: &Step) -> String {
    let asked = match (step.asked, is_first && step.judged > step.ran) {
        (true, true) => format!("asked {}, then ", span(step.judged)),
        (true, false) => "asked about, ".into(),
        (false, true) => format!("judged {}, then ", span(step.judged)),
        (false, false) => String::new(),
    };
    format!("{} {} {asked}{}", step.index + 1, step.tool, span(step.ran))
}

pub(super) fn span(span: Duration) -> String {
    match span.as_secs_f64() {
        seconds if seconds >= 60.0 => format!("{}m{:02}s", span.as_secs() / 60, span.as_secs() % 60),
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}
