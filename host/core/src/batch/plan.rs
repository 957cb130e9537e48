//! Which call waits for which? A call waits for the earlier ones that are in its way, and for no others.
//!
//! It is a pure function of the calls in their order: the same calls come to the same plan.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::class::{Class, Classes};
use super::touch::{self, Touch};
use crate::call::AcceptedCall;
use crate::catalog::Catalog;

/// A call, as far as a plan looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The name of its tool.
    pub tool: String,
    /// How it may run beside others. Nothing for a call that will be refused whatever comes before it.
    #[serde(flatten)]
    pub class: Option<Class>,
    /// What it touches.
    pub touches: Vec<Touch>,
    /// The calls of its tool that run at once, where that is limited.
    #[serde(skip)]
    pub room: Option<usize>,
}

/// Why a call waits for an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Both use something, and at least one of them may change it.
    Shares {
        /// What it is.
        what: String,
        /// Whether the earlier one may change it.
        earlier: bool,
        /// Whether the later one may.
        later: bool,
    },
    /// Both are of this group.
    Group(Arc<str>),
    /// One of them runs alone: the later one, or else the earlier one.
    Alone {
        /// Whether it is the later one.
        later: bool,
    },
}

/// A call waits for an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The earlier one.
    pub on: usize,
    /// Why.
    pub why: Why,
}

/// The calls of a batch, and which waits for which.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    calls: Vec<Planned>,
}

impl Planned {
    /// A call that will be refused: it is in nobody's way.
    #[must_use]
    pub fn refused(tool: impl Into<String>) -> Self {
        Planned { tool: tool.into(), class: None, touches: Vec::new(), room: None }
    }

    /// A call that its tool accepts.
    pub(crate) async fn of(call: &AcceptedCall, classes: &Classes, catalog: &Catalog) -> Self {
        let tool = &call.tool;
        let ways = tool.runner.ways(call).await;
        let touches = touch::of(call, ways.as_ref(), catalog);
        let room = if tool.guards.exclusive { Some(1) } else { tool.guards.parallel };
        Planned { tool: tool.name.clone(), class: Some(classes.of(tool)), touches, room }
    }

    /// Why it has to wait for an earlier one, if it has to.
    #[must_use]
    pub fn waits_for(&self, earlier: &Planned) -> Option<Why> {
        match (earlier.class.as_ref()?, self.class.as_ref()?) {
            (_, Class::Destructive) => return Some(Why::Alone { later: true }),
            (Class::Destructive, _) => return Some(Why::Alone { later: false }),
            (Class::Parallel { said: true }, _) | (_, Class::Parallel { said: true }) => return None,
            (Class::Sequential { group: Some(one) }, Class::Sequential { group: Some(two) }) if one == two => {
                return Some(Why::Group(one.clone()));
            }
            _ => {}
        }
        // Two that only read are not in each other's way, and most calls only read.
        let changes = |call: &Planned| call.touches.iter().any(|touch| touch.changes);
        if !changes(self) && !changes(earlier) {
            return None;
        }
        let pairs = self.touches.iter().flat_map(|later| earlier.touches.iter().map(move |earlier| (later, earlier)));
        let mut meeting = pairs.filter_map(|(later, earlier)| {
            let what = later.meets(earlier)?.to_owned();
            Some(Why::Shares { what, earlier: earlier.changes, later: later.changes })
        });
        meeting.next()
    }
}

impl Plan {
    /// Adds a call behind the others.
    pub fn push(&mut self, call: Planned) {
        self.calls.push(call);
    }

    /// The calls, in their order.
    #[must_use]
    pub fn calls(&self) -> &[Planned] {
        &self.calls
    }

    /// Whether the later one of two calls has to wait for the earlier one.
    pub(super) fn is_in_the_way(&self, earlier: usize, later: usize) -> bool {
        let both = self.calls.get(earlier).zip(self.calls.get(later));
        both.is_some_and(|(earlier, later)| later.waits_for(earlier).is_some())
    }

    /// Puts a call in the place of one that was edited.
    pub(super) fn edit(&mut self, index: usize, call: Planned) {
        if let Some(place) = self.calls.get_mut(index) {
            *place = call;
        }
    }

    /// For each call the earlier ones that it waits for, without those that one of these waits for already: what is left says the
    /// same, and can be read.
    #[must_use]
    pub fn edges(&self) -> Vec<Vec<Edge>> {
        let mut before: Vec<Vec<bool>> = Vec::with_capacity(self.calls.len());
        let mut all = Vec::with_capacity(self.calls.len());
        for (index, call) in self.calls.iter().enumerate() {
            let mut behind = vec![false; index];
            let mut edges = Vec::new();
            for (on, earlier) in self.calls.iter().enumerate().take(index).rev() {
                if behind.get(on) == Some(&true) {
                    continue;
                }
                let Some(why) = call.waits_for(earlier) else { continue };
                edges.push(Edge { on, why });
                let further = before.get(on).map(Vec::as_slice).unwrap_or_default();
                behind.iter_mut().zip(further).for_each(|(behind, further)| *behind |= further);
                if let Some(behind) = behind.get_mut(on) {
                    *behind = true;
                }
            }
            edges.reverse();
            all.push(edges);
            before.push(behind);
        }
        all
    }
}

impl Why {
    /// The reason in words, about the later call; `earlier` names the other one.
    #[must_use]
    pub fn words(&self, earlier: &str) -> String {
        match self {
            Why::Shares { what, earlier: true, later: true } => format!("both may change {what}"),
            Why::Shares { what, later: true, .. } => format!("it may change {what}, which {earlier} uses"),
            Why::Shares { what, .. } => format!("it uses {what}, which {earlier} may change"),
            Why::Group(group) => format!("both are of the group {group}"),
            Why::Alone { later: true } => "it runs alone".into(),
            Why::Alone { later: false } => format!("{earlier} runs alone"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words("the other"))
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
