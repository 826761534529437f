//! How long calls take: quantiles over the last some hundred, and what they used to be.

use serde::{Deserialize, Serialize};
use sketches_ddsketch::DDSketch;
use sketches_ddsketch::encoding::{decode_from_java_bytes, encode_to_java_bytes};

/// Latencies of successes, in two sketches of which the older is dropped when the newer is full: what is told is always about the
/// last 200 to 400 calls. Quantiles are right to 1 %.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct Latency {
    newer: DDSketch,
    older: DDSketch,
    /// The p95 that earlier sketches had, newer ones counting more.
    usual_p95: Option<u64>,
}

/// Calls in one sketch.
const FULL: usize = 200;
/// Fewest calls whose p95 says anything.
const MIN_P95: usize = 20;

impl Latency {
    /// Counts one.
    pub fn add(&mut self, millis: u64) {
        // Nobody waits a day; and a number that is no latency must not widen the sketch.
        self.newer.add(millis.min(86_400_000) as f64);
        if self.newer.count() < FULL {
            return;
        }
        let p95 = quantile(&self.newer, 0.95);
        self.usual_p95 = match (self.usual_p95, p95) {
            (Some(usual), Some(p95)) => Some((3 * usual + p95) / 4),
            (usual, p95) => usual.or(p95),
        };
        self.older = std::mem::take(&mut self.newer);
    }

    /// The latencies that half of the recent calls and all but a twentieth stay below, in milliseconds.
    pub fn p50_p95(&self) -> (Option<u64>, Option<u64>) {
        let mut both = self.older.clone();
        // Two sketches of one configuration always merge.
        let merged = both.merge(&self.newer).is_ok();
        debug_assert!(merged, "both sketches have the default configuration");
        (quantile(&both, 0.5), quantile(&both, 0.95))
    }

    /// What the p95 used to be and what it is, when it takes `factor` times as long by now and half a second more.
    pub fn slowed(&self, factor: f64) -> Option<(u64, u64)> {
        let usual = self.usual_p95?;
        let now = quantile(&self.newer, 0.95).filter(|_| self.newer.count() >= MIN_P95)?;
        (now as f64 > usual as f64 * factor && now > usual + 500).then_some((usual, now))
    }
}

fn quantile(sketch: &DDSketch, q: f64) -> Option<u64> {
    sketch.quantile(q).ok().flatten().map(|millis| millis.round() as u64)
}

impl PartialEq for Latency {
    fn eq(&self, other: &Self) -> bool {
        Row::from(self.clone()) == Row::from(other.clone())
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", Row::from(self.clone()))
    }
}

/// How latencies lie on disk: the sketches in their own byte form.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Row {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newer: Vec<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usual_p95: Option<u64>,
}

impl From<Latency> for Row {
    fn from(latency: Latency) -> Self {
        let bytes = |sketch: &DDSketch| if sketch.count() == 0 { Vec::new() } else { encode_to_java_bytes(sketch) };
        Self { newer: bytes(&latency.newer), older: bytes(&latency.older), usual_p95: latency.usual_p95 }
    }
}

impl TryFrom<Row> for Latency {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        let sketch = |bytes: &[u8]| match bytes {
            [] => Ok(DDSketch::default()),
            bytes => decode_from_java_bytes(bytes).map_err(|error| error.to_string()),
        };
        Ok(Self { newer: sketch(&row.newer)?, older: sketch(&row.older)?, usual_p95: row.usual_p95 })
    }
}

#[cfg(test)]
mod tests {
    //! 1. Quantiles are within 1 % of the true ones, before and after the way through a row.
    //! 2. Calls of long ago do not count.
    //! 3. A tool that got much slower is found, one that is a little slower is not.

    use proptest::prelude::*;

    use super::*;

    fn of(latencies: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        latencies.into_iter().for_each(|millis| latency.add(millis));
        latency
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_true_ones(mut latencies in prop::collection::vec(0u64..300_000, 1..FULL)) {
            let latency = of(latencies.iter().copied());
            let row: Row = latency.clone().into();
            let read = Latency::try_from(row).unwrap();
            prop_assert_eq!(&read, &latency);
            let mut once_more = (read, latency);
            once_more.0.add(7);
            once_more.1.add(7);
            prop_assert_eq!(once_more.0.p50_p95(), once_more.1.p50_p95());
            latencies.push(7);
            latencies.sort_unstable();
            for (q, seen) in [(0.5, once_more.0.p50_p95().0), (0.95, once_more.0.p50_p95().1)] {
                let exact = latencies[(q * (latencies.len() - 1) as f64) as usize] as f64;
                let seen = seen.unwrap() as f64;
                prop_assert!((seen - exact).abs() <= exact * 0.011 + 1.0, "{} {}", seen, exact);
            }
        }
    }

    #[test]
    fn old_calls_fade_and_a_slow_tool_is_found() {
        let quick = vec![100; 2 * FULL];
        assert_eq!(of([]).p50_p95(), (None, None));
        let latency = of(quick.iter().copied().chain(vec![9_000; 2 * FULL]));
        assert!((8_900..9_100).contains(&latency.p50_p95().0.unwrap()));
        assert_eq!(of(quick.iter().copied().chain(vec![700; 30])).slowed(3.0).map(|(from, _)| from / 10), Some(10));
        assert_eq!(of(quick.iter().copied().chain(vec![250; 30])).slowed(3.0), None);
        assert_eq!(of(quick.iter().copied().chain(vec![9_000; 5])).slowed(3.0), None);
    }
}
