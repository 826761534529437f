//! Selection from outside: a snapshot, a policy, a caller, a query.
//!
//! 1. The same inputs give the same answer in the same order, always.
//! 2. The parts of a candidate's score add up to it, and its matched terms to its word score.
//! 3. Scores fall from first to last, lie in 0..1, and the first is the confidence.
//! 4. What policy or filters exclude is nowhere in the answer or the evidence, and counted.
//! 5. The same tool on several upstreams takes one place; variants that the caller may not see are not named.
//! 6. Without a vector words decide alone.
//! 7. When nothing is near, the answer says so and names what is nearest.
//! 8. "Why not" finds the stage for every tool, and does not tell a hidden tool from a missing one.
//! 9. The evidence survives JSON, and is bounded.
//! 10. Quality takes a bounded share of a score, gives a family's place to the member that works, and names what stands in.
//! 11. What nobody approved is no candidate, and counted; what policy hides is counted as that alone.
//! 12. A second opinion changes the order of the shortlist and nothing else; without one the first order stands.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod pick;
mod reliable;
mod second;
mod unapproved;
mod why;
mod world;
