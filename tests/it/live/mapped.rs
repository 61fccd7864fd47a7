//! Writers that map their file into memory: the kernel moves the times of such a file when a page
//! is written for the first time since it was last on disk, and not again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::staged::passes;
use crate::support::engine::Job;
use crate::support::places::in_memory;

/// Maps a file and writes into it what it is told, a byte at a time.
const PROGRAM: &str = "
import mmap, sys
with open(sys.argv[1], 'r+b') as file:
    with mmap.mmap(file.fileno(), 0) as pages:
        for line in sys.stdin:
            at, value = line.split()
            pages[int(at)] = int(value)
            print('written', flush=True)
";
/// Longer than a file has to be left alone to be known by its times.
const REST: Duration = Duration::from_millis(2300);

/// A program that has a file mapped.
struct Mapper {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Mapper {
    /// Starts one; `None` without Python, or where memory is all that the file is in.
    fn start(test: &str, file: &Path) -> Option<Mapper> {
        let started = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let has_disk = rustix::fs::statfs(file).unwrap().f_type != 0x0102_1994;
        let Some(mut child) = started.ok().filter(|_| has_disk) else {
            println!("skipped {test}: it needs python3 and files on a disk");
            return None;
        };
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Mapper {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    fn write(&mut self, at: usize, value: u8) {
        writeln!(self.orders, "{at} {value}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "written\n");
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn what_is_written_through_a_mapping_between_two_passes_arrives_with_the_next() {
    let test = "what_is_written_through_a_mapping_between_two_passes_arrives_with_the_next";
    for staged in [false, true] {
        // What is written out of the target must not take the source along.
        let (place, target) = (tempfile::tempdir().unwrap(), in_memory());
        let length = 300_000;
        let file = place.path().join("mapped");
        fs::write(&file, vec![0; length]).unwrap();
        let Some(mut mapper) = Mapper::start(test, &file) else {
            return;
        };
        mapper.write(5000, 1);
        thread::sleep(REST);
        let mut job = Job::new(place.path(), target.path()).deleting(u64::MAX);
        job.policy.staged = staged.then(Vec::new);
        job.plans = passes();
        job.before_pass = Box::new(move |number| {
            if number == 2 {
                // The page may still be waiting for its disk.
                mapper.write(5000, 2);
                mapper.write(5007, 3);
            }
        });
        job.run().result.unwrap();
        let made = match staged {
            true => target.path().join(".instancesync/stage"),
            false => target.path().to_owned(),
        };
        let (there, here) = (
            fs::read(made.join("mapped")).unwrap(),
            fs::read(&file).unwrap(),
        );
        assert_eq!((there[5000], there[5007]), (2, 3), "staged {staged}");
        assert!(there == here);
    }
}
