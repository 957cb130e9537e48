//! What came of a batch? Counts, waits and times for each class, what went wrong, what was done to the world, and the calls that
//! made it take as long as it did.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::class::Class;
use super::turn::Times;
use crate::effect::Fate;
use crate::tell::{Outcome, milliseconds};

/// What came of a batch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BatchReport {
    /// Its calls.
    pub calls: usize,
    /// Those that succeeded.
    pub ok: usize,
    /// Those that failed, by the kind of failure.
    pub failed: BTreeMap<&'static str, usize>,
    /// Its time so far.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// The time of all its calls, one after the other.
    #[serde(rename = "busy_ms", serialize_with = "milliseconds")]
    pub busy: Duration,
    /// The most calls that ran at once.
    pub parallel: usize,
    /// By class: `parallel`, `sequential`, `destructive`; `refused` for what could not be planned.
    pub classes: BTreeMap<&'static str, ClassReport>,
    /// Calls about which somebody was asked.
    pub asked: usize,
    /// Effects on the world, by what became of each.
    pub effects: BTreeMap<&'static str, u64>,
    /// From the first call to the last one: each could begin only when the one before it had ended. What the first was judged and
    /// all ran is together the time of the batch.
    pub critical_path: Vec<Step>,
    /// When each call did what, in their order.
    pub paces: Vec<Pace>,
}

/// The calls of one class.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClassReport {
    /// Calls.
    pub calls: usize,
    /// Those that failed.
    pub failed: usize,
    /// What they waited for their turns, together.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
    /// The longest of these waits.
    #[serde(rename = "waited_ms_max", serialize_with = "milliseconds")]
    pub waited_max: Duration,
    /// What they ran, together.
    #[serde(rename = "ran_ms", serialize_with = "milliseconds")]
    pub ran: Duration,
    /// The longest of these times.
    #[serde(rename = "ran_ms_max", serialize_with = "milliseconds")]
    pub ran_max: Duration,
}

/// A call on the critical path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its place in the order of the batch.
    pub index: usize,
    /// Its tool.
    pub tool: String,
    /// How long it was looked at, and asked about, before it could run: time of the batch where it waited for no other call.
    #[serde(rename = "judged_ms", serialize_with = "milliseconds")]
    pub judged: Duration,
    /// Whether somebody was asked about it, before it ran or while it did.
    pub asked: bool,
    /// How long it waited for its turn.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
    /// What it ran.
    #[serde(rename = "ran_ms", serialize_with = "milliseconds")]
    pub ran: Duration,
}

/// When a call did what.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pace {
    /// Its place in the order of the batch.
    pub index: usize,
    /// Its tool.
    pub tool: String,
    /// What came of it, in one word.
    pub outcome: &'static str,
    /// How long it was looked at, and asked about, before it could run.
    #[serde(rename = "judged_ms", serialize_with = "milliseconds")]
    pub judged: Duration,
    /// Whether somebody was asked about it, before it ran or while it did.
    pub asked: bool,
    /// How long it waited for its turn.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
    /// How long it ran, with the wait for a place in the host.
    #[serde(rename = "ran_ms", serialize_with = "milliseconds")]
    pub ran: Duration,
    /// The call for whose end it waited, if it waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<usize>,
}

/// A call that has ended, as far as it is kept: not its result.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    index: usize,
    tool: String,
    class: &'static str,
    outcome: &'static str,
    asked: bool,
    effects: BTreeMap<&'static str, u64>,
}

impl Ended {
    pub(super) fn of(index: usize, class: Option<Class>, outcome: &Outcome) -> Self {
        let mut effects = BTreeMap::new();
        for record in &outcome.report.effects {
            *effects.entry(fate(record.fate)).or_default() += 1;
        }
        if outcome.report.effects_unlisted > 0 {
            effects.insert("unlisted", outcome.report.effects_unlisted);
        }
        Ended {
            index,
            tool: outcome.tool.clone(),
            class: class.map_or("refused", |class| class.name()),
            outcome: outcome.name(),
            asked: outcome.report.decisions.iter().any(|decision| decision.question.is_some()),
            effects,
        }
    }
}

