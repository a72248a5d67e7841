//! The browser's GPU.

use std::sync::Once;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

use super::gpu::{TASKS_MAX, describe};
use super::{Adapter, Choice, DeviceError, Kind, Selected, cpu};

/// Starts WebGPU where the browser has it, else the CPU twin where the choice allows; `auto` takes
/// the CPU twin in place of a software adapter, too. After the loss of a device another call starts
/// a new one. `name` is what the browser calls the adapter: wgpu does not pass it on.
///
/// # Errors
/// As [`select`](super::select).
pub async fn select_webgpu(
    choice: Choice,
    name: String,
) -> Result<(Selected, Option<Adapter>), DeviceError> {
    construct();
    if choice == Choice::Cpu {
        return Ok((cpu("asked for"), None));
    }
    if !matches!(choice, Choice::Auto | Choice::Gpu | Choice::Webgpu) {
        let reason = "a browser has WebGPU only; use webgpu or auto";
        return Err(DeviceError::Unsupported { choice, reason });
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::BROWSER_WEBGPU,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    let Ok(adapter) = instance.request_adapter(&options).await else {
        if choice == Choice::Auto {
            return Ok((cpu("this browser offers no WebGPU adapter"), None));
        }
        let found = "none".to_owned();
        return Err(DeviceError::Missing { choice, found });
    };
    let described = Adapter {
        name,
        ..describe(&adapter, "webgpu")
    };
    let software = described.kind == Kind::Cpu;
    if software && choice == Choice::Auto {
        let reason = format!("the CPU is faster than the software GPU {described}");
        return Ok((cpu(reason), Some(described)));
    }
    let device = start(instance, adapter).await;
    let device = device.map_err(|reason| DeviceError::Start {
        adapter: described.to_string(),
        reason,
    })?;
    let selected = Selected {
        device,
        description: described.to_string(),
        reason: match choice {
            Choice::Auto => "the browser offers WebGPU".to_owned(),
            _ => format!("asked for as {choice}"),
        },
        software,
    };
    Ok((selected, Some(described)))
}

async fn start(instance: wgpu::Instance, adapter: wgpu::Adapter) -> Result<Device, String> {
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features(),
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|error| error.to_string())?;
    let setup = WgpuSetup {
        instance,
        adapter,
        device,
        queue,
        backend: wgpu::Backend::BrowserWebGpu,
    };
    // A setup of our own gets an identity of its own, so that a second device can follow a lost one.
    let options = Device::wgpu_options().setup(setup).tasks_max(TASKS_MAX);
    options.init().map_err(|error| error.to_string())
}

/// Runs the module's constructors, with which CubeCL's compiler registers its parts. In a module that does not mention them
/// the linker has every export run all of them first: five milliseconds a token.
fn construct() {
    static ONCE: Once = Once::new();
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: the linker makes this function, without arguments, to be called once before what needs it.
    ONCE.call_once(|| unsafe { __wasm_call_ctors() });
}
