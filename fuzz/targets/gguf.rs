//! Any bytes as a GGUF file: an error or a checkpoint whose tensors can be read.

#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use tinderbox_model::{Checkpoint, MemoryStorage};

fuzz_target!(|bytes: &[u8]| {
    let storage = MemoryStorage::new("fuzz.gguf", bytes.to_vec());
    let Ok(checkpoint) = block_on(Checkpoint::from_gguf(vec![Box::new(storage)])) else {
        return;
    };
    let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    for name in names {
        block_on(checkpoint.read(&name)).expect("tensors of an opened file lie inside it");
    }
});