impl BatchReport {
    pub(super) fn of(begun: Instant, times: &[Times], ended: &[Ended]) -> Self {
        let mut report = BatchReport {
            calls: times.len(),
            time: times.iter().filter_map(|times| times.ended).max().unwrap_or(begun) - begun,
            parallel: most_at_once(times),
            ..BatchReport::default()
        };
        for call in ended {
            if let Some(times) = times.get(call.index) {
                report.count(call, pace(call, times));
            }
        }
        report.paces.sort_by_key(|pace| pace.index);
        report.critical_path = critical_path(times, &report.paces);
        report
    }

    fn count(&mut self, call: &Ended, pace: Pace) {
        let class = self.classes.entry(call.class).or_default();
        class.calls += 1;
        class.waited += pace.waited;
        class.waited_max = class.waited_max.max(pace.waited);
        class.ran += pace.ran;
        class.ran_max = class.ran_max.max(pace.ran);
        if call.outcome == "ok" {
            self.ok += 1;
        } else {
            class.failed += 1;
            *self.failed.entry(call.outcome).or_default() += 1;
        }
        self.asked += usize::from(call.asked);
        for (fate, number) in &call.effects {
            *self.effects.entry(fate).or_default() += number;
        }
        self.busy += pace.ran;
        self.paces.push(pace);
    }
}

fn pace(call: &Ended, times: &Times) -> Pace {
    let ended = times.ended.unwrap_or(times.added);
    let span = |from: Option<Instant>, to: Option<Instant>| match from {
        Some(from) => to.unwrap_or(ended).saturating_duration_since(from),
        None => Duration::ZERO,
    };
    Pace {
        index: call.index,
        tool: call.tool.clone(),
        outcome: call.outcome,
        judged: span(Some(times.added), times.came),
        asked: call.asked,
        waited: span(times.came, times.went),
        ran: span(times.went, Some(ended)),
        behind: times.behind,
    }
}

/// Back from the call that ended last, from each to the one whose end let it go.
fn critical_path(times: &[Times], paces: &[Pace]) -> Vec<Step> {
    let paces: HashMap<usize, &Pace> = paces.iter().map(|pace| (pace.index, pace)).collect();
    let ended = |(index, times): (usize, &Times)| times.ended.map(|ended| (ended, index));
    let last =
        times.iter().enumerate().filter_map(ended).max_by_key(|(ended, index)| (*ended, std::cmp::Reverse(*index)));
    let mut path = Vec::new();
    let mut at = last.map(|(_, index)| index);
    while let Some(index) = at {
        if let Some(pace) = paces.get(&index).copied() {
            let Pace { tool, judged, asked, waited, ran, .. } = pace.clone();
            path.push(Step { index, tool, judged, asked, waited, ran });
        }
        at = times.get(index).and_then(|times| times.behind);
    }
    path.reverse();
    path
}

fn most_at_once(times: &[Times]) -> usize {
    let went = times.iter().filter_map(|times| Some((times.went?, 1)));
    let ended = times.iter().filter(|times| times.went.is_some()).filter_map(|times| Some((times.ended?, -1)));
    let mut steps: Vec<(Instant, isize)> = went.chain(ended).collect();
    // Who ends at the moment at which another one goes does not run beside it.
    steps.sort_unstable();
    let mut running = 0_isize;
    let most = steps.into_iter().map(|(_, step)| {
        running += step;
        running
    });
    usize::try_from(most.max().unwrap_or(0)).unwrap_or(0)
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Done => "done",
        Fate::Failed => "failed",
        Fate::Refused => "refused",
        Fate::Indeterminate => "indeterminate",
    }
}
