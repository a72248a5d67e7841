//! The CPU twin's threads: workers that share this module's memory.

use std::sync::{Condvar, Mutex, PoisonError};

use js_sys::Array;
use rayon::{ThreadBuilder, ThreadPoolBuilder};
use wasm_bindgen::prelude::*;

/// Threads of the pool that no worker has taken yet.
static VACANT: Mutex<Vec<ThreadBuilder>> = Mutex::new(Vec::new());
static OFFERED: Condvar = Condvar::new();

/// What another worker needs to run this module in this memory: both, in this order.
#[wasm_bindgen]
pub fn shared() -> Array {
    Array::of2(&wasm_bindgen::module(), &wasm_bindgen::memory())
}

/// Makes the calling worker the first of `count` threads. It waits for the others, which are on their
/// way into [`work`].
///
/// # Errors
/// Where there is a pool already.
#[wasm_bindgen(js_name = startThreads)]
pub fn start_threads(count: usize) -> Result<(), JsError> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .use_current_thread()
        .spawn_handler(|thread| {
            let mut vacant = VACANT.lock().unwrap_or_else(PoisonError::into_inner);
            vacant.push(thread);
            OFFERED.notify_one();
            Ok(())
        });
    Ok(pool.build_global()?)
}

/// Is one of the threads, for as long as the worker lives.
#[wasm_bindgen]
pub fn work() {
    let mut vacant = VACANT.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = loop {
        match vacant.pop() {
            Some(thread) => break thread,
            None => {
                vacant = OFFERED.wait(vacant).unwrap_or_else(PoisonError::into_inner);
            }
        }
    };
    drop(vacant);
    thread.run();
}
