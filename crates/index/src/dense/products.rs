//! Products of vectors in int8, a query's with many others.
//!
//! They are whole numbers: every way to them gives the same bits, and what a machine can do decides the time alone.
//!
//! Late interaction takes some hundred thousand of them for one query, and one by one they were the largest part of a search.
//! So sixteen tokens of the query lie side by side ([`Tiles`]) and a number of the card is multiplied with all sixteen at
//! once: no sum across a register has to be made for each product.

use std::ops::Range;

use simsimd::SpatialSimilarity as _;

/// The product of two vectors.
#[inline]
pub(crate) fn dot_i8(a: &[i8], b: &[i8]) -> f32 {
    i8::dot(a, b).unwrap_or_default() as f32
}

/// A vector that is multiplied with many others of its length.
pub(crate) struct Factor<'a> {
    values: &'a [i8],
    /// Whether this machine multiplies four numbers of sixteen at a time, and the length is such.
    by_fours: bool,
}

impl<'a> Factor<'a> {
    pub(crate) fn of(values: &'a [i8]) -> Self {
        #[cfg(target_arch = "x86_64")]
        let by_fours = x86::has_fours() && values.len().is_multiple_of(64) && values.len() <= MAX_DIM;
        #[cfg(not(target_arch = "x86_64"))]
        let by_fours = false;
        Self { values, by_fours }
    }

    /// The same as [`dot_i8`], in half the time where `by_fours`.
    #[inline]
    pub(crate) fn product(&self, other: &[i8]) -> f32 {
        debug_assert_eq!(self.values.len(), other.len(), "vectors of one model have one length");
        #[cfg(target_arch = "x86_64")]
        if self.by_fours {
            #[expect(unsafe_code, reason = "the compiler cannot know what `Factor::of` has found out")]
            // SAFETY: this machine has the instructions.
            return unsafe { x86::dot_by_fours(self.values, other) } as f32;
        }
        dot_i8(self.values, other)
    }
}

/// Tokens of a query in one tile.
const LANES: usize = 16;
/// Longest vectors for tiles: far from where a sum leaves an i32, and longer than any token's.
const MAX_DIM: usize = 1024;

/// A query's token vectors, laid out for being compared with those of many cards.
#[derive(Debug, Clone)]
pub(crate) struct Tiles {
    dim: usize,
    n: usize,
    way: Way,
}

/// How the products are made, and the numbers in the order that this wants.
#[derive(Debug, Clone)]
enum Way {
    /// Four numbers of sixteen tokens at a time: AVX-512 VNNI.
    #[cfg(target_arch = "x86_64")]
    Fours(Vec<x86::Fours>),
    /// Two numbers of eight tokens at a time: AVX2.
    #[cfg(target_arch = "x86_64")]
    Twos(Vec<x86::Twos>),
    /// Product by product.
    Single(Vec<i8>),
}

impl Tiles {
    /// From the vectors of a query's tokens, one behind the other.
    pub(crate) fn of(values: &[i8], dim: usize) -> Self {
        Self { dim, n: values.len() / dim.max(1), way: Way::of(values, dim) }
    }

