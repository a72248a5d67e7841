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

pub use flags::{Flags, Kv, LogFormat, ServeFlags};

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
    pub memory: Option<u64>,
    pub cache: Option<PathBuf>,
    pub models: Option<PathBuf>,
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
            memory: None,
            cache: None,
            models: None,
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
        }
    }
}

/// Numbers and switches that have a `TINDERBOX_` variable.
const NUMBERS: [&str; 10] = [
    "body_limit",
    "context",
    "litellm_echo",
    "locallab_rate",
    "memory",
    "threads",
    "max_sequences",
    "max_queue",
    "port",
    "shutdown_timeout",
];

/// Texts that have a `TINDERBOX_` variable.
const TEXTS: [&str; 10] = [
    "model",
    "device",
    "kv_type",
    "cache",
    "models",
    "host",
    "api_key",
    "api_keys",
    "cors",
    "log_format",
];

/// The variables of [`TEXTS`] as they stand: `Env` would read a key of digits as a number.
struct TextVariables;

impl Provider for TextVariables {
    fn metadata(&self) -> Metadata {
        Metadata::named("`TINDERBOX_` environment variable(s)")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for key in TEXTS {
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
    /// Joins the layers.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value of the wrong type; the message names the layer.
    pub fn read(
        file: Option<&PathBuf>,
        flags: &Flags,
        serve: &ServeFlags,
    ) -> anyhow::Result<Settings> {
        let mut figment = Figment::from(Serialized::defaults(Settings::default()));
        if let Some(file) = file {
            // A file that was named must be there.
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment
            .merge(Env::prefixed("TINDERBOX_").only(&NUMBERS))
            .merge(TextVariables)
            .merge(Serialized::defaults(flags))
            .merge(Serialized::defaults(serve));
        let settings: Settings = figment.extract()?;
        settings.check()?;
        Ok(settings)
    }

    /// The ranges of the flags, for the layers that clap does not see.
    fn check(&self) -> anyhow::Result<()> {
        let least = [
            ("context", self.context, 16),
            ("threads", self.threads.map(u32::from), 1),
            ("max_sequences", Some(self.max_sequences.into()), 1),
            ("body_limit", Some(self.body_limit), 1),
        ];
        for (name, value, least) in least {
            if let Some(value) = value {
                anyhow::ensure!(value >= least, "{name}: {value} is below {least}");
            }
        }
        Ok(())
    }
}
