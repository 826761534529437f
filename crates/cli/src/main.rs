//! The `toolscout` binary.
fn main() {}
