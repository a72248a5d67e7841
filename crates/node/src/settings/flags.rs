//! The command line's flags.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Flags that say which model runs where. Each has a `TINDERBOX_*` variable and a key of the
/// configuration file of the same name.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// Model: a catalog name (`tinderbox list`), a .gguf file, a Hugging Face folder, or
    /// hf:OWNER/REPO[/FILE] [default: smollm2-135m-instruct]
    #[arg(long, short, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Device: auto, cpu, gpu, vulkan, metal, dx12 or webgpu. `auto` takes a real GPU, else the
    /// CPU; a software GPU only when asked for by name [default: auto]
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Tokens one sequence may hold, prompt and answer together [default: the model's, at most 8192]
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(16..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// Threads of the CPU twin, 1 or more [default: one a core]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u16>,
    /// Numbers of the KV cache. `auto` is f32 for an F32 checkpoint or where the device lacks f16,
    /// else f16 [default: auto]
    #[arg(long, global = true, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<Kv>,
    /// Most sequences generated at once, 1 or more [default: 32]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sequences: Option<u16>,
    /// Most sequences that wait; one more is refused with 429 and Retry-After [default: 256]
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u32>,
    /// MiB that all loaded models may take together; the least recently used idle one makes room
    /// for another [default: three quarters of the machine's memory, no bound on a GPU]
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Folder of fetched models [default: the platform's cache folder]
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

/// Flags of `serve` alone. They hold a key as it was typed, so they are never printed.
#[derive(Args, Clone, Default, Serialize)]
pub struct ServeFlags {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes any free one and prints it [default: 8080]
    #[arg(long, short)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Folder of models (.gguf files and Hugging Face folders) that requests may name besides the
    /// one of --model: each is loaded when it is asked for [default: none]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<PathBuf>,
    /// Key that callers must send as `Authorization: Bearer KEY` (better as TINDERBOX_API_KEY: other
    /// users see a command line) [default: none]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// File of keys, one a line: the key itself or `sha256:` and its hash in hex; # begins a comment
    /// [default: none]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<PathBuf>,
    /// Origins whose pages may call the server, comma separated; * is any [default: *]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<String>,
    /// Largest request body in MiB [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<u32>,
    /// Requests a minute that LocalLab's generation paths take from one address, at most 10 of them
    /// at once; 0 is no limit [default: 60]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locallab_rate: Option<u32>,
    /// LiteLLM's custom endpoint answers with the prompt in front of the text [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub litellm_echo: Option<bool>,
    /// Log lines for people or as JSON; RUST_LOG chooses what is logged [default: text]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Seconds that running requests get to finish after SIGTERM or SIGINT [default: 30]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout: Option<u64>,
}

/// Numbers of the KV cache.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kv {
    /// What suits checkpoint and device.
    Auto,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
