//! What do our tests share?
//!
//! Doubles that behave like the real thing without its weight. For tests only: never a normal dependency.

pub mod conformance;
pub mod e2e;
pub mod embed;
pub mod synthetic;
pub mod upstream;
