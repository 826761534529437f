//! How sure is a mean? Seeded bootstrap intervals, and percentiles.
//!
//! No clock and no global randomness: the same samples and seed give the same interval, on every machine.

/// How many times a slice is drawn anew for one interval, unless told otherwise.
pub const DEFAULT_RESAMPLES: usize = 1000;

/// A small generator with a one-word state. Good enough for drawing queries, and ours, so that no dependency's update
/// can move an interval.
///
/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator that repeats itself for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for one named thing (a slice), so that adding a slice does not move the others' intervals.
    ///
    /// The name is folded in by FNV-1a (Fowler, Noll, Vo), which is stable where the standard hasher is not.
    pub fn for_name(seed: u64, name: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(seed ^ hash)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0.
    ///
    /// Multiply and shift (Lemire 2019) without the rejection step: off by less than `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        debug_assert!(n > 0, "nothing to draw from");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }
}

/// What one query contributes to a metric: the metric of a slice is the sum of `num` over the sum of `den`.
///
/// A mean is the case where every `den` is 1; precision, whose denominator is itself counted, is the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The part that counts.
    pub num: f64,
    /// Out of how much.
    pub den: f64,
}

impl Sample {
    /// One query's value in a plain mean.
    pub fn of(value: f64) -> Self {
        Self { num: value, den: 1.0 }
    }

    /// One query's share of a ratio: counted below the line if `out_of`, above it if also `counts`.
    pub fn ratio(counts: bool, out_of: bool) -> Option<Self> {
        out_of.then_some(Self { num: if counts { 1.0 } else { 0.0 }, den: 1.0 })
    }
}

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value on the queries as they are.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// How many queries the value rests on.
    pub n: usize,
}

/// Which queries each redrawn slice consists of: `draws[i]` holds as many positions as the slice has queries.
///
/// Drawn once per slice and used for every metric and every arm, so that arms are compared on the same draws.
#[derive(Debug, Clone)]
pub struct Draws {
    draws: Vec<Vec<u32>>,
}

impl Draws {
    /// Draws `n_resamples` slices of `n` queries with replacement.
    pub fn new(rng: &mut SplitMix, n: usize, n_resamples: usize) -> Self {
        let draw = |rng: &mut SplitMix| (0..n).map(|_| rng.below(n) as u32).collect();
        Self { draws: (0..n_resamples).map(|_| draw(rng)).collect() }
    }

    /// Value and 95 % percentile-bootstrap interval (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
    /// chapter 13) of a metric whose samples stand in query order; `None` marks a query that the metric is not about.
    /// No answer where no query is.
    ///
    /// Queries are drawn, not samples: a redrawn slice may hold fewer queries that the metric is about, as chance would
    /// have it. A redrawn slice with none of them says nothing and is left out.
    pub fn estimate(&self, samples: &[Option<Sample>]) -> Option<Estimate> {
        let value = ratio(samples.iter().flatten())?;
        let mut redrawn: Vec<f64> = self
            .draws
            .iter()
            .filter_map(|draw| ratio(draw.iter().filter_map(|&i| samples[i as usize].as_ref())))
            .collect();
        redrawn.sort_by(f64::total_cmp);
        let (low, high) = match interval(&redrawn) {
            Some(ends) => ends,
            None => (value, value),
        };
        Some(Estimate { value, low, high, n: samples.iter().flatten().count() })
    }

    /// What changed from `before` to `after` over the same queries, drawn together (paired bootstrap; Sakai, "Evaluating
    /// evaluation metrics based on the bootstrap", SIGIR 2006).
    pub fn difference(&self, before: &[Option<Sample>], after: &[Option<Sample>]) -> Option<Difference> {
        debug_assert_eq!(before.len(), after.len(), "pairs need the same queries on both sides");
        let difference = |positions: &mut dyn Iterator<Item = usize>| {
            let (mut old, mut new) = (Sample { num: 0.0, den: 0.0 }, Sample { num: 0.0, den: 0.0 });
            for i in positions {
                add(&mut old, before[i]);
                add(&mut new, after[i]);
            }
            (old.den > 0.0 && new.den > 0.0).then(|| new.num / new.den - old.num / old.den)
        };
        let value = difference(&mut (0..before.len()))?;
        let mut redrawn: Vec<f64> =
            self.draws.iter().filter_map(|draw| difference(&mut draw.iter().map(|&i| i as usize))).collect();
        redrawn.sort_by(f64::total_cmp);
        let (low, high) = match interval(&redrawn) {
            Some(ends) => ends,
            None => (value, value),
        };
        // The share of redrawn slices on the other side of zero, both ways round, with one added above and below so that
        // chance is never said to be impossible (Davison and Hinkley 1997, section 4.2).
        let n_at_most = redrawn.iter().filter(|d| **d <= 0.0).count();
        let n_at_least = redrawn.iter().filter(|d| **d >= 0.0).count();
        let p = (2.0 * (n_at_most.min(n_at_least) + 1) as f64 / (redrawn.len() + 1) as f64).min(1.0);
        Some(Difference { value, low, high, p })
    }
}

/// A change with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// After minus before, on the queries as they are.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// How often chance alone would show a change this large, about.
    pub p: f64,
}

