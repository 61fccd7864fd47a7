//! The limit of bytes a second. Knows nothing of frames.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often somebody who waits looks whether the run was stopped.
const LOOK: Duration = Duration::from_millis(200);
/// LIMIT: bytes of a slice, and how many seconds one takes at most.
const SLICE_BYTES: u64 = 16 * 1024;
const SLICE_SECONDS: u64 = 5;

/// The bandwidth limit: a token bucket that holds a tenth of a second.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: u64,
    free_at: Instant,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64) -> RateLimit {
        RateLimit {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Instant::now(),
        }
    }

    /// Writes slice by slice, so that the link is never silent for long.
    pub(super) fn write(
        &mut self,
        writer: &mut impl Write,
        bytes: &[u8],
        is_stopped: &AtomicBool,
    ) -> io::Result<()> {
        let most = self.bytes_per_second.saturating_mul(SLICE_SECONDS);
        for slice in bytes.chunks(most.min(SLICE_BYTES) as usize) {
            self.wait_for(slice.len(), is_stopped);
            writer.write_all(slice)?;
            writer.flush()?;
        }
        Ok(())
    }

    /// Waits until so many bytes may leave, or until the run is stopped: its last words are few.
    fn wait_for(&mut self, bytes: usize, is_stopped: &AtomicBool) {
        let now = Instant::now();
        let slack = Duration::from_millis(100);
        self.free_at = self.free_at.max(now.checked_sub(slack).unwrap_or(now));
        self.free_at += Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let until = self.free_at.checked_sub(slack).unwrap_or(now);
        while !is_stopped.load(Ordering::Relaxed)
            && let Some(wait) = until.checked_duration_since(Instant::now())
            && !wait.is_zero()
        {
            std::thread::sleep(wait.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::atomic::AtomicBool;

    use super::RateLimit;

    /// Keeps how much was written at once.
    struct Sizes(Vec<usize>);

    impl Write for Sizes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_slice_takes_longer_than_a_peer_waits() {
        for (rate, most) in [(1, 5), (200, 1000), (1 << 20, 16 * 1024)] {
            let mut sizes = Sizes(Vec::new());
            // A run that was stopped does not wait.
            let is_stopped = AtomicBool::new(true);
            let mut limit = RateLimit::new(rate);
            limit.write(&mut sizes, &[0; 40_000], &is_stopped).unwrap();
            assert_eq!(sizes.0.iter().sum::<usize>(), 40_000);
            assert_eq!(
                sizes.0.iter().max(),
                Some(&most),
                "at {rate} bytes a second"
            );
        }
    }
}
