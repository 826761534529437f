//! Looking at every vector: a first look in int8, a second in f32 wherever the first could be wrong.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::rows::{self, Quantised, Rows};
use super::{DenseHit, NONE};
use crate::allow::{Allow, DocIdx};

thread_local! {
    static APPROXIMATE: RefCell<Vec<(u32, f32)>> = const { RefCell::new(Vec::new()) };
}

/// The `k` nearest allowed documents among the rows from `first` on. Exact: the int8 look only rules out rows that cannot
/// be among the best even if its error is as large as it can be.
pub(crate) fn nearest(
    rows: &Rows,
    first: usize,
    doc_of: &[DocIdx],
    query: &[f32],
    allow: &Allow,
    k: usize,
) -> Vec<DenseHit> {
    let wanted = |row: usize| doc_of[row] != NONE && allow.contains(doc_of[row]);
    let exact = |row: u32| DenseHit { doc: doc_of[row as usize], cosine: rows::dot(rows.vector(row), query) };
    let mut hits: Vec<DenseHit> = if doc_of.len().saturating_sub(first) <= 4 * k {
        (first..doc_of.len()).filter(|&row| wanted(row)).map(|row| exact(row as u32)).collect()
    } else {
        let coarse_query = Quantised::of(query);
        let mut looked = APPROXIMATE.take();
        // The best `k` so far, worst on top: its top is the bar.
        let mut best = BinaryHeap::with_capacity(k + 1);
        let mut bar = f32::MIN;
        rows.approximate(first, &coarse_query, wanted, |row, cosine| {
            looked.push((row, cosine));
            if cosine > bar || best.len() < k {
                best.push(Reverse(Total(cosine)));
                if best.len() > k {
                    best.pop();
                }
                if best.len() == k {
                    bar = best.peek().map_or(f32::MIN, |Reverse(Total(bar))| *bar);
                }
            }
        });
        // k rows are at least `bar − error` near, so a row below `bar − 2 · error` cannot be among the k best.
        let error = rows.worst_error() + coarse_query.error * (1.0 + rows.worst_error()) + 1e-5;
        let bar = if best.len() == k { bar - 2.0 * error } else { f32::MIN };
        let hits = looked.iter().filter(|(_, cosine)| *cosine >= bar).map(|&(row, _)| exact(row)).collect();
        looked.clear();
        APPROXIMATE.set(looked);
        hits
    };
    keep_best(&mut hits, k);
    hits
}

/// A number that orders totally. [`toolscout_core::Score`] does it for f64.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Total(pub(super) f32);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Keeps the `k` nearest, nearest first, among equals by document.
pub(crate) fn keep_best(hits: &mut Vec<DenseHit>, k: usize) {
    let order = |a: &DenseHit, b: &DenseHit| b.cosine.total_cmp(&a.cosine).then(a.doc.cmp(&b.doc));
    if k < hits.len() {
        if k > 0 {
            hits.select_nth_unstable_by(k - 1, order);
        }
        hits.truncate(k);
    }
    hits.sort_unstable_by(order);
}
