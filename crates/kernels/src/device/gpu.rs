//! What hosts and browsers share of wgpu.

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn::tensor::wgpu::wgpu;

use super::{Adapter, Kind};
use crate::gpu::Fault;

/// Launches a submit: more than a token takes, so that a token is one submit. CubeCL's own
/// default of 32 would cut a layer in two.
pub const TASKS_MAX: usize = 2048;

/// An adapter in our words; the first of its kind until somebody counts.
pub fn describe(adapter: &wgpu::Adapter, backend: &'static str) -> Adapter {
    let (info, limits, has) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::VirtualGpu => Kind::Virtual,
        wgpu::DeviceType::Cpu => Kind::Cpu,
        wgpu::DeviceType::Other => Kind::Other,
    };
    let features = [
        (wgpu::Features::SHADER_F16, "f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    ];
    Adapter {
        name: info.name,
        backend,
        kind,
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        features: features
            .iter()
            .filter(|(f, _)| has.contains(*f))
            .map(|(_, name)| *name)
            .collect(),
        binding_bytes: limits.max_storage_buffer_binding_size,
        bindings: limits.max_storage_buffers_per_shader_stage,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_units: limits.max_compute_invocations_per_workgroup,
        index: 0,
    }
}

/// Whether kernels can load and store `f16`.
pub fn supports_f16(device: &Device) -> bool {
    use burn::cubecl::features::TypeUsage;
    use burn::cubecl::ir::{ElemType, FloatKind};
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => {
            let usage = cube
                .client()
                .properties()
                .type_usage(ElemType::Float(FloatKind::F16));
            usage.is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
        }
        _ => false,
    }
}

/// See [`largest_buffer`](super::largest_buffer).
pub fn largest_buffer(device: &Device) -> usize {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => {
            let most = cube.client().properties().memory.max_page_size;
            usize::try_from(most).unwrap_or(usize::MAX)
        }
        _ => usize::MAX,
    }
}

/// Waits for all that was queued on the device.
#[cfg(not(target_arch = "wasm32"))]
pub async fn sync(device: &Device) -> Result<(), String> {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => {
            let done = cube.client().sync().await;
            done.map_err(|error| format!("{error:?}"))
        }
        _ => Ok(()),
    }
}

/// See [`shared_from`](super::shared_from).
pub fn shared_from(device: &Device) -> Option<usize> {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => {
            crate::gpu::shared_from(crate::gpu::Class::of(cube.client().properties()))
        }
        _ => None,
    }
}

/// See [`flush`](super::flush).
pub fn flush(device: &Device) -> Result<(), String> {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => cube.client().flush().map_err(|error| format!("{error:?}")),
        _ => Ok(()),
    }
}

/// Takes out the kernel that makes products of so many rows on the device, because it is wrong there.
/// Answers with the one that takes its place, for people; `None` where there is no other.
pub fn fall_back(device: &Device, rows: usize) -> Option<String> {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => crate::gpu::take_out(cube, rows).map(|way| way.to_string()),
        _ => None,
    }
}

/// See [`draws`](super::draws).
pub fn draws(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Cube(cube) => crate::gpu::draws(cube),
        _ => false,
    }
}

/// See [`give_up_recording`](super::give_up_recording).
pub fn give_up_recording(device: &Device) {
    note(device, Fault::Recording);
}

/// See [`give_up_drawing`](super::give_up_drawing).
pub fn give_up_drawing(device: &Device) {
    note(device, Fault::Drawing);
}

/// See [`give_up_turning`](super::give_up_turning).
pub fn give_up_turning(device: &Device) {
    note(device, Fault::Turning);
}

fn note(device: &Device, fault: Fault) {
    if let DispatchDevice::Cube(cube) = device.as_dispatch() {
        fault.note(cube);
    }
}
