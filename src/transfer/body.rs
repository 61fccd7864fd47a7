//! Contents, read and sent: the source's answer to wants. Small files travel many to a frame;
//! large ones are `upload`'s. Knows nothing of the walk and of other passes.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::SMALL_FILE_LEN;
use super::delta::BasisPart;
use super::digest::DigestKey;
use super::stopwatch::{Activity, doing};
use super::upload::{LargeFile, failed, look_again, open_file, reopen};
use super::window::{Listed, SentListing, Window};
use super::wire::link::{FrameSender, LinkLost};
use super::wire::message::{Basis, BundleFile, Down, MAX_BUNDLE_FILES, Outcome, Want, WantId};
use crate::fs::{Dir, FsError, extents};
use crate::monitor::Counters;
use crate::relpath::Name;

/// How often a small file that moves while it is read is read again.
const READ_ATTEMPTS: u32 = 4;
/// Bytes of contents after which a bundle leaves.
const BUNDLE_LEN: usize = 512 * 1024;

/// Work for a body worker.
#[derive(Debug)]
pub enum Job {
    /// Small files of one directory.
    Small {
        /// Where they were listed.
        listing: Arc<SentListing>,
        /// Which of them.
        wants: Vec<Want>,
    },
    /// One large file.
    Large {
        /// Where it was listed.
        listing: Arc<SentListing>,
        /// Which file.
        want: Want,
        /// What the target tells about its basis.
        basis: Option<Receiver<BasisPart>>,
    },
}

/// What body workers share.
#[derive(Clone, Copy, Debug)]
pub struct BodySettings<'a> {
    /// The tree.
    pub root: &'a Dir,
    /// Whether contents are compared but never sent.
    pub dry_run: bool,
    /// For digests.
    pub key: &'a DigestKey,
    /// For frames.
    pub out: &'a FrameSender,
    /// For progress.
    pub counters: &'a Counters,
    /// For being stopped.
    pub window: &'a Window,
}

/// Answers jobs until there are no more.
pub fn serve(settings: BodySettings<'_>, jobs: &Receiver<Job>) -> Result<(), LinkLost> {
    let mut bundle = Bundle::default();
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => job,
            Err(_) => {
                // Nothing waits: what is gathered leaves now rather than full.
                bundle.send(settings)?;
                let Ok(job) = doing(Activity::Idle, || jobs.recv()) else {
                    return Ok(());
                };
                job
            }
        };
        if settings.window.is_stopped() {
            return Ok(());
        }
        match job {
            Job::Small { listing, wants } => send_small(settings, &listing, wants, &mut bundle)?,
            Job::Large {
                listing,
                want,
                basis,
            } => {
                bundle.send(settings)?;
                LargeFile {
                    settings,
                    want: WantId {
                        seq: listing.seq,
                        index: want.index,
                    },
                }
                .send(&listing, &want.basis, basis)?;
            }
        }
    }
}

/// Small files that wait to be sent together.
#[derive(Debug, Default)]
struct Bundle {
    files: Vec<BundleFile>,
    contents: Vec<u8>,
}

impl Bundle {
    fn add(&mut self, want: WantId, outcome: Outcome, contents: &[u8]) {
        self.files.push(BundleFile { want, outcome });
        self.contents.extend_from_slice(contents);
    }

    fn is_full(&self) -> bool {
        self.contents.len() >= BUNDLE_LEN || self.files.len() >= MAX_BUNDLE_FILES
    }

    /// WIRE[bundle]
    fn send(&mut self, settings: BodySettings<'_>) -> Result<(), LinkLost> {
        if self.files.is_empty() {
            return Ok(());
        }
        Counters::add(&settings.counters.body_bytes, self.contents.len() as u64);
        let message = Down::Bundle {
            files: std::mem::take(&mut self.files),
            tag: settings.key.tag(&self.contents),
        };
        let mut frame = settings.out.builder(&message, self.contents.len())?;
        frame.body().extend_from_slice(&self.contents);
        self.contents.clear();
        settings.out.send_built(frame)
    }
}

fn send_small(
    settings: BodySettings<'_>,
    listing: &Arc<SentListing>,
    wants: Vec<Want>,
    bundle: &mut Bundle,
) -> Result<(), LinkLost> {
    let dir = reopen(settings.root, listing);
    let mut buffer = Vec::new();
    for want in wants {
        let id = WantId {
            seq: listing.seq,
            index: want.index,
        };
        // The router has checked that the index names a regular file.
        let Some((name, listed)) = listing.file(want.index) else {
            continue;
        };
        let read = match &dir {
            Ok(dir) => read_small(dir, (name, listed), &mut buffer),
            Err(error) => Err(FsError {
                operation: error.operation.clone(),
                errno: error.errno,
            }),
        };
        match read {
            Ok(Some(outcome)) => {
                let (outcome, contents) = answer(settings, &want.basis, outcome, &buffer);
                bundle.add(id, outcome, contents);
            }
            Ok(None) => {
                bundle.send(settings)?;
                LargeFile { settings, want: id }.send(listing, &Basis::None, None)?;
            }
            Err(error) => bundle.add(id, failed(&error), &[]),
        }
        if bundle.is_full() {
            bundle.send(settings)?;
        }
    }
    Ok(())
}

/// Returns what is told of contents that were read, and how much of them has to travel.
fn answer<'c>(
    settings: BodySettings<'_>,
    basis: &Basis,
    outcome: Outcome,
    contents: &'c [u8],
) -> (Outcome, &'c [u8]) {
    let same =
        matches!(basis, Basis::Digest(digest) if *digest == settings.key.digest_of(contents));
    if same {
        (Outcome::Same, &[])
    } else if settings.dry_run {
        (Outcome::Differs, &[])
    } else {
        (outcome, contents)
    }
}

/// Reads a small file whole; `None` when it has grown too large for a bundle.
fn read_small(
    dir: &Dir,
    (name, listed): (&Name, &Listed),
    buffer: &mut Vec<u8>,
) -> Result<Option<Outcome>, FsError> {
    let mut attempt = 1;
    loop {
        let (file, before) = open_file(dir, name, listed)?;
        if before.size() > SMALL_FILE_LEN {
            return Ok(None);
        }
        buffer.resize(before.size() as usize, 0);
        let count = extents::read_at(&file, buffer, 0)?;
        buffer.truncate(count);
        let churned =
            before.has_churned(&look_again(&file, listed)?) || count as u64 != before.size();
        if !churned || attempt == READ_ATTEMPTS {
            return Ok(Some(Outcome::Whole {
                size: count as u64,
                mtime: before.mtime(),
                churned,
            }));
        }
        attempt += 1;
    }
}