    /// For each token of the query, the card's token that is nearest, by position, and product times scale: the first of
    /// equals. `named(i, j, value)` is told every such value of the card's tokens `i` in `names` with the query's tokens `j`.
    pub(crate) fn nearest(
        &self,
        card: &[i8],
        scales: &[f32],
        names: &Range<usize>,
        mut named: impl FnMut(usize, usize, f32),
    ) -> Vec<(u16, f32)> {
        let mut best = Vec::with_capacity(self.n);
        let card = || card.chunks_exact(self.dim).zip(scales.iter().copied()).zip(0u16..);
        match &self.way {
            #[cfg(target_arch = "x86_64")]
            Way::Fours(tiles) => {
                for (nth, tile) in tiles.iter().enumerate() {
                    let n = LANES.min(self.n - nth * LANES);
                    let named = |i, lane, value| named(i, nth * LANES + lane, value);
                    #[expect(unsafe_code, reason = "the compiler cannot know what `Way::of` has found out")]
                    // SAFETY: such tiles are made only on a machine that has these instructions.
                    best.extend_from_slice(&unsafe { x86::nearest_by_fours(tile, card(), names, n, named) }[..n]);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Way::Twos(tiles) => {
                for (nth, tile) in tiles.iter().enumerate() {
                    let n = LANES.min(self.n - nth * LANES);
                    let named = |i, lane, value| named(i, nth * LANES + lane, value);
                    #[expect(unsafe_code, reason = "the compiler cannot know what `Way::of` has found out")]
                    // SAFETY: such tiles are made only on a machine that has these instructions.
                    best.extend_from_slice(&unsafe { x86::nearest_by_twos(tile, card(), names, n, named) }[..n]);
                }
            }
            Way::Single(values) => {
                for (query, j) in values.chunks_exact(self.dim).zip(0..) {
                    let (mut at, mut high) = (0, f32::NEG_INFINITY);
                    for ((values, scale), i) in card() {
                        let value = dot_i8(query, values) * scale;
                        if names.contains(&usize::from(i)) {
                            named(usize::from(i), j, value);
                        }
                        if value > high {
                            (at, high) = (i, value);
                        }
                    }
                    best.push((at, high));
                }
            }
        }
        best
    }
}

impl Way {
    /// The quickest that this machine has.
    fn of(values: &[i8], dim: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if dim > 0 && dim.is_multiple_of(4) && dim <= MAX_DIM {
            let tiles = values.chunks(LANES * dim);
            if x86::has_fours() {
                return Self::Fours(tiles.map(|values| x86::Fours::of(values, dim)).collect());
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Twos(tiles.map(|values| x86::Twos::of(values, dim)).collect());
            }
        }
        Self::Single(values.to_vec())
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::LANES;

    pub(super) fn has_fours() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }

    /// Vectors of which every 64 numbers are multiplied at once; see [`LIFT`].
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dot_by_fours(a: &[i8], b: &[i8]) -> i32 {
        let (mut sums, mut lifted_too_much) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let lift = _mm512_set1_epi8(LIFT as u8 as i8);
        for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
            #[expect(unsafe_code, reason = "loads take pointers")]
            // SAFETY: both are of the 64 bytes that are read.
            let (a, b) = unsafe { (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast())) };
            sums = _mm512_dpbusd_epi32(sums, _mm512_xor_si512(b, lift), a);
            lifted_too_much = _mm512_dpbusd_epi32(lifted_too_much, lift, a);
        }
        _mm512_reduce_add_epi32(_mm512_sub_epi32(sums, lifted_too_much))
    }

    /// Sixteen tokens for [`nearest_by_fours`].
    #[derive(Debug, Clone)]
    pub(super) struct Fours {
        /// The first four numbers of each token, then the next four.
        rows: Vec<[i8; 4 * LANES]>,
        /// What the sums begin with, see [`products_by_fours`].
        begin: [i32; LANES],
    }

    impl Fours {
        pub(super) fn of(values: &[i8], dim: usize) -> Self {
            let mut tile = Self { rows: vec![[0; 4 * LANES]; dim / 4], begin: [0; LANES] };
            for (lane, token) in values.chunks_exact(dim).enumerate() {
                for (at, value) in token.iter().enumerate() {
                    tile.rows[at / 4][4 * lane + at % 4] = *value;
                    tile.begin[lane] -= LIFT * i32::from(*value);
                }
            }
            tile
        }
    }

