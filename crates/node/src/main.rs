//! `tinderbox`: parse, run, say what went wrong.

use clap::Parser;
use tinderbox::commands::Cli;

fn main() -> std::process::ExitCode {
    Cli::parse().run()
}
