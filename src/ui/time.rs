//! Durations and points in time, as people read and write them.

use jiff::Timestamp;

/// `15 ms`, `0.4 s`, `41 s`, `12:04`, `1:02:03`.
pub(crate) fn took(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..100 => format!("{ms} ms"),
        100..10_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

/// A rough duration: `3 s`, `38 m`, `1 h 25 m`.
pub(crate) fn about(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m", seconds.div_ceil(60)),
        _ => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// `2026-11-24 12:04:31Z`.
pub(crate) fn date(wall_ms: u64) -> String {
    stamp(wall_ms).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `12:04:31`, UTC.
pub(crate) fn clock(wall_ms: u64) -> String {
    stamp(wall_ms).strftime("%H:%M:%S").to_string()
}

/// `2026-11-24-120431`: a name for what was done then.
pub(crate) fn label(wall_ms: u64) -> String {
    stamp(wall_ms).strftime("%Y-%m-%d-%H%M%S").to_string()
}

/// RFC 3339 with milliseconds, for JSON.
pub(crate) fn rfc3339(wall_ms: u64) -> String {
    stamp(wall_ms)
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}

fn stamp(wall_ms: u64) -> Timestamp {
    i64::try_from(wall_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads `90s`, `10m`, `1h 30m`, `250ms`; milliseconds. `None` if it is not a duration.
pub(crate) fn parse_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail.trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases = [
            (400, "0.4 s", "1 s"),
            (41_000, "41 s", "41 s"),
            (724_000, "12:04", "13 m"),
            (5_100_000, "1:25:00", "1 h 25 m"),
        ];
        for (ms, exact, rough) in cases {
            assert_eq!((took(ms).as_str(), about(ms).as_str()), (exact, rough));
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        let cases = [
            ("90s", Some(90_000)),
            ("1h 30m", Some(5_400_000)),
            ("250 ms", Some(250)),
            ("10", None),
            ("", None),
            ("m", None),
            ("99999999999999999999s", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_ms(text), want, "{text}");
        }
    }
}
