//! A link that stands still for a while, or carries one way only. Cuts at every frame and single
//! bytes are proven in `pair`.

use std::fs;
use std::thread;
use std::time::Duration;

use instancesync::transfer::TransferError;

use crate::support::engine::{Job, Tap, open_tap};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none, in_memory, put};
use crate::support::seeds;

fn some_files() -> Places {
    let places = Places::within(in_memory());
    for number in 0..40 {
        let path = places
            .source
            .join(format!("directory-{}/{number}", number % 5));
        put(&path, &format!("content {number}"));
    }
    fs::write(places.source.join("large"), vec![7; 700_000]).unwrap();
    places
}

#[track_caller]
fn assert_same(places: &Places, context: &str) {
    let differences = diff(&Manifest::of(&places.source), &Manifest::of(&places.ours));
    assert_none(&differences, context);
}

/// A tap that stands still before each of its frames, for longer than anybody looks.
fn halting() -> Tap {
    Box::new(|_| {
        thread::sleep(Duration::from_millis(250));
        true
    })
}

#[test]
fn a_link_that_stands_still_again_and_again_gets_there() {
    for down in [true, false] {
        let places = some_files();
        let mut job = Job::new(&places.source, &places.ours);
        (job.down, job.up) = match down {
            true => (halting(), open_tap()),
            false => (open_tap(), halting()),
        };
        job.run().stats();
        assert_same(&places, &format!("down {down}"));
    }
}

/// Both ends of every frame and most bytes within: each way ends after any number of bytes.
#[test]
fn a_link_that_ends_after_any_byte_ends_the_run_and_the_next_completes() {
    // All of them with INSTANCESYNC_SEEDS=13; a number that no frame's length shares with.
    let stride = 13usize.checked_div(seeds(1).len()).unwrap_or(1).max(1);
    for down in [true, false] {
        for bytes in (0..).step_by(stride) {
            let places = Places::within(in_memory());
            for name in ["a", "b/c", "b/d"] {
                put(&places.source.join(name), name);
            }
            put(&places.ours.join("b/extra"), "x");
            let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
            match down {
                true => job.down_limit = Some(bytes),
                false => job.up_limit = Some(bytes),
            }
            let ran = job.run();
            let context = format!("down {down}, after {bytes} bytes: {:?}", ran.result);
            let is_through = ran.result.is_ok();
            assert!(
                is_through || matches!(ran.result, Err(TransferError::Link(_))),
                "{context}"
            );
            let again = Job::new(&places.source, &places.ours).deleting(u64::MAX);
            again.run().stats();
            assert_same(&places, &context);
            if is_through {
                // The least is what the messages of one pass are long.
                assert!(bytes > 60, "{context}");
                break;
            }
        }
    }
}

/// One direction ends in the middle of a frame while the other goes on.
#[test]
fn a_link_that_carries_one_way_only_ends_and_the_next_run_completes() {
    for down in [true, false] {
        for bytes in [0, 1, 4, 5, 30, 200, 1000, 40_000] {
            let places = some_files();
            let mut job = Job::new(&places.source, &places.ours);
            match down {
                true => job.down_limit = Some(bytes),
                false => job.up_limit = Some(bytes),
            }
            let ran = job.run();
            let context = format!("down {down}, after {bytes} bytes");
            match ran.result {
                Ok(_) => {}
                Err(TransferError::Link(_)) => {}
                Err(error) => panic!("{context}: {error:?}"),
            }
            Job::new(&places.source, &places.ours).run().stats();
            assert_same(&places, &context);
        }
    }
}
