//! Moments as REST writes them: RFC 3339, UTC, milliseconds.

/// Milliseconds since 1970 as text, such as `2026-11-21T12:14:37.042Z`.
pub fn rfc3339(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": a year begins in March, so that the leap day is its
    // last; 719,468 days lie between 0000-03-01 and 1970-01-01, 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes, seconds) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", in_day % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_other_programs_agree_on() {
        // `date -u -d @SECONDS +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_263_277, "2026-11-21T12:14:37.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000), text);
        }
        assert_eq!(rfc3339(42), "1970-01-01T00:00:00.042Z");
    }

    #[test]
    fn the_text_of_a_later_moment_is_greater() {
        let mut former = rfc3339(0);
        for day in 1..80_000 {
            let next = rfc3339(day * 86_400_000);
            assert!(former < next, "{former} {next}");
            former = next;
        }
    }
}
