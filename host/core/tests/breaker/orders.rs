//! Every order in which three callers can ask and end, with every end that each of them can come to. What a checker of
//! interleavings would try is just this: an operation is one critical section, and nothing happens between two of them.

use std::time::Duration;

use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{Outcome, Permit, StandardSettings, Status, TicketKind};

use super::{Bench, FAILURE, plain};

const CALLERS: usize = 3;
const ENDS: [Outcome; 3] = [Outcome::Success, FAILURE, Outcome::Abandoned];

/// All sequences in which each caller comes twice.
fn orders() -> Vec<Vec<usize>> {
    fn extend(order: &mut Vec<usize>, orders: &mut Vec<Vec<usize>>) {
        if order.len() == 2 * CALLERS {
            orders.push(order.clone());
            return;
        }
        for caller in 0..CALLERS {
            if order.iter().filter(|other| **other == caller).count() < 2 {
                order.push(caller);
                extend(order, orders);
                order.pop();
            }
        }
    }
    let mut orders = Vec::new();
    extend(&mut Vec::new(), &mut orders);
    orders
}

fn ends() -> impl Iterator<Item = [Outcome; CALLERS]> {
    (0..27).map(|number| [ENDS[number % 3], ENDS[number / 3 % 3], ENDS[number / 9]])
}

/// One caller's permit, with the generation that gave it.
type Held = Option<(Permit, u64)>;

fn ask(bench: &Bench, at_once: u32, held: &[Held]) -> Held {
    let permit = bench.breaker.acquire().ok()?;
    let generation = permit.generation();
    assert_eq!(generation, bench.show().generation);
    let is_twin = |held: &&Held| held.as_ref().is_some_and(|(_, other)| *other == generation);
    let probes = held.iter().filter(is_twin).count() as u32 + 1;
    assert!(permit.kind() == TicketKind::Normal || probes <= at_once, "(b) {probes} probes at once");
    Some((permit, generation))
}

fn end(bench: &Bench, (permit, generation): (Permit, u64), outcome: Outcome) {
    let before = bench.show();
    match outcome {
        Outcome::Abandoned => drop(permit),
        outcome => permit.finish(outcome),
    }
    let mut after = bench.show();
    assert_eq!(after.running + 1, before.running, "(d)");
    after.running = before.running;
    if generation != before.generation {
        assert_eq!(after.stale, before.stale + 1);
        after.stale = before.stale;
        assert_eq!(after, before, "(c)");
    } else if outcome != Outcome::Abandoned && after.generation == before.generation && before.status == Status::Closed
    {
        assert_eq!(after.counts.total, before.counts.total + 1, "(a)");
    }
}

fn check(settings: &StandardSettings, is_failing: bool) {
    for order in orders() {
        for ends in ends() {
            let bench = Bench::standard(settings.clone());
            if is_failing {
                bench.call(FAILURE);
            }
            let mut held: [Held; CALLERS] = [None, None, None];
            let mut has_asked = [false; CALLERS];
            for caller in &order {
                if !std::mem::replace(&mut has_asked[*caller], true) {
                    held[*caller] = ask(&bench, settings.probes_at_once, &held);
                } else if let Some(permit) = held[*caller].take() {
                    end(&bench, permit, ends[*caller]);
                }
            }
            let show = bench.show();
            assert_eq!(show.running, 0, "(d) {order:?} {ends:?}");
            let told: Vec<u64> = bench.heard.transitions().iter().map(|told| told.seq).collect();
            assert_eq!(told, (1..=show.generation).collect::<Vec<u64>>(), "(e) {order:?} {ends:?}");
            // Nothing is stuck: with no wait, the next call always finds a place.
            bench.call(Outcome::Success);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_three_callers_the_contract_holds() {
    let none = Span(Duration::ZERO);
    for (consecutive, probes_at_once, is_failing) in
        [(1, 1, true), (1, 2, true), (1, 3, true), (1, 1, false), (2, 1, true), (2, 2, false)]
    {
        let settings = StandardSettings {
            consecutive,
            probes_at_once,
            open: none,
            open_max: none,
            min_throughput: 100,
            ..plain()
        };
        check(&settings, is_failing);
    }
}
