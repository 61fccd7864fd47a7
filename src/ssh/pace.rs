//! How much is on its way to a process on a near target, where the channel would let through more
//! than is good.
//!
//! What a command has not read yet lies in a buffer of sshd that is allocated anew, copied and
//! wiped for each packet by which it grows. Filled up to the window of 2 MiB that takes 50 ms of
//! each login (OpenSSH 9.2, docs/decisions/022-near.md). Where answers come at once, an eighth of
//! it keeps the line as full. Knows nothing of what is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::session::Link;

/// How fast a target answers that is near: 256 KiB in each of these are 250 MB/s, and most answer
/// much faster.
const NEAR: Duration = Duration::from_millis(1);
/// How much may be on its way. OpenSSH grants anew as soon as 96 KiB were read.
const MOST_BYTES: usize = 256 * 1024;
/// How long a grant is waited for. One that does not come says that the process does not read at
/// the moment, or that another server gives none for so little; and the library drops what it tells
/// of one where it cannot keep up.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is on its way in one channel.
#[derive(Debug)]
pub(super) struct Pace {
    link: Arc<Link>,
    way: Mutex<Way>,
    is_granted: Notify,
}

#[derive(Debug, Default)]
struct Way {
    bytes: usize,
    /// The largest window that was seen, which is that of a channel with nothing on its way.
    widest: u32,
    /// How many grants there were. The first can be the window as such.
    grants: u64,
    is_unlimited: bool,
}

impl Pace {
    pub fn new(link: Arc<Link>) -> Pace {
        Pace {
            link,
            way: Mutex::default(),
            is_granted: Notify::new(),
        }
    }

    /// Takes note of the window after a grant. What waits within the library does not count in it,
    /// so that a little more than the limit can be on its way for a moment.
    pub fn note_window(&self, window: u32) {
        {
            let mut way = self.way();
            way.widest = way.widest.max(window);
            way.bytes = (way.widest - window) as usize;
            way.grants = way.grants.saturating_add(1);
        }
        self.is_granted.notify_one();
    }

    /// Waits until so many bytes more may go.
    pub async fn admit(&self, length: usize) {
        while !self.try_admit(length) {
            let granted = timeout(PATIENCE, self.is_granted.notified()).await;
            if granted.is_err() {
                return self.admit_late(length);
            }
        }
    }

    /// Lets go what waited in vain. A server that has granted so little before does so again when
    /// the process reads; for another the window alone is the limit.
    fn admit_late(&self, length: usize) {
        let mut way = self.way();
        way.is_unlimited = way.grants < 2;
        way.bytes = way.bytes.saturating_add(length);
    }

    fn try_admit(&self, length: usize) -> bool {
        let is_near = self.link.round_trip().is_some_and(|took| took < NEAR);
        let mut way = self.way();
        let is_admitted = !is_near || way.is_unlimited || way.bytes + length <= MOST_BYTES;
        if is_admitted {
            way.bytes = way.bytes.saturating_add(length);
        }
        is_admitted
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        // A panic elsewhere leaves it whole: every change is one assignment.
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 32 * 1024;

    fn pace(answer: Duration) -> Pace {
        let link = Link::default();
        link.note_answer(answer);
        Pace::new(Arc::new(link))
    }

    /// Returns how many packets may go now.
    fn admitted(pace: &Pace) -> usize {
        (0..100).take_while(|_| pace.try_admit(PACKET)).count()
    }

    #[test]
    fn a_near_target_gets_the_limit_and_as_much_again_as_it_grants() {
        let near = pace(Duration::from_micros(300));
        assert_eq!(admitted(&near), 8);
        let whole = 2 << 20;
        near.note_window(whole - 3 * PACKET as u32);
        assert_eq!(admitted(&near), 8, "what was read is not known at first");
        near.note_window(whole);
        assert_eq!(admitted(&near), 8);
        near.note_window(whole - 3 * PACKET as u32);
        assert_eq!(admitted(&near), 5);
    }

    #[test]
    fn another_target_gets_what_its_window_takes() {
        assert_eq!(admitted(&pace(NEAR)), 100);
        assert_eq!(admitted(&Pace::new(Arc::default())), 100, "not known yet");
    }

    #[tokio::test]
    async fn a_server_that_does_not_grant_is_not_waited_for_twice() {
        let near = pace(Duration::ZERO);
        near.note_window(2 << 20);
        for _ in 0..9 {
            near.admit(PACKET).await;
        }
        assert_eq!(admitted(&near), 100);
    }

    #[tokio::test]
    async fn a_process_that_does_not_read_for_a_while_is_paced_afterwards() {
        let near = pace(Duration::ZERO);
        for _ in 0..2 {
            near.note_window(2 << 20);
        }
        // Those grants are of the past.
        near.is_granted.notified().await;
        for _ in 0..9 {
            near.admit(PACKET).await;
        }
        assert_eq!(admitted(&near), 0);
        near.note_window(2 << 20);
        assert_eq!(admitted(&near), 8);
    }

    #[tokio::test]
    async fn a_grant_wakes_who_waits() {
        let near = Arc::new(pace(Duration::ZERO));
        assert_eq!(admitted(&near), 8);
        let waiting = tokio::spawn({
            let near = Arc::clone(&near);
            async move { near.admit(PACKET).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        near.note_window(2 << 20);
        waiting.await.unwrap();
        assert_eq!(admitted(&near), 7);
    }
}
