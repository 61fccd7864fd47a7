//! A small seeded random number generator, so that a failing seed fails again everywhere.
//!
//! splitmix64: plenty for choosing test cases, useless for secrets. Knows nothing of files.

/// A stream of numbers decided by its seed.
pub struct Rng(u64);

impl Rng {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Returns the next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Tells yes once in `odds` times.
    pub fn once_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    /// Returns one of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Returns `count` bytes; half of the calls give repetitive ones that compress.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let repetitive = self.once_in(2);
        let word = self.next().to_le_bytes();
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            let fresh = self.next();
            let same = repetitive && !fresh.is_multiple_of(16);
            bytes.extend_from_slice(if same { &word } else { &[0; 0] });
            if !same {
                bytes.extend_from_slice(&fresh.to_le_bytes());
            }
        }
        bytes.truncate(count);
        bytes
    }
}
