//! Content digests and block sums: what says that two files hold the same bytes, wherever their
//! holes are. docs/protocol.md, [digest]. Knows nothing of files.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use twox_hash::XxHash3_64;

use super::stopwatch::{Activity, doing};
use super::wire::message::{Digest, DigestSecret, SUM_LEN, Tag};
use crate::fs::extents::is_zero;

/// From which length on the time of a tag is taken: the tag of a short stretch takes hardly longer
/// than looking at the clock twice, and a pass over small files makes two for each.
const TIMED_LEN: usize = 16 * 1024;
/// Bytes of a block of the content digest.
pub const DIGEST_BLOCK: usize = 128 * 1024;

/// A sum of one aligned block.
pub type Sum = [u8; SUM_LEN];

/// The tag of one block of the content digest that is not all zeros, after the block's number.
pub type Leaf = (u64, Tag);

/// Tags stretches of bytes, so that two with the same tag are the same.
///
/// GMAC with the secret of the transfer: of two different stretches of up to `n` bytes, written by
/// whoever does not know the secret, the tags are equal with a chance of at most `(n + 16) / 2^132`
/// (docs/decisions/008-digest.md).
#[derive(Clone, Debug)]
pub struct DigestKey(Arc<LessSafeKey>);

impl DigestKey {
    /// Makes it from the secret that both sides know.
    pub fn new(secret: &DigestSecret) -> DigestKey {
        let key = UnboundKey::new(&AES_128_GCM, secret.as_bytes());
        DigestKey(Arc::new(LessSafeKey::new(
            key.expect("16 bytes are a key of AES-128"),
        )))
    }

    /// Returns the tag of a stretch of bytes. WIRE[tag]
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        match bytes.len() < TIMED_LEN {
            true => self.seal(bytes),
            false => doing(Activity::Hash, || self.seal(bytes)),
        }
    }

    fn seal(&self, bytes: &[u8]) -> Tag {
        // One nonce for all: tags stay between the two sides, and are compared for being equal.
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []);
        let sealed = sealed.expect("GMAC takes any stretch that fits in memory");
        let mut tag = Tag::default();
        tag.copy_from_slice(sealed.as_ref());
        tag
    }

    /// Returns the content digest of a file in memory.
    pub fn digest_of(&self, contents: &[u8]) -> Digest {
        let mut hasher = ContentHasher::new(self);
        for (number, block) in (0..).zip(contents.chunks(DIGEST_BLOCK)) {
            hasher.take_block(number, block);
        }
        hasher.finish(contents.len() as u64)
    }
}

/// Builds the content digest from stretches in rising order; what is skipped is zeros.
/// WIRE[digest]
#[derive(Debug)]
pub struct ContentHasher {
    key: DigestKey,
    state: blake3::Hasher,
    block: Vec<u8>,
    number: u64,
    /// All leaves so far, where they are kept.
    leaves: Option<Vec<Leaf>>,
}

impl ContentHasher {
    /// Starts one.
    pub fn new(key: &DigestKey) -> ContentHasher {
        ContentHasher {
            key: key.clone(),
            state: blake3::Hasher::new(),
            block: Vec::new(),
            number: 0,
            leaves: None,
        }
    }

    /// Starts one that keeps the leaves, 24 bytes for each block.
    pub fn keeping_leaves(key: &DigestKey) -> ContentHasher {
        ContentHasher {
            leaves: Some(Vec::new()),
            ..ContentHasher::new(key)
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
        let tag = self.key.tag(block);
        self.take_leaf(number, tag);
        head_of(&tag)
    }

    /// Adds the tag of a block that was made before.
    pub fn take_leaf(&mut self, number: u64, leaf: Tag) {
        self.state.update(&number.to_le_bytes());
        self.state.update(&leaf);
        if let Some(leaves) = &mut self.leaves {
            leaves.push((number, leaf));
        }
    }

    fn take_block(&mut self, number: u64, block: &[u8]) {
        let block = trim_zeros(block);
        if !block.is_empty() {
            self.take_leaf(number, self.key.tag(block));
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

/// Returns the sum of one aligned block that is no block of the digest. It only finds what is the
/// same: the digest says in the end whether it was. WIRE[sums]
pub fn quick_sum_of(block: &[u8]) -> Sum {
    let block = trim_zeros(block);
    if block.is_empty() {
        return [0; SUM_LEN];
    }
    XxHash3_64::oneshot(block).to_le_bytes()
}

fn head_of(tag: &Tag) -> Sum {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(&tag[..SUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::{ContentHasher, DIGEST_BLOCK, Digest, DigestKey, quick_sum_of};
    use crate::transfer::wire::message::DigestSecret;

    fn key() -> DigestKey {
        DigestKey::new(&DigestSecret::from([7; 16]))
    }

    fn digest_of(contents: &[u8]) -> Digest {
        key().digest_of(contents)
    }

    #[test]
    fn a_tag_is_gmac() {
        // openssl mac -cipher AES-128-GCM -macopt hexkey:07... -macopt hexiv:00... GMAC
        for (bytes, tag) in [
            (&b""[..], "974e8b36e1e372932a18cc4c7d46e37f"),
            (b"ab", "8ed58b0bd2a8eb39c345337e8388f204"),
        ] {
            assert_eq!(data_encoding::HEXLOWER.encode(&key().tag(bytes)), tag);
        }
    }

    #[test]
    fn another_secret_makes_another_digest() {
        let other = DigestKey::new(&DigestSecret::from([8; 16]));
        assert_ne!(other.digest_of(b"ab"), digest_of(b"ab"));
        assert_ne!(other.tag(b"ab"), key().tag(b"ab"));
    }

    #[test]
    fn a_hole_and_zeros_have_the_same_digest() {
        let mut contents = vec![0u8; 3 * DIGEST_BLOCK + 77];
        contents[5] = 1;
        contents[2 * DIGEST_BLOCK + 9] = 2;
        let mut sparse = ContentHasher::new(&key());
        sparse.add(4, &[0, 1]);
        sparse.add(2 * DIGEST_BLOCK as u64 + 9, &[2, 0, 0]);
        assert_eq!(sparse.finish(contents.len() as u64), digest_of(&contents));
    }

    #[test]
    fn blocks_and_stretches_and_leaves_give_one_digest() {
        let mut contents = vec![7u8; 3 * DIGEST_BLOCK + 5];
        contents[DIGEST_BLOCK - 100..2 * DIGEST_BLOCK + 3].fill(0);
        let mut hasher = ContentHasher::keeping_leaves(&key());
        for (number, block) in contents.chunks(DIGEST_BLOCK).enumerate() {
            hasher.add_block(number as u64, block);
        }
        let mut again = ContentHasher::new(&key());
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
            let mut hasher = ContentHasher::new(&key());
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
