//! The CPU's operations, from outside, so that their library is compiled once.

mod instruction_sets;
mod reference;
mod threads;
