//! Numbers as people read them. Pure.

use std::time::Duration;

/// Returns a count with its thousands apart: 1,234,567.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun, which takes an "s" unless there is one.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Returns an amount of bytes in powers of 1024, with three digits: 1.23 GiB.
pub fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if amount < 1024 {
        return format!("{amount} B");
    }
    let mut value = amount as f64 / 1024.0;
    let mut unit = 0;
    // 999.5 would be shown as "1000"; it belongs to the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Returns a rate: 21.3 MiB/s.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second.max(0.0) as u64))
}

/// Returns a time that has passed: 0.4 s, 41 s, 2 min 05 s, 3 h 12 min.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Returns a moment, given in microseconds: 0.8 ms, 3.4 ms, 120 ms, 1.2 s.
pub fn instant(microseconds: u64) -> String {
    let milliseconds = microseconds as f64 / 1000.0;
    match microseconds {
        0..100_000 => format!("{milliseconds:.1} ms"),
        100_000..1_000_000 => format!("{milliseconds:.0} ms"),
        _ => duration(Duration::from_micros(microseconds)),
    }
}

/// Returns a time to come, no more precise than it is known: 40 s, 3 min, 2 h 10 min.
pub fn estimate(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => "a few seconds".into(),
        10..90 => format!("{} s", seconds.div_ceil(10) * 10),
        90..3570 => format!("{} min", (seconds + 30) / 60),
        _ => {
            let tens = (seconds + 300) / 600;
            format!("{} h {:02} min", tens / 6, tens % 6 * 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, count, counted, duration, estimate, instant};

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(100), "100");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1000, "file"), "1,000 files");
        for (amount, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_048_575, "1.00 MiB"),
            (10 << 20, "10.0 MiB"),
            (812 << 20, "812 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(amount), shown);
        }
    }

    #[test]
    fn times_read_well() {
        let shown = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(shown(41), "41 s");
        assert_eq!(shown(125), "2 min 05 s");
        assert_eq!(shown(11_520), "3 h 12 min");
        assert_eq!(instant(3_410), "3.4 ms");
        assert_eq!(instant(120_400), "120 ms");
        assert_eq!(instant(1_200_000), "1.2 s");
        let about = |seconds| estimate(Duration::from_secs(seconds));
        assert_eq!(about(3), "a few seconds");
        assert_eq!(about(33), "40 s");
        assert_eq!(about(100), "2 min");
        assert_eq!(about(3590), "1 h 00 min");
        assert_eq!(about(7800), "2 h 10 min");
    }
}
