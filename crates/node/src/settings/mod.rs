//! What the user decides: flags over environment over configuration file over defaults.

mod flags;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Deserializer, Serialize, de};
use sha2::{Digest, Sha256};

pub use flags::{
    BenchFlags, Embedding, Flags, FormFlags, Kv, LogFormat, PackFlags, PullFlags, RunFlags,
    ServeFlags,
};

/// Everything decided.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // The flags say it.
pub struct Settings {
    pub model: String,
    pub device: String,
    pub context: Option<u32>,
    pub threads: Option<u16>,
    pub kv_type: Kv,
    pub max_sequences: u16,
    pub max_queue: u32,
    pub speculate: u8,
    pub memory: Option<u64>,
    pub cache: Option<PathBuf>,
    pub catalog: Option<PathBuf>,
    pub models: Option<PathBuf>,
    pub adapters: Option<PathBuf>,
    pub adapter_memory: u32,
    pub host: IpAddr,
    pub port: u16,
    /// Its SHA-256 sum, in hexadecimal digits.
    #[serde(deserialize_with = "key_sum")]
    pub api_key: Option<String>,
    pub api_keys: Option<PathBuf>,
    pub cors: String,
    pub body_limit: u32,
    pub locallab_rate: u32,
    pub litellm_echo: bool,
    pub log_format: LogFormat,
    pub shutdown_timeout: u64,
    pub prompt: Option<String>,
    pub system: Option<String>,
    pub temperature: f32,
    pub seed: Option<u64>,
    pub max_tokens: Option<usize>,
    #[serde(deserialize_with = "numbers")]
    pub prompt_tokens: Vec<usize>,
    pub output_tokens: usize,
    #[serde(deserialize_with = "numbers")]
    pub batch: Vec<usize>,
    pub repetitions: usize,
    pub profile: Option<PathBuf>,
    pub out: Option<PathBuf>,
    pub part_mib: u32,
    pub embedding: Option<Embedding>,
    pub json: bool,
}

/// Reads one number or several; a variable has them with commas between, as a flag has.
fn numbers<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<usize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or several")]
    enum Numbers {
        One(usize),
        Several(Vec<usize>),
        Text(String),
    }
    match Numbers::deserialize(value)? {
        Numbers::One(number) => Ok(vec![number]),
        Numbers::Several(numbers) => Ok(numbers),
        Numbers::Text(text) => {
            let numbers = text.split(',').map(|number| number.trim().parse());
            let wrong =
                |_| de::Error::custom(format!("`{text}` is not numbers with commas between"));
            numbers.collect::<Result<_, _>>().map_err(wrong)
        }
    }
}

/// Reads a key, and keeps its hash alone. The error is our own because serde's would print the
/// key, and an empty key would let everybody in.
fn key_sum<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(value)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(key)) if !key.is_empty() => {
            let sum = Sha256::digest(key);
            Ok(Some(sum.iter().map(|byte| format!("{byte:02x}")).collect()))
        }
        Some(_) => Err(de::Error::custom("the key must be a text and not empty")),
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            model: crate::catalog::DEFAULT.into(),
            device: "auto".into(),
            context: None,
            threads: None,
            kv_type: Kv::Auto,
            max_sequences: 32,
            max_queue: 256,
            speculate: 0,
            memory: None,
            cache: None,
            catalog: None,
            models: None,
            adapters: None,
            adapter_memory: 1024,
            host: [127, 0, 0, 1].into(),
            port: 8080,
            api_key: None,
            api_keys: None,
            cors: "*".into(),
            body_limit: 16,
            locallab_rate: 60,
            litellm_echo: false,
            log_format: LogFormat::Text,
            shutdown_timeout: 30,
            prompt: None,
            system: None,
            temperature: 0.7,
            seed: None,
            max_tokens: None,
            prompt_tokens: vec![512],
            output_tokens: 128,
            batch: vec![1],
            repetitions: 3,
            profile: None,
            out: None,
            part_mib: 25,
            embedding: None,
            json: false,
        }
    }
}

/// Numbers and switches that have a `TINDERBOX_` variable.
const NUMBERS: &[&str] = &[
    "adapter_memory",
    "body_limit",
    "context",
    "json",
    "litellm_echo",
    "locallab_rate",
    "max_queue",
    "max_sequences",
    "max_tokens",
    "memory",
    "output_tokens",
    "part_mib",
    "port",
    "repetitions",
    "seed",
    "shutdown_timeout",
    "speculate",
    "temperature",
    "threads",
];

/// Texts that have a `TINDERBOX_` variable.
const TEXTS: &[&str] = &[
    "adapters",
    "api_key",
    "api_keys",
    "batch",
    "cache",
    "catalog",
    "cors",
    "device",
    "embedding",
    "host",
    "kv_type",
    "log_format",
    "model",
    "models",
    "out",
    "profile",
    "prompt",
    "prompt_tokens",
    "system",
];

/// The variables of [`TEXTS`] as they stand: `Env` would read a key of digits as a number.
struct TextVariables;

impl Provider for TextVariables {
    fn metadata(&self) -> Metadata {
        Metadata::named("`TINDERBOX_` environment variable(s)")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for &key in TEXTS {
            let name = format!("TINDERBOX_{}", key.to_uppercase());
            match std::env::var(&name) {
                Ok(value) => drop(dict.insert(key.into(), value.into())),
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(figment::Error::from(format!("{name} is not UTF-8")));
                }
            }
        }
        Ok(Profile::Default.collect(dict))
    }
}

impl Settings {
    /// Joins the layers; of two flags of one name that of the subcommand counts.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value of the wrong type; the message names the layer.
    pub fn read(
        file: Option<&PathBuf>,
        flags: &Flags,
        command: &impl Serialize,
    ) -> anyhow::Result<Settings> {
        let mut figment = Figment::from(Serialized::defaults(Settings::default()));
        if let Some(file) = file {
            // A file that was named must be there.
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment
            .merge(Env::prefixed("TINDERBOX_").only(NUMBERS))
            .merge(TextVariables)
            .merge(given(flags)?)
            .merge(given(command)?);
        let settings: Settings = figment.extract()?;
        settings.check()?;
        Ok(settings)
    }

    /// The ranges of the flags, for the layers that clap does not see.
    fn check(&self) -> anyhow::Result<()> {
        let least = [
            ("context", self.context, 16),
            ("threads", self.threads.map(u32::from), 1),
            ("adapter_memory", Some(self.adapter_memory), 1),
            ("max_sequences", Some(self.max_sequences.into()), 1),
            ("body_limit", Some(self.body_limit), 1),
            ("part_mib", Some(self.part_mib), 1),
        ];
        for (name, value, least) in least {
            if let Some(value) = value {
                anyhow::ensure!(value >= least, "{name}: {value} is below {least}");
            }
        }
        Ok(())
    }
}

/// The flags that were given; the others leave what the layers below say.
fn given(flags: &impl Serialize) -> anyhow::Result<Serialized<serde_json::Value>> {
    let mut flags = serde_json::to_value(flags)?;
    if let Some(flags) = flags.as_object_mut() {
        flags.retain(|_, value| !value.is_null());
    }
    Ok(Serialized::defaults(flags))
}
