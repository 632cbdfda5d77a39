//! Random numbers that depend only on their key, so that tasks can be drawn independently and in any order.

use crate::sim::placement::mix;

/// A stream of random numbers.
pub(in crate::sim) struct Random(u64);

impl Random {
    /// The stream of a seed, a key and a part.
    pub(in crate::sim) fn of(seed: u64, key: u64, part: u64) -> Random {
        Random(mix(mix(mix(seed) ^ key) ^ part))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniformly distributed in [0, 1).
    pub(in crate::sim) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponentially distributed with this mean.
    pub(in crate::sim) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// Normally distributed with mean 0 and standard deviation 1.
    pub(in crate::sim) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    /// One of several items, chosen by their shares.
    pub(in crate::sim) fn choose<T>(&mut self, items: impl IntoIterator<Item = (T, f64)>) -> Option<T> {
        let mut left = self.share();
        let mut last = None;
        for (item, share) in items {
            if left < share {
                return Some(item);
            }
            left -= share;
            last = Some(item);
        }
        last
    }
}
