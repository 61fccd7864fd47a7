//! Which passes a run makes, and when one more timestamp pass pays.
//!
//! Knows nothing of what a pass does.

use super::Manner;
use crate::cli::{HowArguments, PassChoice};
use crate::failure::Failure;
use crate::monitor::Pass;

/// LIMIT: timestamp passes that are chosen by their number. More would hide that a source never
/// holds still; the checksum pass ends it either way.
const MAX_CHOSEN: usize = 20;
/// LIMIT: timestamp passes that `auto` makes: each sends less than half of the one before, so the
/// fifth sends a sixteenth of what the first caught up with.
const MAX_AUTOMATIC: usize = 5;
/// LIMIT: a pass that sent no more than this has nothing to hand over to another: the logs of a
/// quiet machine are about as much.
const NOT_WORTH_A_PASS_BYTES: u64 = 4 << 20;

/// Whether more timestamp passes follow the first, before the checksum pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// None do.
    Never,
    /// As long as each leaves much less to the next.
    WhileItPays,
}

impl CatchUp {
    /// Resolves the flags: by itself for a staged clone.
    pub(super) fn resolve(how: &HowArguments, manner: Manner) -> CatchUp {
        match (how.passes.as_deref(), how.only) {
            (Some("auto"), _) => CatchUp::WhileItPays,
            (None, None) if manner == Manner::Staged => CatchUp::WhileItPays,
            _ => CatchUp::Never,
        }
    }

    /// Tells whether another timestamp pass pays, given what each one so far has sent: after a
    /// pass that sent less than half of the one before it, and more than 4 MiB.
    pub fn wants_another(self, sent_bytes: &[u64]) -> bool {
        let Some((last, before)) = sent_bytes.split_last() else {
            return self == CatchUp::WhileItPays;
        };
        let shrinks = before.last().is_none_or(|before| *last < before / 2);
        self == CatchUp::WhileItPays
            && sent_bytes.len() < MAX_AUTOMATIC
            && *last > NOT_WORTH_A_PASS_BYTES
            && shrinks
    }
}

/// Returns the passes in their order.
pub(super) fn resolve(how: &HowArguments) -> Result<Vec<Pass>, Failure> {
    let timestamp = match (how.only, how.passes.as_deref()) {
        (Some(PassChoice::Timestamp), _) => return Ok(vec![Pass::Timestamp]),
        (Some(PassChoice::Checksum), _) => return Ok(vec![Pass::Checksum]),
        (None, None | Some("auto")) => 1,
        (None, Some(text)) => number(text)?,
    };
    let mut passes = vec![Pass::Timestamp; timestamp];
    passes.push(Pass::Checksum);
    Ok(passes)
}

fn number(text: &str) -> Result<usize, Failure> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MAX_CHOSEN).contains(number))
        .ok_or_else(|| {
            let range = format!("write a number from 1 to {MAX_CHOSEN}, or auto");
            let failure = Failure::usage(format!("--passes {text}: it is no number of passes"));
            match text {
                "0" => failure.hint("--only checksum makes the checksum pass alone"),
                _ => failure.hint(range),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::CatchUp;

    #[test]
    fn catches_up_while_each_pass_leaves_much_less() {
        let mib = |sent: &[u64]| {
            let bytes: Vec<u64> = sent.iter().map(|mib| mib << 20).collect();
            CatchUp::WhileItPays.wants_another(&bytes)
        };
        for (sent, another) in [
            (&[][..], true),
            (&[1000], true),
            (&[4], false),
            (&[1000, 499], true),
            (&[1000, 500], false),
            (&[1000, 4], false),
            (&[1000, 400, 150, 50], true),
            (&[1000, 400, 150, 50, 20], false),
        ] {
            assert_eq!(mib(sent), another, "{sent:?}");
        }
        assert!(!CatchUp::Never.wants_another(&[1 << 40]));
        assert!(!CatchUp::Never.wants_another(&[]));
    }
}
