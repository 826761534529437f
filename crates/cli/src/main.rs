//! The `toolscout` binary.
mod config;
fn main() {}
