//! The line against a scheduler that looks at everything anew each time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use toolpost_core::batch::line::Line;

use crate::model::{Modelled, call};

/// A call as the property tests know it.
#[derive(Clone, Debug)]
struct Job {
    call: Modelled,
    /// When it may run, and how long it then does.
    comes: u32,
    takes: u32,
    /// Whether it is refused when it comes, and never runs.
    refused: bool,
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let job = (call(), 0_u32..4, 1_u32..5, proptest::bool::weighted(0.1));
    let job = job.prop_map(|(call, comes, takes, refused)| Job { call, comes, takes, refused });
    proptest::collection::vec(job, 0..9)
}

/// When each job ran: from, and until.
type Ran = Vec<Option<(u32, u32)>>;

/// Runs the jobs in the line, one unit of time after the other.
fn in_line(jobs: &[Job], max_parallel: usize) -> Ran {
    let mut line = Line::new(max_parallel);
    for job in jobs.iter() {
        line.push(job.call.call.clone());
    }
    let mut ran: Ran = vec![None; jobs.len()];
    let mut left: BTreeSet<usize> = (0..jobs.len()).collect();
    for now in 0..1_000 {
        for index in left.clone() {
            let is_over = ran[index].is_some_and(|(_, until)| until == now);
            if is_over || jobs[index].refused && jobs[index].comes == now {
                line.ends(index);
                left.remove(&index);
            }
        }
        for (index, job) in jobs.iter().enumerate() {
            if job.comes == now && !job.refused {
                line.comes(index, None);
            }
        }
        for index in line.go() {
            assert!(ran[index].is_none(), "it goes once");
            ran[index] = Some((now, now + jobs[index].takes));
        }
        if left.is_empty() {
            return ran;
        }
    }
    panic!("it never ends: {ran:?}");
}

/// The same by brute force: whoever has come goes, the first of the batch first, if no earlier call in its way is still to end,
/// and there is room.
fn by_force(jobs: &[Job], max_parallel: usize) -> Ran {
    let mut ran: Ran = vec![None; jobs.len()];
    for now in 0..1_000 {
        let has_ended = |ran: &Ran, at: usize| match ran[at] {
            Some((_, until)) => until <= now,
            None => jobs[at].refused && jobs[at].comes <= now,
        };
        for index in 0..jobs.len() {
            let job = &jobs[index];
            if job.refused || job.comes > now || ran[index].is_some() {
                continue;
            }
            let in_the_way = |at: &usize| job.call.waits_for(&jobs[*at].call) && !has_ended(&ran, *at);
            let runs = |at: &usize| ran[*at].is_some_and(|(from, until)| from <= now && now < until);
            let running = (0..jobs.len()).filter(runs).count();
            let of_tool =
                (0..jobs.len()).filter(|at| runs(at) && jobs[*at].call.call.tool == job.call.call.tool).count();
            let is_free = running < max_parallel && job.call.call.room.is_none_or(|room| of_tool < room);
            if is_free && !(0..index).any(|at| in_the_way(&at)) {
                ran[index] = Some((now, now + job.takes));
            }
        }
    }
    ran
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_line_lets_calls_go_exactly_when_a_brute_force_scheduler_does(jobs in jobs(), max_parallel in 1_usize..5) {
        prop_assert_eq!(in_line(&jobs, max_parallel), by_force(&jobs, max_parallel));
    }

    #[test]
    fn calls_in_each_others_way_never_overlap_and_keep_their_order(jobs in jobs(), max_parallel in 1_usize..5) {
        let ran = in_line(&jobs, max_parallel);
        for later in 0..jobs.len() {
            for earlier in 0..later {
                if let (true, Some((_, until)), Some((from, _))) =
                    (jobs[later].call.waits_for(&jobs[earlier].call), ran[earlier], ran[later])
                {
                    prop_assert!(until <= from, "{earlier} until {until}, {later} from {from}");
                }
            }
        }
    }

    #[test]
    fn every_call_that_is_not_refused_runs(jobs in jobs(), max_parallel in 1_usize..5) {
        for (job, ran) in jobs.iter().zip(in_line(&jobs, max_parallel)) {
            prop_assert_eq!(ran.is_some(), !job.refused);
        }
    }

    /// An edit may turn a call into any other one while others run.
    #[test]
    fn what_was_edited_meanwhile_overlaps_nothing_in_its_way_keeps_its_order_and_waits_for_nothing_else(
        jobs in jobs(),
        edits in proptest::collection::vec(proptest::option::of(call()), 9),
        max_parallel in 1_usize..5,
    ) {
        let mut jobs: Vec<Job> = jobs.into_iter().map(|job| Job { refused: false, ..job }).collect();
        let mut line = Line::new(max_parallel);
        for job in jobs.iter() {
            line.push(job.call.call.clone());
        }
        let mut running: Vec<(usize, u32)> = Vec::new();
        let mut ended = BTreeSet::new();
        for now in 0..1_000 {
            running.retain(|(index, until)| {
                let is_over = *until == now;
                if is_over {
                    line.ends(*index);
                    ended.insert(*index);
                }
                !is_over
            });
            for index in 0..jobs.len() {
                if jobs[index].comes == now {
                    let edited = edits[index].clone().filter(|_| jobs[index].call.call.class.is_some());
                    if let Some(edited) = &edited {
                        jobs[index].call = edited.clone();
                    }
                    line.comes(index, edited.map(|edited| edited.call));
                }
            }
            for index in line.go() {
                for (other, _) in &running {
                    let (first, second) = (index.min(*other), index.max(*other));
                    let waits = jobs[second].call.waits_for(&jobs[first].call);
                    prop_assert!(!waits, "{index} goes while {other} runs");
                }
                let in_the_way = |at: &usize| !ended.contains(at) && jobs[index].call.waits_for(&jobs[*at].call);
                prop_assert_eq!((0..index).find(in_the_way), None, "{} goes before it", index);
                running.push((index, now + jobs[index].takes));
            }
            for index in 0..jobs.len() {
                let runs = |at: usize| running.iter().any(|(running, _)| *running == at);
                if jobs[index].comes > now || runs(index) || ended.contains(&index) {
                    continue;
                }
                let job = &jobs[index].call;
                let of_tool = running.iter().filter(|(at, _)| jobs[*at].call.call.tool == job.call.tool).count();
                let is_full = running.len() == max_parallel || job.call.room.is_some_and(|room| of_tool >= room);
                let before = (0..index).any(|at| !ended.contains(&at) && job.waits_for(&jobs[at].call));
                let behind = (index + 1..jobs.len()).any(|at| runs(at) && jobs[at].call.waits_for(job));
                prop_assert!(is_full || before || behind, "{index} waits for nothing");
            }
            if ended.len() == jobs.len() {
                return Ok(());
            }
        }
        prop_assert!(false, "{ended:?} of {} run", jobs.len());
    }
}
