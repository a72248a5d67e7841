//! The fused operations a decoder needs, on burn's tensors: one contract ([`Kernels`]), a GPU twin in CubeCL, a CPU
//! twin in SIMD, and a plain [`reference`] that judges both.
//!
//! Operations work on burn tensors. A [`Matrix`] keeps a weight in its file's own format; the free
//! functions and `Matrix`'s methods check shapes and dispatch to the twin of the tensor's device.

#[cfg(not(target_arch = "wasm32"))]
mod bandwidth;
mod cpu;
mod device;
#[cfg(feature = "gpu")]
mod gpu;
mod low_rank;
mod matrix;
mod memory;
mod ops;
pub mod profile;
mod recording;
mod self_test;

#[cfg(not(target_arch = "wasm32"))]
pub use bandwidth::copy_bandwidth;
#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
pub use device::select_webgpu;
pub use device::{
    Adapter, Choice, DeviceError, Kind, Selected, adapters, draws, flush, largest_buffer, select,
    shared_from, supports_f16,
};
pub use low_rank::LowRank;
pub use matrix::{
    Matrix, MatrixError, With, add_norm, attention, choose, on_cpu, rope, together,
    turning_attention,
};
pub use memory::{Arena, Filling, unwritten};
pub use ops::Kernels;
pub use recording::{Reading, Recorder, Recording, overwrite, read_now};
pub use self_test::{SelfTest, self_test};
pub use tinderbox_cpu::{
    Activation, AttentionSpec, Draw, Factors, Format, Input, Layout, LinearSpec, LowRankSpec, Norm,
    PARTS, RopeSpec, description as cpu_description, reference, sample,
};
