//! When to compress: only where it pays, measured on the fly. Knows nothing of what is sent.

mod trial;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::trial::Trial;
use super::frame::Packing;

/// What the person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Where the link is slower than compressing.
    #[default]
    Auto,
    /// Whatever shrinks.
    Zstd,
    /// Never.
    Off,
}

/// LIMIT: a link faster than this (bytes a second; 1 Gbit/s) gains nothing from zstd level 1,
/// which packs about 500 MB/s a core at ratio 2 and shares its cores with the cipher.
const FAST_LINK: u64 = 120_000_000;
/// Below this packing pays for certain, and a stronger level too (bytes a second). Above it the
/// target may be what is slow, for which packing does nothing: it is tried out.
const SLOW_LINK: u64 = 12_000_000;
/// How much is written before the rate is believed, in bytes.
const ENOUGH: u64 = 4 << 20;
/// How much of a body is tried before all of it is compressed, in bytes.
const SAMPLE_LEN: usize = 16 * 1024;
/// Frames shorter than this go as they are, in bytes.
const SHORTEST: usize = 512;

/// Decides for each frame, from what the link's writer measured.
#[derive(Debug)]
pub struct Packer {
    compression: Compression,
    /// Bytes a second that the link cannot exceed, where that is known.
    ceiling: Option<u64>,
    written_bytes: AtomicU64,
    writing_nanos: AtomicU64,
    trial: Mutex<Trial>,
}

impl Packer {
    /// Starts without knowing more of the link than its `ceiling`, in bytes a second. What a far link
    /// takes at first only fills its windows and says nothing of its rate.
    pub fn new(compression: Compression, ceiling: Option<u64>) -> Packer {
        let is_slow = ceiling.is_some_and(|ceiling| ceiling <= FAST_LINK);
        Packer {
            compression,
            ceiling,
            written_bytes: AtomicU64::new(0),
            writing_nanos: AtomicU64::new(0),
            trial: Mutex::new(match is_slow {
                true => Trial::on_far_link(),
                false => Trial::new(),
            }),
        }
    }

    /// Notes that writing so much took so long.
    pub fn note_written(&self, bytes: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / 4);
        let written = self
            .written_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.writing_nanos.fetch_add(nanos, Ordering::Relaxed);
        if written > 8 * ENOUGH {
            // Forget half, so that a link that changes its speed is followed.
            self.written_bytes.fetch_sub(written / 2, Ordering::Relaxed);
            let nanos = self.writing_nanos.load(Ordering::Relaxed);
            self.writing_nanos.fetch_sub(nanos / 2, Ordering::Relaxed);
        }
    }

    /// Returns the measured rate in bytes a second, once enough was written.
    pub fn link_bytes_per_second(&self) -> Option<u64> {
        let written = self.written_bytes.load(Ordering::Relaxed);
        let nanos = self.writing_nanos.load(Ordering::Relaxed).max(1);
        let rate = u128::from(written) * 1_000_000_000 / u128::from(nanos);
        (written >= ENOUGH).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Chooses for a frame with this body.
    pub fn choose(&self, body: &[u8]) -> Packing {
        let measured = self.link_bytes_per_second();
        let rate = measured.into_iter().chain(self.ceiling).min();
        let pays = match self.compression {
            Compression::Off => false,
            Compression::Zstd => true,
            Compression::Auto => rate.is_some_and(|rate| self.pays(rate, body.len())),
        };
        if !pays || body.len() < SHORTEST || !shrinks(body) {
            return Packing::Plain;
        }
        let is_slow = rate.is_some_and(|rate| rate < SLOW_LINK);
        Packing::Zstd(if is_slow { 3 } else { 1 })
    }

    fn pays(&self, rate: u64, length: usize) -> bool {
        let mut trial = self.trial.lock().unwrap_or_else(PoisonError::into_inner);
        let is_better_packed = trial.take(length as u64, Instant::now());
        rate < SLOW_LINK || (rate <= FAST_LINK && is_better_packed)
    }
}

/// Tries a sample from the middle: archives and pictures do not shrink.
fn shrinks(body: &[u8]) -> bool {
    if body.len() <= 2 * SAMPLE_LEN {
        return true;
    }
    let start = (body.len() - SAMPLE_LEN) / 2;
    let sample = &body[start..start + SAMPLE_LEN];
    zstd::bulk::compress(sample, 1).is_ok_and(|packed| packed.len() < SAMPLE_LEN * 9 / 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Compression, Packer, Packing};

    #[test]
    fn compresses_on_a_slow_link_only_what_shrinks() {
        let text = vec![b'a'; 100_000];
        let mut noise = vec![0u8; 100_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let packer = Packer::new(Compression::Auto, None);
        assert_eq!(packer.choose(&text), Packing::Plain);
        packer.note_written(8 << 20, Duration::from_secs(1));
        assert_eq!(packer.choose(&text), Packing::Zstd(3));
        assert_eq!(packer.choose(&noise), Packing::Plain);
    }

    #[test]
    fn packs_from_the_first_frame_on_where_the_link_cannot_be_fast() {
        let text = vec![b'a'; 100_000];
        let choose = |ceiling| Packer::new(Compression::Auto, Some(ceiling)).choose(&text);
        assert_eq!(choose(80_000_000), Packing::Zstd(1));
        assert_eq!(choose(400_000_000), Packing::Plain);
        let packer = Packer::new(Compression::Auto, Some(80_000_000));
        packer.note_written(8 << 20, Duration::from_millis(10));
        assert_eq!(
            packer.choose(&text),
            Packing::Zstd(1),
            "only windows were filled"
        );
    }

    #[test]
    fn leaves_a_fast_link_alone() {
        let packer = Packer::new(Compression::Auto, None);
        packer.note_written(1 << 30, Duration::from_secs(1));
        assert_eq!(packer.choose(&[b'a'; 100_000]), Packing::Plain);
    }
}
