//! Durations and sizes, as people write them.
//!
//! Owns the units. Must never know which key a value is for.

use std::time::Duration;

/// Reads "500ms", "30s", "15m", "1h" or "1d". `None` for anything else.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// Writes a duration in its largest unit without a rest, down to milliseconds.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        n if n.is_multiple_of(3_600_000) => format!("{}h", n / 3_600_000),
        n if n.is_multiple_of(60_000) => format!("{}m", n / 60_000),
        n if n.is_multiple_of(1000) => format!("{}s", n / 1000),
        n => format!("{n}ms"),
    }
}

/// Reads "20MiB" (binary) or "64 MB" (decimal), in bytes. `None` for anything else.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    // Far below 2^53 for every size that a key accepts, so nothing is rounded; more saturates and is refused there.
    Some((number * factor as f64) as u64)
}

/// Writes a number of bytes in its largest binary unit without a rest.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// Splits "64 MB" into 64 and "MB". Negative numbers and numbers without digits are none.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("15m", 900_000),
            ("15 min", 900_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "30 parsecs", "1h30", "1.2.3s", "\u{ff19}s", "1e3s", "99999999999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in [
            ("20MiB", 20 << 20),
            ("64 MB", 64_000_000),
            ("1.5 KiB", 1536),
            ("2kb", 2000),
            ("1GiB", 1 << 30),
            ("12b", 12),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "123", "-1 KiB", "20M", "20 furlongs", "1,5MB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(parse_size("99999999999999999999GiB"), Some(u64::MAX));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for milliseconds in [0, 1, 500, 1000, 1500, 60_000, 90_000, 3_600_000, 5_400_000] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1536, 20 << 20, 1 << 30, (1 << 30) + 1] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }
}
