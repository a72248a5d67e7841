//! `tinderbox pull`

use std::process::ExitCode;

use serde_json::json;

use crate::settings::Settings;

/// Fetches the model and prints where it lies.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let local = super::model(settings).await?;
    match settings.json {
        true => println!("{}", json!({ "name": local.name, "path": local.path })),
        false => println!("{}", local.path.display()),
    }
    Ok(ExitCode::SUCCESS)
}
