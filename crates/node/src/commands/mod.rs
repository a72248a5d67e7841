//! The command line: one file a subcommand.

mod bench;
mod doctor;
mod list;
mod pack;
mod progress;
mod pull;
mod run;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use etcetera::BaseStrategy;
use serde::Serialize;

use crate::catalog::Catalog;
use crate::pull::{Hub, Local, resolve};
use crate::settings::{
    BenchFlags, Flags, FormFlags, PackFlags, PullFlags, RunFlags, ServeFlags, Settings,
};

/// Run language models where they are: one binary that fetches, loads and serves them.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Configuration file (TOML); its keys are the long flags with _ for -
    #[arg(long, global = true, env = "TINDERBOX_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

const AFTER_HELP: &str = "\
Examples:
  tinderbox serve                                  serve the default model on 127.0.0.1:8080
  tinderbox serve --model ./model.gguf --port 9000
  tinderbox run                                    chat in the terminal
  echo 'What is 2 + 2?' | tinderbox run            one question, one answer
  tinderbox bench --prompt-tokens 512 --json       measure

A flag wins over its TINDERBOX_* variable (TINDERBOX_MODEL, TINDERBOX_MAX_QUEUE, ...), that over the
configuration file, that over the default. Models are fetched once into the cache folder; HF_ENDPOINT
and HF_TOKEN are honoured.

Exit status: 0 done, 1 failed (the message says why), 2 wrong usage.";

#[derive(Serialize, Subcommand)]
#[serde(untagged)]
enum Command {
    /// Serve the OpenAI API over HTTP
    Serve(ServeFlags),
    /// Chat in the terminal, or answer one prompt
    Run(RunFlags),
    /// Fetch a model into the cache folder
    Pull(PullFlags),
    /// List the catalog and what is cached
    List(FormFlags),
    /// Cut a model into parts that the edge can hold
    Pack(PackFlags),
    /// Measure loading, first token, prefill and decode
    Bench(BenchFlags),
    /// Show devices, limits, kernel self-tests and the device that would be used
    Doctor(FormFlags),
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(code) => code,
            Err(error) => {
                eprintln!("tinderbox: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    /// What flags, variables and configuration file say together.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        Settings::read(self.config.as_ref(), &self.flags, &self.command)
    }

    fn dispatch(self) -> anyhow::Result<ExitCode> {
        let settings = self.settings()?;
        let runtime = tokio::runtime::Runtime::new()?;
        let outcome = runtime.block_on(async {
            match self.command {
                Command::Serve(flags) => {
                    // With the key as it was typed; the settings have its hash.
                    drop(flags);
                    serve::run(&settings).await
                }
                Command::Run(_) => run::run(&settings).await,
                Command::Pull(_) => pull::run(&settings).await,
                Command::List(_) => list::run(&settings),
                Command::Pack(_) => pack::run(&settings).await,
                Command::Bench(_) => bench::run(&settings).await,
                Command::Doctor(_) => doctor::run(&settings).await,
            }
        });
        // A model that is still loading must not hold up a program that was told to stop.
        runtime.shutdown_background();
        outcome
    }
}

/// The folder of fetched models.
pub(crate) fn cache(settings: &Settings) -> anyhow::Result<PathBuf> {
    match &settings.cache {
        Some(folder) => Ok(folder.clone()),
        None => {
            let platform = etcetera::choose_base_strategy();
            let platform = platform.context("no home folder; name a cache folder with --cache")?;
            Ok(platform.cache_dir().join("tinderbox"))
        }
    }
}

/// The model the settings name, fetched where it is not here.
async fn model(settings: &Settings) -> anyhow::Result<Local> {
    let catalog = Catalog::read(settings.catalog.as_deref())?;
    let (cache, hub) = (cache(settings)?, Hub::new(None, None)?);
    let bar = progress::Bar::default();
    Ok(resolve(&settings.model, &catalog, &cache, &hub, &bar).await?)
}