    /// The instruction multiplies numbers without a sign with numbers that have one. The card's are lifted by this much, and
    /// the sums begin as much lower: Σ (c + 128) · q − 128 · Σ q = Σ c · q.
    const LIFT: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn products_by_fours(tile: &Fours, token: &[i8]) -> [i32; LANES] {
        #[expect(unsafe_code, reason = "loads and stores take pointers")]
        // SAFETY: each row and `begin` hold the 64 bytes that are read, `products` the 64 that are written.
        unsafe {
            let mut sums = _mm512_loadu_si512(tile.begin.as_ptr().cast());
            for (row, four) in tile.rows.iter().zip(token.as_chunks::<4>().0) {
                let lifted = _mm512_set1_epi32(i32::from_le_bytes(four.map(|value| value as u8 ^ 0x80)));
                sums = _mm512_dpbusd_epi32(sums, lifted, _mm512_loadu_si512(row.as_ptr().cast()));
            }
            let mut products = [0; LANES];
            _mm512_storeu_si512(products.as_mut_ptr().cast(), sums);
            products
        }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn nearest_by_fours<'a>(
        tile: &Fours,
        card: impl Iterator<Item = ((&'a [i8], f32), u16)>,
        names: &Range<usize>,
        n: usize,
        named: impl FnMut(usize, usize, f32),
    ) -> [(u16, f32); LANES] {
        nearest(|token| products_by_fours(tile, token), card, names, n, named)
    }

    /// Sixteen tokens for [`nearest_by_twos`].
    #[derive(Debug, Clone)]
    pub(super) struct Twos {
        /// The first two numbers of each token, then the next two.
        rows: Vec<[i16; 2 * LANES]>,
    }

    impl Twos {
        pub(super) fn of(values: &[i8], dim: usize) -> Self {
            let mut tile = Self { rows: vec![[0; 2 * LANES]; dim / 2] };
            for (lane, token) in values.chunks_exact(dim).enumerate() {
                for (at, value) in token.iter().enumerate() {
                    tile.rows[at / 2][2 * lane + at % 2] = i16::from(*value);
                }
            }
            tile
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn products_by_twos(tile: &Twos, token: &[i8]) -> [i32; LANES] {
        #[expect(unsafe_code, reason = "loads and stores take pointers")]
        // SAFETY: each row holds the 64 bytes that are read, `products` the 64 that are written.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (row, two) in tile.rows.iter().zip(token.as_chunks::<2>().0) {
                let two = _mm256_set1_epi32(i32::from(two[0]) & 0xffff | i32::from(two[1]) << 16);
                let row = row.as_ptr().cast::<__m256i>();
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(two, _mm256_loadu_si256(row)));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(two, _mm256_loadu_si256(row.add(1))));
            }
            let mut products = [0; LANES];
            let to = products.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(to, sums[0]);
            _mm256_storeu_si256(to.add(1), sums[1]);
            products
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn nearest_by_twos<'a>(
        tile: &Twos,
        card: impl Iterator<Item = ((&'a [i8], f32), u16)>,
        names: &Range<usize>,
        n: usize,
        named: impl FnMut(usize, usize, f32),
    ) -> [(u16, f32); LANES] {
        nearest(|token| products_by_twos(tile, token), card, names, n, named)
    }

    /// What both have in common; compiled into each with its instructions. Lanes from `n` on are empty.
    #[inline(always)]
    fn nearest<'a>(
        products: impl Fn(&[i8]) -> [i32; LANES],
        card: impl Iterator<Item = ((&'a [i8], f32), u16)>,
        names: &Range<usize>,
        n: usize,
        mut named: impl FnMut(usize, usize, f32),
    ) -> [(u16, f32); LANES] {
        let (mut at, mut high) = ([0u32; LANES], [f32::NEG_INFINITY; LANES]);
        for ((token, scale), i) in card {
            // An i32 becomes the nearest f32, as the f64 of a single product does.
            let values = products(token).map(|product| product as f32 * scale);
            if names.contains(&usize::from(i)) {
                values[..n].iter().enumerate().for_each(|(lane, value)| named(usize::from(i), lane, *value));
            }
            for lane in 0..LANES {
                let nearer = values[lane] > high[lane];
                high[lane] = if nearer { values[lane] } else { high[lane] };
                at[lane] = if nearer { u32::from(i) } else { at[lane] };
            }
        }
        std::array::from_fn(|lane| (at[lane] as u16, high[lane]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every way that this machine has.
    fn ways(values: &[i8], dim: usize) -> Vec<Tiles> {
        let mut ways = vec![Way::of(values, dim), Way::Single(values.to_vec())];
        #[cfg(target_arch = "x86_64")]
        if dim.is_multiple_of(4) {
            let tiles = values.chunks(LANES * dim);
            if x86::has_fours() {
                ways.push(Way::Fours(tiles.clone().map(|values| x86::Fours::of(values, dim)).collect()));
            }
            if is_x86_feature_detected!("avx2") {
                ways.push(Way::Twos(tiles.map(|values| x86::Twos::of(values, dim)).collect()));
            }
        }
        ways.into_iter().map(|way| Tiles { dim, n: values.len() / dim, way }).collect()
    }

    type Told = Vec<(usize, usize, f32)>;

    /// Straight from the definition.
    fn naive(query: &[i8], card: &[i8], dim: usize, scales: &[f32], names: &Range<usize>) -> (Vec<(u16, f32)>, Told) {
        let product = |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(x, y)| i64::from(*x) * i64::from(*y)).sum::<i64>();
        let (mut best, mut told) = (Vec::new(), Vec::new());
        for (j, query) in query.chunks(dim).enumerate() {
            let mut nearest = (0, f32::NEG_INFINITY);
            for (i, (card, scale)) in card.chunks(dim).zip(scales).enumerate() {
                let value = product(query, card) as f32 * scale;
                if names.contains(&i) {
                    told.push((i, j, value));
                }
                if value > nearest.1 {
                    nearest = (i as u16, value);
                }
            }
            best.push(nearest);
        }
        (best, told)
    }

    /// Numbers of any size, the smallest and the largest more often than by chance.
    fn value() -> impl Strategy<Value = i8> {
        prop_oneof![any::<i8>(), Just(i8::MIN), Just(i8::MAX), Just(0)]
    }

    fn case() -> impl Strategy<Value = (usize, Vec<i8>, Vec<i8>, Vec<f32>)> {
        (1usize..80, 1usize..40, 1usize..30).prop_flat_map(|(dim, n_query, n_card)| {
            // Half of the dimensions are such that there are tiles.
            let dim = if dim % 2 == 0 { dim.next_multiple_of(4) } else { dim };
            (
                Just(dim),
                prop::collection::vec(value(), dim * n_query),
                prop::collection::vec(value(), dim * n_card),
                prop::collection::vec(0.001f32..0.1, n_card),
            )
        })
    }

    proptest! {
        #[test]
        fn a_factor_gives_the_product(n in 0usize..7, rest in 0usize..3, seed in prop::collection::vec((value(), value()), 7 * 64 + 3)) {
            // Most lengths are such that whole registers are multiplied.
            let len = n * 64 + rest / 2;
            let (a, b): (Vec<i8>, Vec<i8>) = seed[..len].iter().copied().unzip();
            let naive: i64 = a.iter().zip(&b).map(|(x, y)| i64::from(*x) * i64::from(*y)).sum();
            prop_assert_eq!((Factor::of(&a).product(&b), dot_i8(&a, &b)), (naive as f32, naive as f32));
        }

        #[test]
        fn every_way_gives_what_the_definition_gives((dim, query, card, scales) in case(), names in (0usize..6, 0usize..4)) {
            let names = names.0..names.0 + names.1;
            let expect = naive(&query, &card, dim, &scales, &names);
            for tiles in ways(&query, dim) {
                let mut told = Vec::new();
                let best = tiles.nearest(&card, &scales, &names, |i, j, value| told.push((i, j, value)));
                told.sort_by_key(|(i, j, _)| (*j, *i));
                prop_assert_eq!((&best, &told), (&expect.0, &expect.1));
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_taken() {
        let card = [1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0];
        for tiles in ways(&[1, 0, 0, 0, 0, 0, 1, 0], 4) {
            assert_eq!(tiles.nearest(&card, &[0.5; 3], &(0..0), |_, _, _| ()), [(0, 0.5), (0, 0.0)]);
        }
    }

    #[test]
    fn the_longest_vectors_of_the_largest_numbers_fit() {
        let (query, card) = ([i8::MIN; MAX_DIM], [i8::MIN; MAX_DIM]);
        for tiles in ways(&query, MAX_DIM) {
            assert_eq!(tiles.nearest(&card, &[1.0], &(0..0), |_, _, _| ()), [(0, (MAX_DIM * 128 * 128) as f32)]);
        }
    }
}
