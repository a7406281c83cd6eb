//! How much of something has to be left: a value of `evictionHard` and its like.

use super::resources::{Bytes, count_quantity};

/// A value of `evictionHard`, `evictionSoft` or `evictionMinimumReclaim`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// An absolute number of bytes, inodes or processes.
    Quantity(i64),
    /// The same, written in decimal units (`1G`, `5000`).
    Decimal(i64),
    /// A fraction of the capacity: of a threshold between 0 and 1, of what is reclaimed at least more than 0.
    Fraction(f64),
}

impl Threshold {
    /// The threshold in units of the capacity. The fraction is single-precision and the result truncated, as in the
    /// kubelet's `GetThresholdQuantity`, so that both report the same allocatable amounts.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the kubelet's arithmetic, to the bit"
    )]
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Threshold::Quantity(quantity) | Threshold::Decimal(quantity) => quantity,
            Threshold::Fraction(fraction) => (capacity as f64 * f64::from(fraction as f32)) as i64,
        }
    }
}

impl Threshold {
    /// The threshold in units of the capacity, as the API's quantities are written.
    pub fn quantity_of(self, capacity: i64) -> String {
        match self {
            Threshold::Decimal(quantity) => count_quantity(quantity),
            Threshold::Quantity(_) | Threshold::Fraction(_) => Bytes(self.of(capacity)).quantity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let check = |threshold: Threshold, of: i64| assert_eq!(threshold.of(270_553_174_016), of);
        check(Threshold::Quantity(5), 5);
        // Not 2705531740: the kubelet's fraction is single-precision.
        check(Threshold::Fraction(0.01), 2_705_531_679);
        check(Threshold::Fraction(0.5), 135_276_587_008);
        check(Threshold::Fraction(0.0), 0);
        check(Threshold::Fraction(1.0), 270_553_174_016);
    }
}
