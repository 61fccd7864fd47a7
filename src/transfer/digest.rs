//! Content digests and block sums: what says that two files hold the same bytes, wherever their
//! holes are. docs/protocol.md, [digest]. Knows nothing of files.

use super::wire::message::{Digest, SUM_LEN};
use crate::fs::extents::is_zero;

/// Bytes of a block of the content digest.
pub const DIGEST_BLOCK: usize = 128 * 1024;

/// A sum of one aligned block.
pub type Sum = [u8; SUM_LEN];

/// Builds the content digest from stretches in rising order; what is skipped is zeros.
/// WIRE[digest]
#[derive(Debug, Default)]
pub struct ContentHasher {
    state: blake3::Hasher,
    block: Vec<u8>,
    number: u64,
}

impl ContentHasher {
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
                take_block(&mut self.state, number, now);
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
        take_leaf(&mut self.state, number, &leaf);
        head_of(&leaf)
    }

    fn close_block(&mut self) {
        if !self.block.is_empty() {
            take_block(&mut self.state, self.number, trim_zeros(&self.block));
            self.block.clear();
        }
    }

    /// Returns the digest of a file of `size` bytes.
    pub fn finish(mut self, size: u64) -> Digest {
        self.close_block();
        self.state.update(&size.to_le_bytes());
        *self.state.finalize().as_bytes()
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

fn take_block(state: &mut blake3::Hasher, number: u64, block: &[u8]) {
    let block = trim_zeros(block);
    if !block.is_empty() {
        take_leaf(state, number, &blake3::hash(block));
    }
}

fn take_leaf(state: &mut blake3::Hasher, number: u64, leaf: &blake3::Hash) {
    state.update(&number.to_le_bytes());
    state.update(leaf.as_bytes());
}

/// Returns the digest of contents in memory.
pub fn digest_of(contents: &[u8]) -> Digest {
    let mut hasher = ContentHasher::default();
    hasher.add(0, contents);
    hasher.finish(contents.len() as u64)
}

/// Returns the sum of one aligned block. WIRE[sums]
pub fn sum_of(block: &[u8]) -> Sum {
    let block = trim_zeros(block);
    if block.is_empty() {
        return [0; SUM_LEN];
    }
    head_of(&blake3::hash(block))
}

fn head_of(leaf: &blake3::Hash) -> Sum {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&leaf.as_bytes()[..SUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::{ContentHasher, DIGEST_BLOCK, digest_of, sum_of};

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
    fn blocks_and_stretches_give_one_digest_and_the_same_sums() {
        let mut contents = vec![7u8; 3 * DIGEST_BLOCK + 5];
        contents[DIGEST_BLOCK - 100..2 * DIGEST_BLOCK + 3].fill(0);
        let mut hasher = ContentHasher::default();
        for (number, block) in contents.chunks(DIGEST_BLOCK).enumerate() {
            assert_eq!(hasher.add_block(number as u64, block), sum_of(block));
        }
        assert_eq!(hasher.finish(contents.len() as u64), digest_of(&contents));
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
