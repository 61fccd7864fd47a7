//! Rates as people write them: a number and a unit. Pure.

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateRefused {
    /// No unit. rsync would take KiB, others bytes: a factor of 1024 is not guessed.
    #[error("the unit is missing")]
    NoUnit,
    /// A unit that is not known.
    #[error("the unit is not known")]
    Unit,
    /// No number before the unit.
    #[error("it does not start with a number")]
    Number,
    /// Less than a byte a second, or more than fits.
    #[error("it is out of range")]
    Range,
}

/// Returns the bytes a second that `text` means: 10M, 1.5GiB, 800KB, 5000B.
pub fn parse(text: &str) -> Result<u64, RateRefused> {
    let text = text.trim();
    let split = text
        .find(|letter: char| !(letter.is_ascii_digit() || letter == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| RateRefused::Number)?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return Err(RateRefused::NoUnit),
        "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(RateRefused::Unit),
    };
    let bytes = number * factor;
    // LIMIT: 2^53, up to which every integer has its own f64.
    if (1.0..=9_007_199_254_740_992.0).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(RateRefused::Range)
    }
}

#[cfg(test)]
mod tests {
    use super::{RateRefused, parse};

    #[test]
    fn reads_numbers_with_units() {
        for (text, bytes) in [
            ("10M", 10 << 20),
            ("1.5GiB", 3 << 29),
            ("800 KB", 800_000),
            ("5000b", 5000),
            ("2k", 2048),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_be_meant_otherwise() {
        for (text, refused) in [
            ("1000", RateRefused::NoUnit),
            ("10X", RateRefused::Unit),
            ("M", RateRefused::Number),
            ("1.2.3M", RateRefused::Number),
            ("", RateRefused::Number),
            ("-1M", RateRefused::Number),
            ("0M", RateRefused::Range),
            ("99999999999G", RateRefused::Range),
        ] {
            assert_eq!(parse(text), Err(refused), "{text}");
        }
    }
}
