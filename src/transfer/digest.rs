//! Content digests and block sums: what says that two files hold the same bytes, wherever their
//! holes are. docs/protocol.md, [digest]. Knows nothing of files.

use twox_hash::XxHash3_64;

use super::wire::message::{Digest, SUM_LEN};
use crate::fs::extents::is_zero;

/// Bytes of a block of the content digest.
pub const DIGEST_BLOCK: usize = 128 * 1024;

/// A sum of one aligned block.
pub type Sum = [u8; SUM_LEN];

/// The hash of one block of the content digest that is not all zeros.
pub type Leaf = (u64, blake3::Hash);

/// Builds the content digest from stretches in rising order; what is skipped is zeros.
/// WIRE[digest]
#[derive(Debug, Default)]
pub struct ContentHasher {
    state: blake3::Hasher,
    block: Vec<u8>,
    number: u64,
    /// All leaves so far, where they are kept.
    leaves: Option<Vec<Leaf>>,
}

impl ContentHasher {
    /// Starts one that keeps the leaves, 40 bytes for each block.
    pub fn keeping_leaves() -> ContentHasher {
        ContentHasher {
            leaves: Some(Vec::new()),
            ..ContentHasher::default()
        }
    }

    /// Adds bytes at `offset`, which must not be before the end of what was added already.
    pub fn add(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let number = offset / DIGEST_BLOCK as u64;
            let within = (offset % DIGEST_BLOCK as u64) as usize;
            if number != self.number {
                self.close_block();
                self.number = number;
            }
            let count = bytes.len().min(DIGEST_BLOCK - within);
            let (now, later) = bytes.split_at(count);
            if count == DIGEST_BLOCK {
                self.take_block(number, now);
            } else {
                self.block.resize(within, 0);
                self.block.extend_from_slice(now);
            }
            offset += count as u64;
            bytes = later;
        }
    }

    /// Adds a whole block of the digest and returns its sum: hashed once for both.
    pub fn add_block(&mut self, number: u64, block: &[u8]) -> Sum {
        self.close_block();
        self.number = number;
        let block = trim_zeros(block);
        if block.is_empty() {
            return [0; SUM_LEN];
        }
        let leaf = blake3::hash(block);
        self.take_leaf(number, leaf);
        head_of(&leaf)
    }

    /// Adds the hash of a block that was hashed before.
    pub fn take_leaf(&mut self, number: u64, leaf: blake3::Hash) {
        self.state.update(&number.to_le_bytes());
        self.state.update(leaf.as_bytes());
        if let Some(leaves) = &mut self.leaves {
            leaves.push((number, leaf));
        }
    }

    fn take_block(&mut self, number: u64, block: &[u8]) {
        let block = trim_zeros(block);
        if !block.is_empty() {
            self.take_leaf(number, blake3::hash(block));
        }
    }

    fn close_block(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        self.take_block(self.number, &block);
        block.clear();
        self.block = block;
    }

    /// Returns the digest of a file of `size` bytes.
    pub fn finish(self, size: u64) -> Digest {
        self.finish_with_leaves(size).0
    }

    /// Returns the digest and the leaves, in rising order; none where they were not kept.
    pub fn finish_with_leaves(mut self, size: u64) -> (Digest, Vec<Leaf>) {
        self.close_block();
        self.state.update(&size.to_le_bytes());
        let digest = *self.state.finalize().as_bytes();
        (digest, self.leaves.unwrap_or_default())
    }
}

/// A block counts without its closing zeros: a hole that follows data in the block is the same
/// content as zeros that were written.
fn trim_zeros(block: &[u8]) -> &[u8] {
    if is_zero(block) {
        return &[];
    }
    let length = block
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &block[..length]
}

/// Returns the digest of contents in memory.
pub fn digest_of(contents: &[u8]) -> Digest {
    let mut hasher = ContentHasher::default();
    hasher.add(0, contents);
    hasher.finish(contents.len() as u64)
}

/// Returns the sum of one aligned block that is no block of the digest. It only finds what is the
/// same: the digest says in the end whether it was. WIRE[sums]
pub fn quick_sum_of(block: &[u8]) -> Sum {
    let block = trim_zeros(block);
    if block.is_empty() {
        return [0; SUM_LEN];
    }
    XxHash3_64::oneshot(block).to_le_bytes()
}

fn head_of(leaf: &blake3::Hash) -> Sum {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&leaf.as_bytes()[..SUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::{ContentHasher, DIGEST_BLOCK, digest_of, quick_sum_of};

    #[test]
    fn a_hole_and_zeros_have_the_same_digest() {
        let mut contents = vec![0u8; 3 * DIGEST_BLOCK + 77];
        contents[5] = 1;
        contents[2 * DIGEST_BLOCK + 9] = 2;
        let mut sparse = ContentHasher::default();
        sparse.add(4, &[0, 1]);
        sparse.add(2 * DIGEST_BLOCK as u64 + 9, &[2, 0, 0]);
        assert_eq!(sparse.finish(contents.len() as u64), digest_of(&contents));
    }

    #[test]
    fn blocks_and_stretches_and_leaves_give_one_digest() {
        let mut contents = vec![7u8; 3 * DIGEST_BLOCK + 5];
        contents[DIGEST_BLOCK - 100..2 * DIGEST_BLOCK + 3].fill(0);
        let mut hasher = ContentHasher::keeping_leaves();
        for (number, block) in contents.chunks(DIGEST_BLOCK).enumerate() {
            hasher.add_block(number as u64, block);
        }
        let mut again = ContentHasher::default();
        let (_, leaves) = hasher.finish_with_leaves(contents.len() as u64);
        for (number, leaf) in leaves {
            again.take_leaf(number, leaf);
        }
        assert_eq!(again.finish(contents.len() as u64), digest_of(&contents));
    }

    #[test]
    fn a_quick_sum_does_not_see_closing_zeros() {
        assert_eq!(quick_sum_of(b"ab"), quick_sum_of(b"ab\0\0"));
        assert_ne!(quick_sum_of(b"ab"), quick_sum_of(b"\0ab"));
        assert_eq!(quick_sum_of(&[0; 4096]), [0; 8]);
    }

    #[test]
    fn length_place_and_contents_all_count() {
        let base = digest_of(b"ab");
        for other in [&b"ab\0"[..], b"ba", b"a", b"", b"\0ab"] {
            assert_ne!(digest_of(other), base);
        }
        let mut late = vec![0u8; DIGEST_BLOCK];
        late.extend_from_slice(b"ab");
        let mut later = vec![0u8; 2 * DIGEST_BLOCK];
        later.extend_from_slice(b"ab");
        assert_ne!(digest_of(&late), digest_of(&later));
    }

    #[test]
    fn stretches_of_any_size_give_the_same_digest() {
        let contents: Vec<u8> = (0..DIGEST_BLOCK * 2 + 1000)
            .map(|at| (at % 251) as u8)
            .collect();
        for step in [1000, 4096, DIGEST_BLOCK - 1, DIGEST_BLOCK + 1] {
            let mut hasher = ContentHasher::default();
            for (number, part) in contents.chunks(step).enumerate() {
                hasher.add((number * step) as u64, part);
            }
            assert_eq!(
                hasher.finish(contents.len() as u64),
                digest_of(&contents),
                "{step}"
            );
        }
    }
}
