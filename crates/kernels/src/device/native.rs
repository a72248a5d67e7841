//! The GPUs of a host.

use burn::cubecl::future::block_on;
use burn::tensor::wgpu::{WgpuBackend, WgpuInitError, wgpu};
use burn::tensor::{Device, DeviceKind};

use super::gpu::{TASKS_MAX, describe};
use super::{Adapter, Choice, DeviceError, Kind, Selected};

/// The graphics APIs, best first, with cubecl's name for each.
const APIS: [(wgpu::Backend, WgpuBackend, &str); 3] = [
    (wgpu::Backend::Vulkan, WgpuBackend::Vulkan, "vulkan"),
    (wgpu::Backend::Metal, WgpuBackend::Metal, "metal"),
    (wgpu::Backend::Dx12, WgpuBackend::Dx12, "dx12"),
];

pub fn adapters() -> Vec<Adapter> {
    let mut found: Vec<Adapter> = APIS
        .iter()
        .flat_map(|&(api, _, name)| on(api, name))
        .collect();
    // Stable: within a kind the order of the APIs and of the driver stays.
    found.sort_by_key(|adapter| adapter.kind);
    found
}

fn on(api: wgpu::Backend, backend: &'static str) -> Vec<Adapter> {
    let descriptor = wgpu::InstanceDescriptor {
        backends: api.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = wgpu::Instance::new(descriptor);
    let mut found: Vec<(Adapter, bool)> = Vec::new();
    for adapter in block_on(instance.enumerate_adapters(api.into())) {
        let usable = takes_our_code(&adapter);
        let mut adapter = describe(&adapter, backend);
        // CubeCL names an adapter by its place among those of its kind.
        adapter.index = (found.iter())
            .filter(|(a, _)| a.kind == adapter.kind)
            .count();
        found.push((adapter, usable));
    }
    let usable = found.into_iter().filter(|(_, usable)| *usable);
    usable.map(|(adapter, _)| adapter).collect()
}

/// Whether the driver takes what CubeCL makes for it. SPIR-V of CubeCL 0.11 is wrong where workgroup memory has no layout
/// of its own (variables are pointers to pointers there), and Mesa's older drivers crash on it.
#[cfg(feature = "vulkan")]
fn takes_our_code(adapter: &wgpu::Adapter) -> bool {
    use wgpu::hal::api::Vulkan;
    // SAFETY: the adapter is asked, and nothing of it is destroyed.
    let vulkan = unsafe { adapter.as_hal::<Vulkan>() };
    vulkan.is_none_or(|adapter| {
        let driver = adapter.physical_device_capabilities();
        driver.supports_extension(c"VK_KHR_workgroup_memory_explicit_layout")
    })
}

#[cfg(not(feature = "vulkan"))]
fn takes_our_code(_: &wgpu::Adapter) -> bool {
    true
}

pub fn start(adapter: &Adapter, choice: Choice) -> Result<Selected, DeviceError> {
    let kind = match adapter.kind {
        Kind::Discrete => DeviceKind::DiscreteGpu(adapter.index),
        Kind::Integrated => DeviceKind::IntegratedGpu(adapter.index),
        Kind::Virtual => DeviceKind::VirtualGpu(adapter.index),
        Kind::Cpu => DeviceKind::Cpu,
        Kind::Other => DeviceKind::DefaultDevice,
    };
    let api = APIS.iter().find(|(_, _, name)| *name == adapter.backend);
    let api = api.map_or(WgpuBackend::Auto, |(_, api, _)| *api);
    let options = Device::wgpu_options()
        .device_kind(kind.clone())
        .graphics_api(api);
    let device = match options.tasks_max(TASKS_MAX).init() {
        Ok(device) => device,
        // Started before in this process: the same selector names the running device.
        Err(WgpuInitError::Registration { .. }) => running(kind, api),
        Err(error) => {
            let (adapter, reason) = (adapter.to_string(), error.to_string());
            return Err(DeviceError::Start { adapter, reason });
        }
    };
    let software = adapter.kind == Kind::Cpu;
    let reason = match (software, choice) {
        (true, _) => format!(
            "WARNING: asked for by --device {choice}, but this is a SOFTWARE GPU: it computes on the CPU and is slower than --device cpu"
        ),
        (false, Choice::Auto) => format!("the best GPU found is a {}", adapter.kind),
        (false, _) => format!("asked for by --device {choice}"),
    };
    Ok(Selected {
        device,
        description: adapter.to_string(),
        reason,
        software,
    })
}

fn running(kind: DeviceKind, api: WgpuBackend) -> Device {
    use burn::backend::{WgpuDevice, WgpuDeviceKind};
    let kind = match kind {
        DeviceKind::DiscreteGpu(index) => WgpuDeviceKind::DiscreteGpu(index),
        DeviceKind::IntegratedGpu(index) => WgpuDeviceKind::IntegratedGpu(index),
        DeviceKind::VirtualGpu(index) => WgpuDeviceKind::VirtualGpu(index),
        DeviceKind::Cpu => WgpuDeviceKind::Cpu,
        DeviceKind::Existing(id) => WgpuDeviceKind::Existing(id),
        DeviceKind::DefaultDevice => WgpuDeviceKind::DefaultDevice,
    };
    Device::from(WgpuDevice::new(kind).on(api))
}
