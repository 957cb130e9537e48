#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Something that happens to a task.
#[derive(Clone, Debug)]
enum Step {
    Take { is_gone: bool },
    Touch { again: bool },
    Cancel { is_gone: bool },
    Ends(Kind),
    Later { seconds: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ended(ErrorKind, bool),
    Again,
    Lost,
    Interrupted,
}

fn step() -> impl Strategy<Value = Step> {
    let errors = [ErrorKind::Cancelled, ErrorKind::Trapped, ErrorKind::OutcomeUnknown];
    let kind = prop_oneof![
        (prop::sample::select(errors.to_vec()), any::<bool>()).prop_map(|(kind, is_final)| Kind::Ended(kind, is_final)),
        Just(Kind::Again),
        Just(Kind::Lost),
        Just(Kind::Interrupted),
    ];
    prop_oneof![
        4 => any::<bool>().prop_map(|is_gone| Step::Take { is_gone }),
        2 => any::<bool>().prop_map(|again| Step::Touch { again }),
        1 => any::<bool>().prop_map(|is_gone| Step::Cancel { is_gone }),
        4 => kind.prop_map(Step::Ends),
        1 => (0..40_u64).prop_map(|seconds| Step::Later { seconds }),
    ]
}

fn verdict(kind: Kind) -> Verdict {
    let ended = |kind| Ended::without_run(&CallError::new(kind, Stage::Run, "so it is"));
    match kind {
        Kind::Ended(kind, is_final) => Verdict::Ended { ended: ended(kind), is_final },
        Kind::Again => Verdict::Again { after: Duration::from_secs(1), refused: ended(ErrorKind::Busy) },
        Kind::Lost => Verdict::Lost,
        Kind::Interrupted => Verdict::Interrupted { ended: ended(ErrorKind::Cancelled) },
    }
}

proptest! {
    #[test]
    fn what_may_have_had_an_effect_never_ends_as_cancelled_nor_is_run_again_where_it_may_not(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let rules = Rules { reruns: 2, keep: Duration::from_secs(60), wait: Duration::from_secs(20) };
        let request = Request {
            id: crate::task::id::Ids::default().fresh(),
            tool: "work".into(),
            caller: Caller::default(),
            call: CallId::given("call_1"),
            traceparent: None,
            shown: String::new(),
            scope: "".into(),
            under: "".into(),
            created_ms: 0,
        };
        let (mut record, mut now, mut fence) = (Record::filed(request), 0, 0);
        let mut run = Run { fence: 0, changed_before: false };
        for step in steps {
            let next = match step {
                Step::Take { is_gone } => {
                    fence += 1;
                    let taker = Taker { host: HostId::of_text("h"), fence, under: "".into(), rules };
                    let (take, next) = take(&record, is_gone, &taker, now);
                    if take == Take::Run {
                        prop_assert!(record.effects == 0 || record.again, "{record:?}");
                        run = Run { fence, changed_before: record.effects > 0 };
                    }
                    next
                }
                Step::Touch { again } => {
                    let is_running = matches!(record.state, State::Running { .. });
                    let again = record.again && again;
                    is_running.then(|| Record { effects: record.effects + 1, again, ..record.clone() })
                }
                Step::Cancel { is_gone } => cancel(&record, is_gone, "bob", &rules, now),
                Step::Ends(kind) => end(&record, &run, &verdict(kind), &rules, now),
                Step::Later { seconds } => {
                    now += seconds * 1_000;
                    None
                }
            };
            let before = record.clone();
            record = next.unwrap_or(record);
            let how = record.ended().map(Ended::how);
            prop_assert!(how != Some(How::Cancelled) || record.effects == 0, "{before:?}\n{record:?}");
            prop_assert!(record.lost <= rules.reruns, "{before:?}\n{record:?}");
        }
    }
}
