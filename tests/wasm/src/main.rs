//! Prints the ids of one greedy answer, computed natively: `FILE.gguf PROMPT COUNT`.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, prompt, count] = &arguments[..] else {
        return Err("usage: tinderbox-wasm-test FILE.gguf PROMPT COUNT".into());
    };
    let answer = tinderbox_wasm_test::greedy(std::fs::read(file)?, prompt, count.parse()?);
    println!("{:?}", futures::executor::block_on(answer)?);
    Ok(())
}

/// In WebAssembly the library is what runs.
#[cfg(target_arch = "wasm32")]
fn main() {}
