//! The command line's flags. Each has a `TINDERBOX_*` variable and a key of the configuration file of
//! the same name; what is not given is `None`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Flags that say which model runs where.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// Model: a catalog name (`tinderbox list`), a .gguf file, a Hugging Face folder, or
    /// hf:OWNER/REPO[/FILE] [default: smollm2-135m-instruct]
    #[arg(long, short, global = true)]
    pub model: Option<String>,
    /// Device: auto, cpu, gpu, vulkan, metal, dx12 or webgpu. `auto` takes a real GPU, else the
    /// CPU; a software GPU only when asked for by name [default: auto]
    #[arg(long, global = true)]
    pub device: Option<String>,
    /// Tokens one sequence may hold, prompt and answer together [default: the model's, at most 8192]
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(16..))]
    pub context: Option<u32>,
    /// Threads of the CPU twin, 1 or more [default: one a core]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Numbers of the KV cache. `auto` is f32 for an F32 checkpoint or where the device lacks f16,
    /// else f16 [default: auto]
    #[arg(long, global = true, value_enum)]
    pub kv_type: Option<Kv>,
    /// Most sequences generated at once, 1 or more [default: 32]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_sequences: Option<u16>,
    /// Most sequences that wait; one more is refused with 429 and Retry-After [default: 256]
    #[arg(long, global = true)]
    pub max_queue: Option<u32>,
    /// Most tokens of an answer that are guessed ahead in a step, from what prompt and answer repeat;
    /// 0 guesses none. Answers stay the same; those that quote come sooner [default: 0]
    #[arg(long, global = true)]
    pub speculate: Option<u8>,
    /// MiB that all loaded models may take together; the least recently used idle one makes room
    /// for another [default: three quarters of the machine's memory, no bound on a GPU]
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub memory: Option<u64>,
    /// Folder of fetched models [default: the platform's cache folder]
    #[arg(long, global = true)]
    pub cache: Option<PathBuf>,
    /// Catalog of your own (TOML), whose models are known by name besides the built-in ones
    /// [default: none]
    #[arg(long, global = true)]
    pub catalog: Option<PathBuf>,
}

/// Flags of `serve` alone. They hold a key as it was typed, so they are never printed.
#[derive(Args, Clone, Default, Serialize)]
pub struct ServeFlags {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes any free one and prints it [default: 8080]
    #[arg(long, short)]
    pub port: Option<u16>,
    /// Folder of models (.gguf files and Hugging Face folders) that requests may name besides the
    /// one of --model: each is loaded when it is asked for [default: none]
    #[arg(long)]
    pub models: Option<PathBuf>,
    /// Folder of adapters (PEFT folders named NAME or OWNER/NAME) that requests may name [default:
    /// none; the hub is asked in any case, and S3 storage where AWS_ACCESS_KEY_ID is set]
    #[arg(long)]
    pub adapters: Option<PathBuf>,
    /// MiB that the adapters of a model may take; the least recently used idle ones make room for
    /// others [default: 1024]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub adapter_memory: Option<u32>,
    /// Key that callers must send as `Authorization: Bearer KEY` (better as TINDERBOX_API_KEY: other
    /// users see a command line) [default: none]
    #[arg(long)]
    pub api_key: Option<String>,
    /// File of keys, one a line: the key itself or `sha256:` and its hash in hex; # begins a comment
    /// [default: none]
    #[arg(long)]
    pub api_keys: Option<PathBuf>,
    /// Origins whose pages may call the server, comma separated; * is any [default: *]
    #[arg(long)]
    pub cors: Option<String>,
    /// Largest request body in MiB [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub body_limit: Option<u32>,
    /// Requests a minute that LocalLab's generation paths take from one address, at most 10 of them
    /// at once; 0 is no limit [default: 60]
    #[arg(long)]
    pub locallab_rate: Option<u32>,
    /// LiteLLM's custom endpoint answers with the prompt in front of the text [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub litellm_echo: Option<bool>,
    /// Log lines for people or as JSON; RUST_LOG chooses what is logged [default: text]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Seconds that running requests get to finish after SIGTERM or SIGINT [default: 30]
    #[arg(long)]
    pub shutdown_timeout: Option<u64>,
}

/// Flags of `run` alone.
#[derive(Args, Serialize)]
pub struct RunFlags {
    /// Answer this prompt and leave
    #[arg(long, short)]
    pub prompt: Option<String>,
    /// Instructions the model gets before the conversation
    #[arg(long)]
    pub system: Option<String>,
    /// 0 always takes the likeliest token; above 0 is more varied [default: 0.7]
    #[arg(long)]
    pub temperature: Option<f32>,
    /// Same seed, same answers [default: a fresh one]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Most tokens of an answer [default: the rest of the context]
    #[arg(long)]
    pub max_tokens: Option<usize>,
}

/// Flags of `pull` alone.
#[derive(Args, Serialize)]
pub struct PullFlags {
    /// Model to fetch, as for --model
    #[serde(rename = "model")]
    pub name: Option<String>,
    #[allow(missing_docs)] // A comment here would be one of the subcommand.
    #[command(flatten)]
    #[serde(flatten)]
    pub form: FormFlags,
}

/// Flags of `bench` alone.
#[derive(Args, Serialize)]
pub struct BenchFlags {
    /// Prompt lengths, in tokens [default: 512]
    #[arg(long, value_delimiter = ',')]
    pub prompt_tokens: Option<Vec<usize>>,
    /// Tokens generated after each prompt [default: 128]
    #[arg(long)]
    pub output_tokens: Option<usize>,
    /// Sequences decoded together [default: 1]
    #[arg(long, value_delimiter = ',')]
    pub batch: Option<Vec<usize>>,
    /// Rounds; the median is reported, after one round that is not counted [default: 3]
    #[arg(long)]
    pub repetitions: Option<usize>,
    /// Run once more, and write where the time went to this file, which ui.perfetto.dev opens
    #[arg(long)]
    pub profile: Option<PathBuf>,
    #[allow(missing_docs)] // A comment here would be one of the subcommand.
    #[command(flatten)]
    #[serde(flatten)]
    pub form: FormFlags,
}

/// Flags of `pack` alone.
#[derive(Args, Serialize)]
pub struct PackFlags {
    /// Folder for the parts and their manifest; made where it is not there
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Most MiB of a part; Cloudflare takes 25 [default: 25]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub part_mib: Option<u32>,
    /// What the embedding becomes: smaller, less exact [default: what it is]
    #[arg(long, value_enum)]
    pub embedding: Option<Embedding>,
}

/// The form of what a subcommand prints.
#[derive(Args, Serialize)]
pub struct FormFlags {
    /// Print JSON [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub json: Option<bool>,
}

/// Formats an embedding can be given.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs)] // The formats' own names.
pub enum Embedding {
    Q4_0,
    Q4_1,
    Q8_0,
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
