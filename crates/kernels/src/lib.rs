//! The fused operations a decoder needs: one contract ([`Kernels`]), a GPU twin in CubeCL, a CPU
//! twin in SIMD, and a plain [`reference`] that judges both.
//!
//! Operations work on burn tensors. A [`Matrix`] keeps a weight in its file's own format; the free
//! functions and `Matrix`'s methods check shapes and dispatch to the twin of the tensor's device.

mod cpu;
mod format;
#[cfg(feature = "gpu")]
mod gpu;
mod matrix;
mod ops;
pub mod reference;

pub use cpu::cpu_description;
pub use format::Format;
pub use matrix::{Matrix, MatrixError, With, add_norm, attention, on_cpu, rope};
pub use ops::{Activation, AttentionSpec, Input, Kernels, Layout, LinearSpec, Norm, RopeSpec};
