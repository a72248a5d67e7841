//! `tinderbox pull`

use std::process::ExitCode;

use serde_json::json;

use crate::settings::Settings;

/// Arguments of `pull`.
#[derive(clap::Args)]
pub struct Args {
    /// Model to fetch, as for --model
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fetches the model and prints where it lies.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<ExitCode> {
    let model = args.name.unwrap_or_else(|| settings.model.clone());
    let local = super::model(&Settings {
        model,
        ..settings.clone()
    })
    .await?;
    match args.json {
        true => println!("{}", json!({ "name": local.name, "path": local.path })),
        false => println!("{}", local.path.display()),
    }
    Ok(ExitCode::SUCCESS)
}
