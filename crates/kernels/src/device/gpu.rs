//! Adapters and devices through wgpu.

use burn::backend::DispatchDevice;
use burn::cubecl::future::block_on;
use burn::tensor::wgpu::{WgpuBackend, WgpuInitError, wgpu};
use burn::tensor::{Device, DeviceKind};

use super::{Adapter, Choice, DeviceError, Kind, Selected};

/// The graphics APIs, best first, with cubecl's name for each.
const APIS: [(wgpu::Backend, WgpuBackend, &str); 3] = [
    (wgpu::Backend::Vulkan, WgpuBackend::Vulkan, "vulkan"),
    (wgpu::Backend::Metal, WgpuBackend::Metal, "metal"),
    (wgpu::Backend::Dx12, WgpuBackend::Dx12, "dx12"),
];

/// Launches a submit: more than a token takes, so that a token is one submit. CubeCL's own
/// default of 32 would cut a layer in two.
const TASKS_MAX: usize = 2048;

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
    let mut seen = Vec::new();
    let list = block_on(instance.enumerate_adapters(api.into()));
    list.iter()
        .map(|adapter| describe(adapter, backend, &mut seen))
        .collect()
}

fn describe(adapter: &wgpu::Adapter, backend: &'static str, seen: &mut Vec<Kind>) -> Adapter {
    let (info, limits, has) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::VirtualGpu => Kind::Virtual,
        wgpu::DeviceType::Cpu => Kind::Cpu,
        wgpu::DeviceType::Other => Kind::Other,
    };
    // CubeCL names an adapter by its place among those of its kind.
    let index = seen.iter().filter(|other| **other == kind).count();
    seen.push(kind);
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
        index,
    }
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
