//! How fast does the line move, and when should one who finds no room come back?

use std::time::Duration;

use tokio::time::Instant;

/// What is measured is looked at when so many have gone, and no sooner than this,
const ENOUGH: u32 = 32;
const SOON: Duration = Duration::from_millis(100);

/// or when so much time has passed.
const LATE: Duration = Duration::from_secs(1);

/// What of it counts: the newest as much as all before.
const NEWEST: f64 = 0.5;

/// Who is told to come back is told a span between these; the last part of it is by chance, so that not all come back at once.
const COME_BACK_LEAST: Duration = Duration::from_secs(1);
const COME_BACK_MOST: Duration = Duration::from_secs(60);
const BY_CHANCE: f64 = 0.25;

/// The time between two that leave a line for a place, while there is a line.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    gone: u32,
    seconds_each: Option<f64>,
}

impl Pace {
    /// One leaves the line for a place.
    pub(super) fn step(&mut self, now: Instant) {
        let Some(since) = self.since else {
            (self.since, self.gone) = (Some(now), 0);
            return;
        };
        self.gone += 1;
        let span = now.saturating_duration_since(since);
        if span >= LATE || span >= SOON && self.gone >= ENOUGH {
            let each = span.as_secs_f64() / f64::from(self.gone);
            self.seconds_each = Some(self.seconds_each.map_or(each, |before| before + NEWEST * (each - before)));
            (self.since, self.gone) = (Some(now), 0);
        }
    }

    /// Nobody is in the line.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }

    /// How long it takes until so many have gone, as far as that is known.
    pub(super) fn time_of(&self, calls: f64) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds_each? * calls).ok()
    }
}

/// When to come back, where it would be one's turn after so long, as far as that is known.
pub(super) fn come_back(turn: Option<Duration>) -> Duration {
    let most = COME_BACK_MOST.div_f64(1.0 + BY_CHANCE);
    let span = turn.unwrap_or_default().clamp(COME_BACK_LEAST, most);
    span.mul_f64(1.0 + BY_CHANCE * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(span: u64) -> Duration {
        Duration::from_millis(span)
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_what_was_seen_while_there_was_a_line() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert_eq!(pace.time_of(1.0), None);
        for _ in 0..1_000 {
            now += ms(10);
            pace.step(now);
        }
        let seen = |pace: &Pace| pace.time_of(100.0).unwrap().as_millis();
        assert_eq!(seen(&pace), 1_000);
        pace.rest();
        now += Duration::from_secs(3_600);
        (0..2).for_each(|_| pace.step(now));
        assert_eq!(seen(&pace), 1_000, "an hour without a line says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_one_moment_are_not_a_pace_without_end() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..50 {
            now += ms(100);
            (0..64).for_each(|_| pace.step(now));
        }
        let seen = pace.time_of(640.0).unwrap();
        assert!((ms(900)..ms(1_200)).contains(&seen), "{seen:?}");
    }

    #[test]
    fn who_comes_back_comes_neither_at_once_nor_with_all_others() {
        let seconds = Duration::from_secs;
        for (turn, least, most) in [
            (None, ms(1_000), ms(1_250)),
            (Some(ms(1)), ms(1_000), ms(1_250)),
            (Some(seconds(8)), seconds(8), seconds(10)),
            (Some(seconds(1_000_000)), seconds(48), seconds(60)),
        ] {
            let told: Vec<Duration> = (0..100).map(|_| come_back(turn)).collect();
            assert!(told.iter().all(|told| (least..=most).contains(told)), "{turn:?}: {told:?}");
            assert!(told.iter().any(|other| *other != told[0]), "{turn:?}");
        }
    }
}
