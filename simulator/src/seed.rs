//! Choices that look random and are the same each time.

use proto::CallId;
use rust_decimal::Decimal;

/// The choices of one call: SplitMix64, which needs no state but a counter and is plenty for ids nobody has to guess.
#[derive(Debug)]
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn of_call(seed: u64, number: u64) -> Self {
        Self(mix(seed) ^ mix(!number))
    }

    /// A call id in the form of a UUID, as Sinch's mostly are.
    pub(crate) fn call_id(&mut self) -> CallId {
        let hex = format!("{:016x}{:016x}", self.next(), self.next());
        let mut id = String::with_capacity(36);
        for (index, digit) in hex.chars().enumerate() {
            if matches!(index, 8 | 12 | 16 | 20) {
                id.push('-');
            }
            id.push(digit);
        }
        #[expect(clippy::expect_used, reason = "36 hexadecimal digits and dashes are a call id")]
        CallId::new(id).expect("a valid id")
    }

    /// A price per minute between 0.0010 and 0.0499.
    pub(crate) fn rate_per_minute(&mut self) -> Decimal {
        let steps = 10 + self.next() % 490;
        Decimal::from(steps) / Decimal::from(10_000)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_and_each_call_its_own() {
        let mut ids = Vec::new();
        for seed in 0..8 {
            for number in 0..8 {
                let id = Choices::of_call(seed, number).call_id();
                assert_eq!(id, Choices::of_call(seed, number).call_id());
                assert_eq!((id.as_str().len(), id.as_str().matches('-').count()), (36, 4));
                ids.push(id);
            }
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 64);
    }
}
