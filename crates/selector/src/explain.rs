//! Evidence for people.

use crate::evidence::Evidence;

/// Renders the evidence as text, the first `n` candidates in detail.
pub fn explain(evidence: &Evidence, n: usize) -> String {
    let _ = (evidence, n);
    unimplemented!("lands next")
}
