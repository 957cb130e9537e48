//! The line against a scheduler that looks at everything anew each time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use toolpost_core::batch::line::Line;
use toolpost_core::batch::{Class, Planned};

/// A call as the property tests know it.
#[derive(Clone, Debug)]
struct Job {
    call: Planned,
    /// When it may run, and how long it then does.
    comes: u32,
    takes: u32,
    /// Whether it is refused when it comes, and never runs.
    refused: bool,
}

/// What tools, and so what calls, there are. Touches are told apart by groups, so that a model needs no grants.
fn call() -> impl Strategy<Value = Planned> {
    let sequential = |group: &str| Some(Class::Sequential { group: Some(group.into()) });
    let classes = vec![
        Some(Class::Parallel { said: false }),
        Some(Class::Parallel { said: true }),
        sequential("a"),
        sequential("b"),
        Some(Class::Destructive),
        None,
    ];
    (select(classes), select(vec![("one", None), ("two", Some(1)), ("three", Some(2))]))
        .prop_map(|(class, (tool, room))| Planned { tool: tool.to_owned(), class, touches: Vec::new(), room })
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
        line.push(job.call.clone());
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
            let in_the_way = |at: &usize| job.call.waits_for(&jobs[*at].call).is_some() && !has_ended(&ran, *at);
            let runs = |at: &usize| ran[*at].is_some_and(|(from, until)| from <= now && now < until);
            let running = (0..jobs.len()).filter(runs).count();
            let of_tool = (0..jobs.len()).filter(|at| runs(at) && jobs[*at].call.tool == job.call.tool).count();
            let is_free = running < max_parallel && job.call.room.is_none_or(|room| of_tool < room);
            if is_free && !(0..index).any(|at| in_the_way(&at)) {
                ran[index] = Some((now, now + job.takes));
            }
        }
    }
    ran
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_line_lets_calls_go_exactly_when_a_brute_force_scheduler_does(jobs in jobs(), max_parallel in 1_usize..5) {
        prop_assert_eq!(in_line(&jobs, max_parallel), by_force(&jobs, max_parallel));
    }

    #[test]
    fn calls_in_each_others_way_never_overlap_and_keep_their_order(jobs in jobs(), max_parallel in 1_usize..5) {
        let ran = in_line(&jobs, max_parallel);
        for later in 0..jobs.len() {
            for earlier in 0..later {
                if let (Some(_), Some((_, until)), Some((from, _))) =
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
    fn what_was_edited_meanwhile_overlaps_nothing_in_its_way(
        jobs in jobs(),
        edits in proptest::collection::vec(proptest::option::of(call()), 9),
        max_parallel in 1_usize..5,
    ) {
        let mut jobs: Vec<Job> = jobs.into_iter().map(|job| Job { refused: false, ..job }).collect();
        let mut line = Line::new(max_parallel);
        for job in jobs.iter() {
        line.push(job.call.clone());
    }
        let mut running: Vec<(usize, u32)> = Vec::new();
        let mut left = jobs.len();
        for now in 0..1_000 {
            running.retain(|(index, until)| {
                let is_over = *until == now;
                if is_over {
                    line.ends(*index);
                    left -= 1;
                }
                !is_over
            });
            for index in 0..jobs.len() {
                if jobs[index].comes == now {
                    let edited = edits[index].clone().filter(|_| jobs[index].call.class.is_some());
                    if let Some(edited) = &edited {
                        jobs[index].call = edited.clone();
                    }
                    line.comes(index, edited);
                }
            }
            for index in line.go() {
                for (other, _) in &running {
                    let (first, second) = (index.min(*other), index.max(*other));
                    let why = jobs[second].call.waits_for(&jobs[first].call);
                    prop_assert!(why.is_none(), "{index} goes while {other} runs: {why:?}");
                }
                running.push((index, now + jobs[index].takes));
            }
            if left == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "{left} never run");
    }
}
