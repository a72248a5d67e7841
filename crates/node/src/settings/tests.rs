//! Layers, ranges, secrets.

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use super::*;
use crate::commands::Cli;

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
fn a_key_of_digits_is_a_key_and_only_its_hash_is_kept() {
    figment::Jail::expect_with(|jail| {
        jail.set_env("TINDERBOX_API_KEY", "0918273645");
        let settings = Settings::read(None, &Flags::default(), &ServeFlags::default()).unwrap();
        let sum = "25f7a965336d1bac6b0925ab3291292639368b390b3bd33a7fa477a2ade4e893";
        assert_eq!(settings.api_key.as_deref(), Some(sum));
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
        for name in ["CONTEXT", "THREADS", "MAX_SEQUENCES", "ADAPTER_MEMORY"] {
            jail.set_env(format!("TINDERBOX_{name}"), "0");
            let read = Settings::read(None, &Flags::default(), &ServeFlags::default());
            let error = read.unwrap_err().to_string();
            assert!(error.contains(&name.to_lowercase()), "{error}");
            jail.set_env(format!("TINDERBOX_{name}"), "16");
        }
        Ok(())
    });
}

#[test]
fn every_flag_of_every_subcommand_has_a_variable_and_a_key() {
    let keys = serde_json::to_value(Settings::default()).unwrap();
    let keys = keys.as_object().unwrap();
    let cli = Cli::command();
    let mut flags: Vec<&str> = std::iter::once(&cli)
        .chain(cli.get_subcommands())
        .flat_map(|command| command.get_arguments())
        .filter(|argument| argument.get_long().is_some())
        .map(|argument| argument.get_id().as_str())
        // The name of the file can hardly be in it.
        .filter(|flag| *flag != "config")
        .collect();
    flags.sort_unstable();
    flags.dedup();
    let mut variables = [NUMBERS, TEXTS].concat();
    variables.sort_unstable();
    assert_eq!(flags, variables);
    let mut keys: Vec<&str> = keys.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(flags, keys);
}

/// Subcommand, key, its value in the file, in the variable, on the command line, and what the latter
/// two are.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Value,
    Value,
);

#[test]
#[allow(clippy::result_large_err)]
fn flags_of_each_subcommand_win_over_their_variable_and_that_over_the_file() {
    let cases: [Case; 18] = [
        (
            "run",
            "prompt",
            "\"1\"",
            "2",
            "--prompt=3",
            json!("2"),
            json!("3"),
        ),
        (
            "run",
            "system",
            "\"a\"",
            "b c",
            "--system=d",
            json!("b c"),
            json!("d"),
        ),
        (
            "run",
            "temperature",
            "1",
            "0.5",
            "--temperature=0.25",
            json!(0.5),
            json!(0.25),
        ),
        (
            "run",
            "seed",
            "1",
            "2",
            "--seed=18446744073709551615",
            json!(2),
            json!(u64::MAX),
        ),
        (
            "run",
            "max_tokens",
            "1",
            "2",
            "--max-tokens=3",
            json!(2),
            json!(3),
        ),
        ("pull", "model", "\"a\"", "b", "c", json!("b"), json!("c")),
        (
            "pull",
            "json",
            "true",
            "true",
            "--json=false",
            json!(true),
            json!(false),
        ),
        (
            "list",
            "json",
            "true",
            "false",
            "--json",
            json!(false),
            json!(true),
        ),
        (
            "doctor",
            "json",
            "true",
            "false",
            "--json",
            json!(false),
            json!(true),
        ),
        (
            "doctor",
            "device",
            "\"a\"",
            "cpu",
            "--device=gpu",
            json!("cpu"),
            json!("gpu"),
        ),
        (
            "bench",
            "prompt_tokens",
            "1",
            "2,3",
            "--prompt-tokens=4,5",
            json!([2, 3]),
            json!([4, 5]),
        ),
        (
            "bench",
            "batch",
            "[1, 2]",
            "3",
            "--batch=4",
            json!([3]),
            json!([4]),
        ),
        (
            "bench",
            "output_tokens",
            "1",
            "2",
            "--output-tokens=3",
            json!(2),
            json!(3),
        ),
        (
            "bench",
            "repetitions",
            "1",
            "2",
            "--repetitions=3",
            json!(2),
            json!(3),
        ),
        (
            "bench",
            "profile",
            "\"a\"",
            "b",
            "--profile=c",
            json!("b"),
            json!("c"),
        ),
        (
            "pack",
            "out",
            "\"a\"",
            "b",
            "--out=c",
            json!("b"),
            json!("c"),
        ),
        (
            "pack",
            "part_mib",
            "1",
            "2",
            "--part-mib=3",
            json!(2),
            json!(3),
        ),
        (
            "pack",
            "embedding",
            "\"q4_0\"",
            "q4_1",
            "--embedding=q8_0",
            json!("q4_1"),
            json!("q8_0"),
        ),
    ];
    for (command, key, file, variable, flag, in_variable, on_line) in cases {
        figment::Jail::expect_with(|jail| {
            jail.create_file("t.toml", &format!("{key} = {file}\n"))?;
            let read = |flag: Option<&str>| {
                let line = ["tinderbox", command, "--config=t.toml"]
                    .into_iter()
                    .chain(flag);
                let settings = Cli::parse_from(line).settings().unwrap();
                serde_json::to_value(settings).unwrap()[key].clone()
            };
            let default = serde_json::to_value(Settings::default()).unwrap()[key].clone();
            let in_file = read(None);
            assert_ne!(in_file, default, "{command} {key}");
            jail.set_env(format!("TINDERBOX_{}", key.to_uppercase()), variable);
            assert_eq!(read(None), in_variable, "{command} {key}");
            assert_eq!(read(Some(flag)), on_line, "{command} {key}");
            Ok(())
        });
    }
}

#[test]
#[allow(clippy::result_large_err)]
fn what_are_no_numbers_is_refused_by_name() {
    figment::Jail::expect_with(|jail| {
        for wrong in ["4,many", "", "-1"] {
            jail.set_env("TINDERBOX_BATCH", wrong);
            let read = Settings::read(None, &Flags::default(), &ServeFlags::default());
            let error = read.unwrap_err().to_string();
            assert!(
                error.contains("batch") && error.contains("numbers"),
                "{error}"
            );
        }
        Ok(())
    });
}
