//! Times of day in UTC as text: `2026-01-01T00:00:00Z`, and as openssl writes them.

use wiab_engine::text::rfc3339;

const DAY_S: u64 = 86_400;

/// Days since 1970-01-01 of a date; years count from March, so that the leap day ends one.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..10_000).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Unix time in milliseconds of a time in UTC; fractions of a second are dropped.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once(['T', ' '])?;
    let mut date = date.split('-').map(str::parse);
    let clock = clock.split('.').next().unwrap_or(clock);
    let mut clock = clock.split(':').map(str::parse);
    let mut next = || date.next()?.ok();
    let days = days(next()?, next()?, next()?)?;
    let mut next = || clock.next()?.ok();
    let (hour, minute, second): (u64, u64, u64) = (next()?, next()?, next()?);
    (hour < 24 && minute < 60 && second <= 60)
        .then(|| (days * DAY_S + hour * 3_600 + minute * 60 + second) * 1_000)
}

/// A Unix time in milliseconds, in UTC.
pub fn utc(wall_ms: u64) -> String {
    let text = rfc3339(wall_ms);
    // Kubernetes and the secrets' file count in seconds.
    text.split_once('.')
        .map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The day of a Unix time in milliseconds, in UTC: `2026-01-01`.
pub(crate) fn date(wall_ms: u64) -> String {
    utc(wall_ms).chars().take_while(|c| *c != 'T').collect()
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A Unix time in milliseconds as openssl writes it: `Jan  1 00:00:00 2026 GMT`.
pub(crate) fn openssl_time(wall_ms: u64) -> String {
    let text = utc(wall_ms);
    let number = |from: usize, to: usize| -> usize {
        let part = text.get(from..to).unwrap_or_default();
        part.parse().unwrap_or_default()
    };
    let month = MONTHS.get(number(5, 7).saturating_sub(1)).unwrap_or(&"");
    let clock = text.get(11..19).unwrap_or_default();
    format!(
        "{month} {:>2} {clock} {:04} GMT",
        number(8, 10),
        number(0, 4)
    )
}

/// Unix time in milliseconds of a time as openssl writes it.
pub(crate) fn parse_openssl(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [month, day, clock, year, "GMT"] = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|known| known == month)? + 1;
    parse_utc(&format!("{year}-{month:02}-{day:0>2}T{clock}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (text, wall_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000),
            ("2026-12-31T12:30:00Z", 1_798_720_200_000),
        ] {
            assert_eq!(parse_utc(text), Some(wall_ms), "{text}");
            assert_eq!(utc(wall_ms), text);
            assert_eq!(parse_openssl(&openssl_time(wall_ms)), Some(wall_ms));
        }
        assert_eq!(
            parse_utc("2026-01-01 00:00:00.25Z"),
            Some(1_767_225_600_000)
        );
        for bad in [
            "",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "1969-12-31T00:00:00Z",
            "aTbZ",
        ] {
            assert_eq!(parse_utc(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_dates() {
        for (ms, date) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_783_814_400_000, "2026-07-12"),
            (1_798_675_200_000, "2026-12-31"),
        ] {
            assert_eq!(super::date(ms), date);
        }
    }

    #[test]
    fn leap_days_are_days() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(unix_s * 1_000), text);
        }
    }

    #[test]
    fn days_have_their_names() {
        for (wall_ms, date) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_799_999, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_767_225_599_999, "2025-12-31"),
            (1_767_225_600_000, "2026-01-01"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(super::date(wall_ms), date);
        }
    }
}
