//! A simulated cluster driven by a trace.
