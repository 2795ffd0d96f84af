//! Whole-system tests live in `tests/tests`, benches in `tests/benches`.
