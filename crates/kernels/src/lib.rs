//! The fused operations a decoder needs: one contract ([`Kernels`]), a GPU twin in CubeCL, a CPU
//! twin in SIMD, and a plain [`reference`] that judges both.
//!
//! Operations work on burn tensors. A [`Matrix`] keeps a weight in its file's own format; the free
//! functions and `Matrix`'s methods check shapes and dispatch to the twin of the tensor's device.

mod cpu;
mod device;
mod format;
#[cfg(feature = "gpu")]
mod gpu;
mod matrix;
mod ops;
pub mod reference;
pub mod sample;
mod self_test;

pub use cpu::cpu_description;
pub use device::{Adapter, Choice, DeviceError, Kind, Selected, adapters, select, supports_f16};
pub use format::Format;
pub use matrix::{Matrix, MatrixError, With, add_norm, attention, on_cpu, rope};
pub use ops::{Activation, AttentionSpec, Input, Kernels, Layout, LinearSpec, Norm, RopeSpec};
#[cfg(not(target_arch = "wasm32"))]
pub use self_test::copy_bandwidth;
pub use self_test::{SelfTest, self_test};
