//! Draws what the demo recorded.
fn main() {}
