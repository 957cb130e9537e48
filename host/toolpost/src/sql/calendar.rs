//! Days, times and moments as texts, and as the numbers that servers have for them.

/// Microseconds of a second, and of a day.
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// The day of a number of days since 1970, as `2026-11-22`.
pub(super) fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The time of a number of microseconds since midnight, as `08:30:00.25`.
pub(super) fn time(micros: i64) -> String {
    let (seconds, rest) = (micros.div_euclid(SECOND), micros.rem_euclid(SECOND));
    let plain = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest == 0 {
        return plain;
    }
    format!("{plain}.{rest:06}").trim_end_matches('0').to_owned()
}

/// The moment of a number of microseconds since 1970.
pub(super) fn timestamp(micros: i64) -> String {
    format!("{}T{}", date(micros.div_euclid(DAY)), time(micros.rem_euclid(DAY)))
}

/// The days since 1970 of a day.
pub(super) fn read_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(|part| digits(part, 2, 6));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days(year, month, day);
    // A day that its month does not have comes back as another one.
    (civil(days) == (year, month, day)).then_some(days)
}

/// The microseconds since midnight of a time.
pub(super) fn read_time(text: &str) -> Option<i64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.splitn(3, ':').map(|part| digits(part, 2, 2));
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    if hours > 23 || minutes > 59 || seconds > 59 || !(1..=9).contains(&rest.len()) {
        return None;
    }
    let micros = format!("{rest:0<6}").get(..6).and_then(|micros| digits(micros, 6, 6))?;
    Some(((hours * 60 + minutes) * 60 + seconds) * SECOND + micros)
}

/// The microseconds since 1970 of a moment, in UTC where it says its offset; and whether it does.
pub(super) fn read_timestamp(text: &str) -> Option<(i64, bool)> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest.get(..at)?, Some(rest.get(at..)?)),
        None => (rest, None),
    };
    let shift = match offset {
        None | Some("Z" | "z") => 0,
        Some(offset) => {
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            sign * read_time(offset.get(1..)?)?
        }
    };
    Some((read_date(date)? * DAY + read_time(time)? - shift, offset.is_some()))
}

fn digits(text: &str, least: usize, most: usize) -> Option<i64> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// Days since 1970, after Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day, after Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in ["1970-01-01", "2000-02-29", "1999-12-31", "0001-01-01", "9999-12-31", "1600-02-29"] {
            assert_eq!(read_date(text).map(date).as_deref(), Some(text));
        }
        for text in ["00:00:00", "23:59:59.999999", "08:30:00.25"] {
            assert_eq!(read_time(text).map(time).as_deref(), Some(text));
        }
        let moment = |text: &str| read_timestamp(text).map(|(micros, zoned)| (timestamp(micros), zoned));
        assert_eq!(moment("2026-11-22T08:30:00Z"), Some(("2026-11-22T08:30:00".into(), true)));
        assert_eq!(moment("2026-11-22 08:30:00.5+02:00"), Some(("2026-11-22T06:30:00.5".into(), true)));
        assert_eq!(moment("1969-12-31T23:59:59"), Some(("1969-12-31T23:59:59".into(), false)));
    }

    #[test]
    fn what_is_no_day_and_no_time_is_not_read() {
        for text in ["2026-02-30", "2026-13-01", "2026-1-1", "today", "", "2026-01-01x"] {
            assert_eq!(read_date(text), None, "{text}");
        }
        for text in ["24:00:00", "08:60", "8:30", "08:30:00.", "08:30:00.x", ""] {
            assert_eq!(read_time(text), None, "{text}");
        }
        assert_eq!(read_timestamp("2026-11-22"), None);
        assert_eq!(read_timestamp("2026-11-22T08:30:00 CET"), None);
    }
}
