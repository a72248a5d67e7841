//! What a GPU was told once, and does again without being told each operation.
//!
//! First [`Recorder::prepare`], then the operations once as always, and when nothing of what they made is left,
//! [`Recorder::record`].

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use burn::tensor::{Device, Int, Tensor};

/// A device that is about to record.
pub struct Recorder(gpu::Recorder);

impl Recorder {
    /// The memory of what is done next is kept for what is recorded. `None` where a device records nothing: the CPU, a
    /// GPU that recorded wrongly in its self-test, and one that records for another thread with the same queue.
    pub fn prepare(device: &Device) -> Option<Recorder> {
        gpu::prepare(device).map(Recorder)
    }

    /// Records the operations of `work`, which are not done: what it answers with has its numbers from
    /// [`Recording::run`] on. Nothing else may be in it: no upload, no reading, no memory that was not in use in between.
    ///
    /// # Errors
    /// What the device says. It takes what the operations would have written for lost then.
    pub fn record<T>(self, work: impl FnOnce() -> T) -> Result<(Recording, T), String> {
        let (recording, made) = self.0.record(work)?;
        Ok((Recording(recording), made))
    }
}

/// Operations as they were recorded, on the tensors they were recorded with. wgpu encodes each of them
/// again, but kernels are looked up, bindings made and numbers sent only once (CubeCL's software graph).
pub struct Recording(gpu::Recording);

impl Recording {
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

/// Numbers on their way from a device.
pub type Reading = Pin<Box<dyn Future<Output = Result<Vec<i32>, String>> + Send>>;

/// Reads a tensor as it is now: what is handed to the device between this and the answer may write over it.
pub fn read_now(tensor: &Tensor<1, Int>) -> Reading {
    let read = tensor.clone().into_data_async();
    let mut reading: Reading = Box::pin(async {
        let data = read.await.map_err(|error| error.to_string())?;
        let values = data.try_into_vec::<i32>();
        values.map_err(|error| format!("{error:?}"))
    });
    // The copy is handed over when the future is polled first.
    match reading
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(values) => Box::pin(std::future::ready(values)),
        Poll::Pending => reading,
    }
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::thread::ThreadId;

    use burn::backend::{Cube, DispatchDevice};
    use burn::cubecl::client::{Client, Graph};
    use burn::tensor::{Bytes, Device, Int, Tensor};

    use crate::gpu::Fault;

    pub struct Recorder {
        client: Client,
        /// Until then the device waits for what is to be recorded.
        ended: bool,
    }

    pub struct Recording {
        graph: Graph,
        /// A thread has a queue of its own.
        thread: ThreadId,
    }

    fn said(error: impl std::fmt::Debug) -> String {
        format!("{error:?}")
    }

    pub fn prepare(device: &Device) -> Option<Recorder> {
        let DispatchDevice::Cube(cube) = device.as_dispatch() else {
            return None;
        };
        if Fault::Recording.is_known(cube) {
            return None;
        }
        let client = cube.client();
        client.graph_prepare().ok()?;
        let ended = false;
        Some(Recorder { client, ended })
    }

    impl Recorder {
        pub fn record<T>(mut self, work: impl FnOnce() -> T) -> Result<(Recording, T), String> {
            self.client.start_capture().map_err(said)?;
            let made = work();
            self.ended = true;
            let recording = Recording {
                graph: self.client.stop_capture().map_err(said)?,
                thread: std::thread::current().id(),
            };
            Ok((recording, made))
        }
    }

    impl Drop for Recorder {
        fn drop(&mut self) {
            if !self.ended {
                // There is nothing in it, which it says.
                let _ = self.client.stop_capture();
            }
        }
    }

    impl Recording {
        pub unsafe fn run(&self) -> Result<(), String> {
            if self.thread != std::thread::current().id() {
                return Err("a recording is of another thread".into());
            }
            // SAFETY: the caller keeps what `work` was given, CubeCL the pages of what it made; one thread's
            // work has one queue.
            unsafe { self.graph.replay() }.map_err(said)
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

    pub enum Recorder {}
    pub enum Recording {}

    pub fn prepare(_: &Device) -> Option<Recorder> {
        None
    }

    impl Recorder {
        pub fn record<T>(self, _: impl FnOnce() -> T) -> Result<(Recording, T), String> {
            match self {}
        }
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
