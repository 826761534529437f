//! Vectors, one behind the other, in two precisions.

use std::sync::Arc;

use super::products::Factor;

/// Vectors per chunk. Adding a row copies at most one chunk; the rest is shared with older snapshots.
const CHUNK: usize = 1024;

/// A growing list of vectors of one dimension: f32 for the score, int8 for a first look. Cloning shares the chunks.
#[derive(Clone)]
pub(crate) struct Rows {
    dimension: usize,
    len: usize,
    chunks: Vec<Arc<Chunk>>,
    /// The worst distance of any row from what its int8 form stands for.
    worst_error: f32,
}

#[derive(Clone, Default)]
struct Chunk {
    exact: Vec<f32>,
    coarse: Vec<i8>,
    scales: Vec<f32>,
}

impl Rows {
    pub(crate) fn new(dimension: usize) -> Self {
        Self { dimension, len: 0, chunks: Vec::new(), worst_error: 0.0 }
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// See [`Rows::approximate`].
    pub(crate) fn worst_error(&self) -> f32 {
        self.worst_error
    }

    /// Adds a vector of this dimension and tells its row.
    pub(crate) fn push(&mut self, vector: &[f32]) -> u32 {
        assert_eq!(vector.len(), self.dimension, "whoever adds vectors has checked their dimension");
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        let coarse = Quantised::of(vector);
        self.worst_error = self.worst_error.max(coarse.error);
        let chunk = Arc::make_mut(self.chunks.last_mut().expect("a chunk was just made sure of"));
        chunk.exact.extend_from_slice(vector);
        chunk.coarse.extend_from_slice(&coarse.values);
        chunk.scales.push(coarse.scale);
        self.len += 1;
        (self.len - 1) as u32
    }

    /// A row's vector. Panics beyond the last row.
    pub(crate) fn vector(&self, row: u32) -> &[f32] {
        let (chunk, at) = (&self.chunks[row as usize / CHUNK], row as usize % CHUNK * self.dimension);
        &chunk.exact[at..at + self.dimension]
    }

    /// A row's int8 form and its scale.
    pub(crate) fn coarse(&self, row: u32) -> (&[i8], f32) {
        let (chunk, i) = (&self.chunks[row as usize / CHUNK], row as usize % CHUNK);
        (&chunk.coarse[i * self.dimension..(i + 1) * self.dimension], chunk.scales[i])
    }

    /// Calls `sink(row, cosine)` for the wanted rows from `first` on, with the cosine as the int8 forms see it.
    ///
    /// It is off by at most `worst_error + query.error · (1 + worst_error)`: with x̂ = x + e, q̂ = q + d and unit vectors,
    /// |x·q − x̂·q̂| = |e·q + x̂·d| ≤ ‖e‖ + (1 + ‖e‖)·‖d‖ (Cauchy, Schwarz).
    pub(crate) fn approximate(
        &self,
        first: usize,
        query: &Quantised,
        wanted: impl Fn(usize) -> bool,
        mut sink: impl FnMut(u32, f32),
    ) {
        if self.dimension == 0 {
            return;
        }
        let factor = Factor::of(&query.values);
        for (c, chunk) in self.chunks.iter().enumerate().skip(first / CHUNK) {
            let base = c * CHUNK;
            let rows = chunk.coarse.chunks_exact(self.dimension).zip(&chunk.scales).enumerate();
            for (i, (values, scale)) in rows {
                if base + i >= first && wanted(base + i) {
                    sink((base + i) as u32, factor.product(values) * scale * query.scale);
                }
            }
        }
    }

    /// Bytes held, shared chunks counted in full.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|c| c.exact.capacity() * 4 + c.coarse.capacity() + c.scales.capacity() * 4).sum()
    }
}

/// A vector in int8: `values · scale` is nearly the vector.
pub(crate) struct Quantised {
    pub(crate) values: Vec<i8>,
    pub(crate) scale: f32,
    /// Length of the difference to the vector.
    pub(crate) error: f32,
}

impl Quantised {
    pub(crate) fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let values: Vec<i8> = vector.iter().map(|x| (x / scale).round() as i8).collect();
        let error = vector.iter().zip(&values).map(|(x, &v)| (x - f32::from(v) * scale).powi(2)).sum::<f32>().sqrt();
        Self { values, scale, error }
    }
}

/// The scalar product in f32, in sixteen lanes that the compiler turns into vector instructions. The order of summation is
/// fixed, so the same vectors give the same number on every machine.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "vectors of one model have one length");
    let mut lanes = [0.0f32; 16];
    let (a_blocks, b_blocks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for i in 0..16 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn unit(mut vector: Vec<f32>) -> Vec<f32> {
        toolscout_embed::normalize(&mut vector);
        vector
    }

    proptest! {
        #[test]
        fn the_error_bound_holds(
            a in prop::collection::vec(-1.0f32..1.0, 48),
            b in prop::collection::vec(-1.0f32..1.0, 48),
        ) {
            let (a, b) = (unit(a), unit(b));
            let mut rows = Rows::new(48);
            rows.push(&a);
            let query = Quantised::of(&b);
            let bound = rows.worst_error() + query.error * (1.0 + rows.worst_error());
            let mut seen = None;
            rows.approximate(0, &query, |_| true, |row, cosine| seen = Some((row, cosine)));
            let (row, cosine) = seen.expect("there is a row");
            prop_assert_eq!(row, 0);
            prop_assert!((cosine - dot(&a, &b)).abs() <= bound + 1e-5);
        }
    }

    #[test]
    fn rows_keep_their_order_across_chunks_and_clones_do_not_see_later_ones() {
        let mut rows = Rows::new(3);
        for i in 0..CHUNK + 5 {
            assert_eq!(rows.push(&[i as f32, 0.0, 1.0]), i as u32);
        }
        let before = rows.clone();
        rows.push(&[7.0, 7.0, 7.0]);
        assert_eq!((before.len(), rows.len()), (CHUNK + 5, CHUNK + 6));
        assert_eq!(rows.vector(CHUNK as u32 + 1), [CHUNK as f32 + 1.0, 0.0, 1.0]);
        assert_eq!(before.vector(0), [0.0, 0.0, 1.0]);
    }
}
