//! What a GPU was told once, and does again without being told each operation.

use burn::tensor::{Device, Int, Tensor};

/// Operations as they were recorded, on the tensors they were recorded with. wgpu encodes each of them
/// again, but kernels are looked up, bindings made and numbers sent only once (CubeCL's software graph).
pub struct Recording(gpu::Recording);

impl Recording {
    /// Runs `work` once and records what it hands to the device when it runs again; the second time nothing
    /// is computed, so that what it answers with has its numbers from [`Recording::run`] on. Nothing but operations
    /// on the device may be in it: no upload, no reading. `None` on the CPU, which records nothing.
    ///
    /// # Errors
    /// What the device says; `work` was run then, or the device is at fault.
    pub fn of<T>(
        device: &Device,
        work: impl FnMut() -> T,
    ) -> Result<Option<(Recording, T)>, String> {
        let recorded = gpu::record(device, work)?;
        Ok(recorded.map(|(recording, made)| (Recording(recording), made)))
    }

    /// Hands the operations to the device once more.
    ///
    /// # Errors
    /// What the device says, or another thread than the one that recorded: its queue has no order with this one.
    ///
    /// # Safety
    /// The tensors that `work` was given still exist, and no other thread uses them. Those it made are the recording's.
    pub unsafe fn run(&self) -> Result<(), String> {
        // SAFETY: the caller's.
        unsafe { self.0.run() }
    }
}

/// Puts other numbers into a tensor on a GPU, for a [`Recording`] that reads it.
///
/// # Panics
/// Where there are not as many, or the tensor is the CPU's.
pub fn overwrite<const D: usize>(tensor: &Tensor<D, Int>, values: &[i32]) {
    assert_eq!(tensor.shape().num_elements(), values.len());
    gpu::overwrite(tensor, values);
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::thread::ThreadId;

    use burn::backend::{Cube, DispatchDevice};
    use burn::cubecl::client::Graph;
    use burn::tensor::{Bytes, Device, Int, Tensor};

    pub struct Recording {
        graph: Graph,
        /// A thread has a queue of its own.
        thread: ThreadId,
    }

    pub fn record<T>(
        device: &Device,
        mut work: impl FnMut() -> T,
    ) -> Result<Option<(Recording, T)>, String> {
        let DispatchDevice::Cube(cube) = device.as_dispatch() else {
            return Ok(None);
        };
        let client = cube.client();
        let said = |error| format!("{error:?}");
        client.graph_prepare().map_err(said)?;
        // The recorded run takes the memory that this one gives back.
        drop(work());
        if let Err(error) = client.start_capture() {
            // It ends what was prepared, too.
            let _ = client.stop_capture();
            return Err(said(error));
        }
        let made = work();
        let recording = Recording {
            graph: client.stop_capture().map_err(said)?,
            thread: std::thread::current().id(),
        };
        Ok(Some((recording, made)))
    }

    impl Recording {
        pub unsafe fn run(&self) -> Result<(), String> {
            if self.thread != std::thread::current().id() {
                return Err("a recording is of another thread".into());
            }
            // SAFETY: the caller keeps what `work` was given, CubeCL the pages of what it made; one thread's
            // work has one queue.
            unsafe { self.graph.replay() }.map_err(|error| format!("{error:?}"))
        }
    }

    pub fn overwrite<const D: usize>(tensor: &Tensor<D, Int>, values: &[i32]) {
        let tensor = tensor.clone().try_into_primitive::<Cube>();
        let tensor = tensor.expect("only a GPU records");
        let bytes = Bytes::from_bytes_vec(bytemuck::cast_slice(values).to_vec());
        tensor.client.write(&tensor.handle, bytes);
    }
}

#[cfg(not(feature = "gpu"))]
mod gpu {
    use burn::tensor::{Device, Int, Tensor};

    pub enum Recording {}

    pub fn record<T>(_: &Device, _: impl FnMut() -> T) -> Result<Option<(Recording, T)>, String> {
        Ok(None)
    }

    impl Recording {
        pub unsafe fn run(&self) -> Result<(), String> {
            match *self {}
        }
    }

    pub fn overwrite<const D: usize>(_: &Tensor<D, Int>, _: &[i32]) {
        panic!("only a GPU records");
    }
}
