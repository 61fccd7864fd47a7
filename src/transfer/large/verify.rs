//! The digest of a file as it lies in the stage. Knows nothing of what it should be.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use crate::fs::{Result, extents};
use crate::transfer::digest::{ContentHasher, DIGEST_BLOCK, DigestKey, Leaf};
use crate::transfer::spans::{Span, SpanReader};
use crate::transfer::stopwatch::{Activity, doing};
use crate::transfer::wire::message::Digest;

/// Returns the digest of what is on the target's disk file.
pub(super) fn read_back(file: &OwnedFd, size: u64, key: &DigestKey) -> Result<Digest> {
    let mut reader = SpanReader::new(file, size, DIGEST_BLOCK as u64);
    let mut hasher = ContentHasher::new(key);
    let mut offset = 0;
    while let Some(span) = reader.next(u64::MAX)? {
        match span {
            Span::Hole(length) => offset += length,
            Span::Data(bytes) => {
                hasher.add(offset, bytes);
                offset += bytes.len() as u64;
            }
        }
    }
    Ok(hasher.finish(size))
}

/// Returns the digest of a file whose leaves are known, but for the `patched` blocks, which are
/// read again.
pub(super) fn hash_patched(
    file: &OwnedFd,
    leaves: Vec<Leaf>,
    patched: BTreeSet<u64>,
    (size, key): (u64, &DigestKey),
) -> Result<Digest> {
    let mut hasher = ContentHasher::new(key);
    let mut leaves = leaves.into_iter().peekable();
    let mut block = vec![0; DIGEST_BLOCK];
    for number in patched {
        while let Some((before, leaf)) = leaves.next_if(|(other, _)| *other < number) {
            hasher.take_leaf(before, leaf);
        }
        leaves.next_if(|(other, _)| *other == number);
        let offset = number * DIGEST_BLOCK as u64;
        let count = doing(Activity::Read, || {
            extents::read_at(file, &mut block, offset)
        })?;
        hasher.add_block(number, block.get(..count).unwrap_or_default());
    }
    leaves.for_each(|(number, leaf)| hasher.take_leaf(number, leaf));
    Ok(hasher.finish(size))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::FileExt;

    use super::{hash_patched, read_back};
    use crate::transfer::digest::{ContentHasher, DIGEST_BLOCK, DigestKey};
    use crate::transfer::wire::message::DigestSecret;

    #[test]
    fn patched_blocks_are_read_and_the_others_believed() {
        let mut contents = vec![3u8; 5 * DIGEST_BLOCK + 77];
        contents[2 * DIGEST_BLOCK..3 * DIGEST_BLOCK].fill(0);
        let size = contents.len() as u64;
        let key = DigestKey::new(&DigestSecret::draw());
        let mut hasher = ContentHasher::keeping_leaves(&key);
        hasher.add(0, &contents);
        let (before, leaves) = hasher.finish_with_leaves(size);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&contents, 0).unwrap();
        // A block of data becomes zeros, one of zeros data, and the last one changes.
        file.write_all_at(&vec![0; DIGEST_BLOCK], DIGEST_BLOCK as u64)
            .unwrap();
        file.write_all_at(b"new", 2 * DIGEST_BLOCK as u64 + 9)
            .unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
        let file = OwnedFd::from(file);
        let digest = |patched: &[u64]| {
            hash_patched(
                &file,
                leaves.clone(),
                patched.iter().copied().collect(),
                (size, &key),
            )
            .unwrap()
        };
        assert_eq!(digest(&[]), before);
        assert_eq!(digest(&[1, 2, 5]), read_back(&file, size, &key).unwrap());
        assert_ne!(digest(&[1, 5]), read_back(&file, size, &key).unwrap());
    }
}
