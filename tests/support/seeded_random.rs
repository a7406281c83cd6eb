//! Random times and choices of the stories about faults.

use std::time::Duration;

/// Random numbers that follow from a seed, so that a failure can be repeated: `SEED=… make test-node ONLY=…`.
pub struct SeededRandom {
    /// What the numbers follow from.
    pub seed: u64,
    state: u64,
}

impl SeededRandom {
    /// From the given seed, or from a new one, which is printed.
    pub fn new() -> SeededRandom {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("after 1970");
            u64::from(now.subsec_nanos()) | 1
        });
        println!("seed {seed}");
        SeededRandom::of(seed)
    }

    /// From this seed, which must not be 0.
    pub fn of(seed: u64) -> SeededRandom {
        SeededRandom { seed, state: seed }
    }

    /// A time span up to `longest`.
    pub fn next(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.number(1000) as f64 / 1000.0)
    }

    /// A number below `end` (xorshift64).
    pub fn number(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state).expect("64 bits") % end
    }
}