impl Difference {
    /// Whether the interval leaves zero out.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

fn add(sum: &mut Sample, sample: Option<Sample>) {
    if let Some(sample) = sample {
        sum.num += sample.num;
        sum.den += sample.den;
    }
}

fn ratio<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<f64> {
    let mut sum = Sample { num: 0.0, den: 0.0 };
    for sample in samples {
        add(&mut sum, Some(*sample));
    }
    (sum.den > 0.0).then(|| sum.num / sum.den)
}

fn interval(sorted: &[f64]) -> Option<(f64, f64)> {
    Some((percentile(sorted, 2.5)?, percentile(sorted, 97.5)?))
}

/// The value at or below which `percent` of the sorted values lie (nearest rank: the smallest value whose rank is at least
/// `percent`/100 × n). Always one of the values. `None` of nothing.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied()
}

#[cfg(test)]
mod tests {
    //! 1. The generator and the draws repeat themselves for a seed.
    //! 2. The interval holds the value, shrinks with more queries, and covers the true mean about 95 times in 100.
    //! 3. A difference of a thing with itself is zero and not significant; a shift of every query is.
    use super::*;
    use proptest::prelude::*;

    fn means(values: &[f64]) -> Vec<Option<Sample>> {
        values.iter().map(|v| Some(Sample::of(*v))).collect()
    }

    #[track_caller]
    fn check(values: &[f64], seed: u64) -> Estimate {
        let draws = Draws::new(&mut SplitMix::new(seed), values.len(), 1000);
        draws.estimate(&means(values)).unwrap()
    }

    #[test]
    fn splitmix_gives_its_published_numbers() {
        // The reference implementation's first outputs for seed 1234567.
        let mut rng = SplitMix::new(1_234_567);
        assert_eq!([rng.next_u64(), rng.next_u64()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn a_mean_and_its_interval() {
        let zeros_and_ones: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let estimate = check(&zeros_and_ones, 7);
        assert_eq!(estimate.value, 0.25);
        // A binomial's 95 % interval at n = 100, p = .25 is .165 to .335.
        assert!((estimate.low - 0.165).abs() < 0.02 && (estimate.high - 0.335).abs() < 0.02, "{estimate:?}");
        assert_eq!(check(&zeros_and_ones, 7), estimate);
        let draws = |seed| format!("{:?}", Draws::new(&mut SplitMix::new(seed), 100, 10));
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        assert_eq!(check(&[0.5; 20], 1), Estimate { value: 0.5, low: 0.5, high: 0.5, n: 20 });
    }

    #[test]
    fn about_95_of_100_intervals_hold_the_truth() {
        let mut rng = SplitMix::new(5);
        let held = (0..200)
            .filter(|round| {
                let values: Vec<f64> = (0..60).map(|_| if rng.below(10) < 4 { 1.0 } else { 0.0 }).collect();
                let draws = Draws::new(&mut SplitMix::new(*round), values.len(), 300);
                let estimate = draws.estimate(&means(&values)).unwrap();
                estimate.low <= 0.4 && 0.4 <= estimate.high
            })
            .count();
        assert!((180..=199).contains(&held), "{held} of 200");
    }

    #[test]
    fn queries_a_metric_is_not_about_do_not_count() {
        let draws = Draws::new(&mut SplitMix::new(1), 4, 200);
        let samples = [Some(Sample::of(1.0)), None, Some(Sample::of(0.0)), None];
        let estimate = draws.estimate(&samples).unwrap();
        assert_eq!((estimate.value, estimate.n), (0.5, 2));
        assert_eq!(draws.estimate(&[None; 4]), None);
    }

    #[test]
    fn precision_is_a_ratio_of_sums() {
        // Three refusals, two of them right; the fourth query was answered.
        let refused = |right| Sample::ratio(right, true);
        let samples = [refused(true), refused(true), refused(false), Sample::ratio(true, false)];
        let draws = Draws::new(&mut SplitMix::new(1), 4, 200);
        assert_eq!(draws.estimate(&samples).unwrap().value, 2.0 / 3.0);
    }

    #[test]
    fn differences() {
        let before = means(&[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        let draws = Draws::new(&mut SplitMix::new(3), before.len(), 1000);
        let same = draws.difference(&before, &before).unwrap();
        assert_eq!((same.value, same.low, same.high, same.p), (0.0, 0.0, 0.0, 1.0));
        assert!(!same.is_significant());
        let after: Vec<_> = before.iter().flatten().map(|s| Some(Sample::of(s.num + 0.5))).collect();
        let shifted = draws.difference(&before, &after).unwrap();
        assert!((shifted.value - 0.5).abs() < 1e-12 && shifted.is_significant() && shifted.p < 0.01, "{shifted:?}");
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values = [15.0, 20.0, 35.0, 40.0, 50.0];
        let at = |percent| percentile(&values, percent).unwrap();
        assert_eq!([at(5.0), at(30.0), at(40.0), at(50.0), at(100.0)], [15.0, 20.0, 20.0, 35.0, 50.0]);
        assert_eq!(percentile(&[], 50.0), None);
    }

    proptest! {
        #[test]
        fn the_interval_lies_within_the_samples(values in proptest::collection::vec(0.0f64..1.0, 1..40), seed: u64) {
            let estimate = check(&values, seed);
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            prop_assert!(least - 1e-9 <= estimate.low && estimate.low <= estimate.high && estimate.high <= most + 1e-9);
        }

        #[test]
        fn draws_stay_below(n in 1usize..50, seed: u64) {
            let mut rng = SplitMix::new(seed);
            for _ in 0..100 {
                prop_assert!(rng.below(n) < n);
            }
        }
    }
}
