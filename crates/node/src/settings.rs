//! What the user decides: flags over environment over configuration file over defaults.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Deserializer, Serialize, de};

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
    /// Folder of fetched models [default: the platform's cache folder]
    #[arg(long, global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

/// Flags of `serve` alone.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct ServeFlags {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// Port to listen on; 0 takes any free one and prints it [default: 8080]
    #[arg(long, short)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Key that callers must send as `Authorization: Bearer KEY` (better as TINDERBOX_API_KEY: other
    /// users see a command line) [default: none]
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
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
    pub cache: Option<PathBuf>,
    pub host: IpAddr,
    pub port: u16,
    #[serde(deserialize_with = "key")]
    pub api_key: Option<String>,
    pub log_format: LogFormat,
    pub shutdown_timeout: u64,
}

/// Reads a key. The error is our own because serde's would print the key, and an empty key would
/// let everybody in.
fn key<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(value)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(key)) if !key.is_empty() => Ok(Some(key)),
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
            cache: None,
            host: [127, 0, 0, 1].into(),
            port: 8080,
            api_key: None,
            log_format: LogFormat::Text,
            shutdown_timeout: 30,
        }
    }
}

/// Numbers that have a `TINDERBOX_` variable.
const NUMBERS: [&str; 6] = [
    "context",
    "threads",
    "max_sequences",
    "max_queue",
    "port",
    "shutdown_timeout",
];

/// Texts that have a `TINDERBOX_` variable.
const TEXTS: [&str; 7] = [
    "model",
    "device",
    "kv_type",
    "cache",
    "host",
    "api_key",
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
        ];
        for (name, value, least) in least {
            if let Some(value) = value {
                anyhow::ensure!(value >= least, "{name}: {value} is below {least}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::result_large_err)] // figment's own signature
    fn flags_win_over_environment_over_file_over_defaults() {
        figment::Jail::expect_with(|jail| {
            jail.create_file("t.toml", "port = 1\nmodel = \"file\"\nmax_queue = 7\n")?;
            jail.set_env("TINDERBOX_PORT", "2");
            jail.set_env("TINDERBOX_MODEL", "environment");
            let flags = Flags {
                model: Some("flag".into()),
                ..Flags::default()
            };
            let file = PathBuf::from("t.toml");
            let settings = Settings::read(Some(&file), &flags, &ServeFlags::default()).unwrap();
            assert_eq!((settings.port, settings.model.as_str()), (2, "flag"));
            assert_eq!((settings.max_queue, settings.shutdown_timeout), (7, 30));
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err)]
    fn an_unknown_key_in_the_file_is_refused_by_name() {
        figment::Jail::expect_with(|jail| {
            jail.create_file("t.toml", "prot = 1\n")?;
            let file = PathBuf::from("t.toml");
            let read = Settings::read(Some(&file), &Flags::default(), &ServeFlags::default());
            assert!(read.unwrap_err().to_string().contains("prot"));
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err)]
    fn a_key_of_digits_is_a_key() {
        figment::Jail::expect_with(|jail| {
            jail.set_env("TINDERBOX_API_KEY", "0918273645");
            let settings = Settings::read(None, &Flags::default(), &ServeFlags::default()).unwrap();
            assert_eq!(settings.api_key.as_deref(), Some("0918273645"));
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err)]
    fn a_wrong_or_empty_key_is_refused_and_not_printed() {
        figment::Jail::expect_with(|jail| {
            let file = PathBuf::from("t.toml");
            for key in ["918273645", "\"\""] {
                jail.create_file("t.toml", &format!("api_key = {key}\n"))?;
                let read = Settings::read(Some(&file), &Flags::default(), &ServeFlags::default());
                let error = read.unwrap_err().to_string();
                assert!(
                    error.contains("api_key") && !error.contains("918273645"),
                    "{error}"
                );
            }
            Ok(())
        });
    }

    #[test]
    #[allow(clippy::result_large_err)]
    fn ranges_hold_for_every_layer() {
        figment::Jail::expect_with(|jail| {
            for name in ["CONTEXT", "THREADS", "MAX_SEQUENCES"] {
                jail.set_env(format!("TINDERBOX_{name}"), "0");
                let read = Settings::read(None, &Flags::default(), &ServeFlags::default());
                let error = read.unwrap_err().to_string();
                assert!(error.contains(&name.to_lowercase()), "{error}");
                jail.set_env(format!("TINDERBOX_{name}"), "16");
            }
            Ok(())
        });
    }
}
