//! Small files: a bundle is checked as a whole, then each file lands by temp file and rename.
//! Knows nothing of large files.

use std::sync::Arc;

use super::TransferError;
use super::itemize::Way;
use super::place::Place;
use super::settle::OpenListing;
use super::target::{TargetPass, count};
use super::wire::message::{BundleFile, Outcome, Tag};
use crate::entry::Timestamp;
use crate::fs::extents::Ground;
use crate::fs::{Dir, Result, extents};
use crate::problem::{Problem, ProblemKind, Side};

/// A directory that stays open while files of one listing land.
type OpenPlace = (u64, Result<Option<Dir>>);

impl TargetPass<'_> {
    /// Lands the files of a bundle.
    pub fn land_bundle(
        &self,
        files: Vec<BundleFile>,
        tag: &Tag,
        body: &[u8],
    ) -> std::result::Result<(), TransferError> {
        if self.tree.key.tag(body) != *tag {
            return Err(TransferError::Protocol(
                "a bundle whose contents are not what was read",
            ));
        }
        let mut rest = body;
        let mut place: Option<OpenPlace> = None;
        for file in files {
            let open = self
                .tracker
                .get(file.want.seq)
                .filter(|open| open.answer(file.want.index));
            let open = open.ok_or(TransferError::Protocol("contents that nobody asked for"))?;
            if place.as_ref().is_none_or(|(seq, _)| *seq != file.want.seq) {
                place = Some((file.want.seq, self.open(&open.directory.path)));
            }
            let contents = match &file.outcome {
                Outcome::Whole { size, .. } => take(&mut rest, *size)?,
                Outcome::Same | Outcome::Differs | Outcome::Failed { .. } => &[],
            };
            if let Some((_, dir)) = &place {
                self.land_small(&open, file.want.index, dir, (&file.outcome, contents));
            }
            self.settle_one(&open);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(TransferError::Protocol("a bundle with bytes left over"))
        }
    }

    fn land_small(
        &self,
        open: &Arc<OpenListing>,
        index: u32,
        dir: &Result<Option<Dir>>,
        (outcome, contents): (&Outcome, &[u8]),
    ) {
        let landed = match (outcome, dir) {
            (Outcome::Whole { mtime, churned, .. }, Ok(Some(dir))) => {
                self.note_churn(open, index, *churned);
                self.write_small(open, index, dir, (contents, *mtime))
            }
            (Outcome::Whole { .. }, Ok(None)) => Ok(()),
            (Outcome::Whole { .. }, Err(error)) => Err(crate::fs::FsError {
                operation: error.operation.clone(),
                errno: error.errno,
            }),
            (Outcome::Same, _) => self.contents_are_same(open, index),
            (Outcome::Differs, _) => {
                self.would_land(open, index);
                Ok(())
            }
            (
                Outcome::Failed {
                    kind,
                    operation,
                    cause,
                },
                _,
            ) => {
                self.source_failed(open, index, *kind, (operation, cause));
                Ok(())
            }
        };
        if let (Err(error), Some(entry)) = (landed, open.entry(index)) {
            self.failed(&open.path_of(entry), &error);
            self.leader_failed(open, index);
        }
    }

    fn write_small(
        &self,
        open: &OpenListing,
        index: u32,
        dir: &Dir,
        (contents, mtime): (&[u8], Timestamp),
    ) -> Result<()> {
        let Some(entry) = open.entry(index) else {
            return Ok(());
        };
        let place = Place {
            dir,
            path: &open.directory.path,
        };
        let existing = if self.tree.policy.items {
            self.find_again(open, entry)?
        } else {
            None
        };
        let new = self.stage(place)?.create_file(entry.metadata.mode)?;
        let length = contents.len() as u64;
        if extents::write_sparse(new.file(), contents, 0, Ground::Hole)? < length {
            extents::set_size(new.file(), length)?;
        }
        let mut metadata = entry.metadata.clone();
        metadata.mtime = mtime;
        let id = self.publish_file(new, place, entry, &metadata)?;
        count(&self.counts.landed);
        self.item(Way::Sent, open, entry, existing.as_ref());
        self.leader_landed(open, entry, id);
        Ok(())
    }

    /// Counts what a dry run would have landed.
    pub fn would_land(&self, open: &OpenListing, index: u32) {
        let Some(entry) = open.entry(index) else {
            return;
        };
        let existing = self.open(&open.directory.path).ok().flatten();
        let existing = existing.and_then(|dir| self.existing(&dir, &entry.name).ok().flatten());
        count(&self.counts.landed);
        self.item(Way::Sent, open, entry, existing.as_ref());
        self.leader_landed(open, entry, existing.map(|existing| existing.id));
    }

    /// Reports a file that moved each time it was read. It landed nevertheless.
    pub fn note_churn(&self, open: &OpenListing, index: u32, churned: bool) {
        if let (true, Some(entry)) = (churned, open.entry(index)) {
            self.problem(Problem {
                side: Side::Source,
                kind: ProblemKind::Changed,
                path: open.path_of(entry).as_bytes().to_vec(),
                operation: "read".to_owned(),
                cause: "it changed while it was read".to_owned(),
            });
        }
    }

    /// Reports a file that the source could not read; another name of it may do better.
    pub fn source_failed(
        &self,
        open: &OpenListing,
        index: u32,
        kind: ProblemKind,
        (operation, cause): (&str, &str),
    ) {
        let Some(entry) = open.entry(index) else {
            return;
        };
        self.problem(Problem {
            side: Side::Source,
            kind,
            path: open.path_of(entry).as_bytes().to_vec(),
            operation: operation.to_owned(),
            cause: cause.to_owned(),
        });
        self.leader_failed(open, index);
    }
}

fn take<'b>(rest: &mut &'b [u8], size: u64) -> std::result::Result<&'b [u8], TransferError> {
    let split = usize::try_from(size)
        .ok()
        .and_then(|size| rest.split_at_checked(size));
    let (contents, after) = split.ok_or(TransferError::Protocol("a bundle that is too short"))?;
    *rest = after;
    Ok(contents)
}
