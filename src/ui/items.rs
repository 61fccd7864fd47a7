//! The itemised list: changed entries, one per line, as `rsync -i` prints them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::progress::Progress;
use super::screen::{Screen, Stream};
use super::{Outcome, Sink, escape};
use crate::monitor::Event;
use crate::plan::Plan;

/// LIMIT: lines wait for the next tick up to this many bytes, so that moving the bars aside
/// is paid for once and not for every line.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// Collects lines and writes them to one stream.
pub struct ItemList {
    screen: Screen,
    stream: Stream,
    waiting: Mutex<String>,
}

impl ItemList {
    /// Makes an empty list.
    pub fn new(screen: &Screen, stream: Stream) -> ItemList {
        ItemList {
            screen: screen.clone(),
            stream,
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, waiting: &mut String) {
        if !waiting.is_empty() {
            self.screen.write(self.stream, waiting);
            waiting.clear();
        }
    }
}

impl Sink for ItemList {
    fn event(&self, event: &Event) {
        let mut waiting = self.waiting();
        if let Event::PassEnded(..) = event {
            self.flush(&mut waiting);
        } else if let Event::Item { change, path } = event {
            waiting.push_str(&line(change, path));
            waiting.push('\n');
            if waiting.len() >= MAX_WAITING_BYTES {
                self.flush(&mut waiting);
            }
        }
    }

    fn plan(&self, _plan: &Plan, _whole: bool) {}

    fn tick(&self, _progress: &Progress) {
        self.flush(&mut self.waiting());
    }

    fn finish(&self, _outcome: &Outcome) {
        self.flush(&mut self.waiting());
    }
}

/// Returns one line of the list; the root of the copy is shown as `./`.
pub fn line(change: &str, path: &[u8]) -> String {
    let path = if path.is_empty() { b"./" } else { path };
    format!("{change} {}", escape::name(path))
}
