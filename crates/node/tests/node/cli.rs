//! The real binary, as a user types it.

use std::process::{Command, Output};

fn tinderbox(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tinderbox"))
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_names_every_subcommand_and_the_exit_statuses() {
    let help = tinderbox(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for word in [
        "serve",
        "run",
        "pull",
        "list",
        "pack",
        "bench",
        "doctor",
        "TINDERBOX_",
        "Exit status",
    ] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
}

#[test]
fn wrong_usage_leaves_with_2() {
    for args in [
        &["serve", "--port", "99999"][..],
        &["fly"],
        &["serve", "--threads", "0"],
    ] {
        assert_eq!(tinderbox(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_catalog_is_listed_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let list = tinderbox(&["list", "--json", "--cache", folder.path().to_str().unwrap()]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["name"], "smollm2-135m-instruct");
    assert_eq!(list[0]["cached"], false);
}

/// A catalog with one model of two files, which lie beside it.
fn own_catalog(folder: &std::path::Path) -> std::path::PathBuf {
    let mut text = "[[model]]\nname = \"mine\"\n".to_owned();
    for name in ["config.json", "model.safetensors"] {
        std::fs::write(folder.join(name), "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        text += &format!(
            "[[model.file]]\nname = \"{name}\"\nbytes = 3\nsha256 = \"{sum}\"\nsources = [{{ path = \"{name}\" }}]\n"
        );
    }
    let path = folder.join("mine.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_catalog_of_ones_own_names_a_folder_that_is_pulled_from_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = own_catalog(folder.path());
    let config = folder.path().join("t.toml");
    let cache = folder.path().join("cache");
    std::fs::write(
        &config,
        format!("catalog = {catalog:?}\ncache = {cache:?}\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();

    let cached = || {
        let list = tinderbox(&["list", "--json", "--config", config]);
        let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        let rows = list.as_array().unwrap();
        let mine = rows.iter().find(|row| row["name"] == "mine").unwrap();
        (
            rows.len() > 1,
            mine["bytes"].clone(),
            mine["cached"].clone(),
        )
    };
    assert_eq!(cached(), (true, 6.into(), false.into()));
    let pulled = tinderbox(&["pull", "mine", "--config", config]);
    assert!(pulled.status.success(), "{}", text(&pulled.stderr));
    assert_eq!(
        text(&pulled.stdout).trim(),
        cache.join("mine").to_str().unwrap()
    );
    assert_eq!(cached(), (true, 6.into(), true.into()));
    for name in ["config.json", "model.safetensors"] {
        assert_eq!(
            std::fs::read(cache.join("mine").join(name)).unwrap(),
            b"abc"
        );
    }

    // A file that was changed since is not what the catalog pins.
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::write(folder.path().join("config.json"), "abd").unwrap();
    let wrong = tinderbox(&["pull", "mine", "--config", config]);
    let error = text(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        error.contains("SHA-256") && error.contains("config.json"),
        "{error}"
    );
}

#[test]
fn a_wrong_catalog_is_named_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "[[model]]\nname = \"mine\"\nfile = []\n").unwrap();
    let path = path.to_str().unwrap();
    for command in [
        &["list"][..],
        &["pull"],
        &["run"],
        &["serve", "--port", "0"],
    ] {
        let output = tinderbox(&[command, &["--catalog", path, "--device", "cpu"]].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            error.contains("mine.toml: model `mine`: it has no file"),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_is_no_model_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("magic.gguf", &b"not a model at all, whatever it is"[..]),
        ("cut.gguf", b"GGUF\x03\0\0\0"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = tinderbox(&[
            "bench",
            "--device",
            "cpu",
            "--model",
            path.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.starts_with("tinderbox: ") && error.contains(name),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_model_or_device_says_what_there_is() {
    let model = text(&tinderbox(&["bench", "--model", "no-such-model"]).stderr);
    assert!(model.contains("tinderbox list"), "{model}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, b"").unwrap();
    let path = path.to_str().unwrap();
    let device = text(&tinderbox(&["bench", "--model", path, "--device", "abacus"]).stderr);
    assert!(
        device.contains("abacus") && device.contains("vulkan"),
        "{device}"
    );
}

#[test]
fn the_cpu_passes_its_self_test() {
    let doctor = tinderbox(&["doctor", "--json", "--device", "cpu"]);
    assert!(doctor.status.success(), "{}", text(&doctor.stderr));
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let tests = report["self_test"].as_array().unwrap();
    assert!(
        tests.len() >= 11 && tests.iter().all(|test| test["passed"] == true),
        "{tests:?}"
    );
}

#[test]
fn a_file_that_is_missing_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, b"").unwrap();
    let cache = blocked.join("below");
    let output = tinderbox(&["pull", "--cache", cache.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert_eq!(error.matches("os error").count(), 1, "{error}");
}

#[test]
fn settings_come_from_flag_then_environment_then_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    std::fs::write(&file, "cache = \"from-file\"\n").unwrap();
    let path = |variable: Option<&str>, flag: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tinderbox"));
        command.args(["list", "--json", "--config"]).arg(&file);
        command.envs(variable.map(|value| ("TINDERBOX_CACHE", value)));
        command.args(flag.map(|value| format!("--cache={value}")));
        let output = command.output().unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        list[0]["path"].as_str().unwrap().to_owned()
    };
    assert!(path(None, None).starts_with("from-file"));
    assert!(path(Some("from-env"), None).starts_with("from-env"));
    assert!(path(Some("from-env"), Some("from-flag")).starts_with("from-flag"));
}

#[test]
fn a_bench_takes_its_settings_from_flag_environment_and_file_together() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny.gguf");
    std::fs::write(
        &model,
        crate::common::tiny_file::tiny(256, true, "").to_bytes(),
    )
    .unwrap();
    let file = folder.path().join("t.toml");
    std::fs::write(
        &file,
        "json = true\noutput_tokens = 2\nrepetitions = 9\nbatch = [7]\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinderbox"));
    command
        .args(["bench", "--device", "cpu", "--batch", "1,2", "--config"])
        .arg(&file);
    command.env("TINDERBOX_MODEL", &model);
    command
        .env("TINDERBOX_PROMPT_TOKENS", "4,8")
        .env("TINDERBOX_REPETITIONS", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = report["results"].as_array().unwrap().iter();
    let measured: Vec<_> = measured
        .map(|r| {
            [&r["prompt_tokens"], &r["output_tokens"], &r["batch"]].map(|n| n.as_u64().unwrap())
        })
        .collect();
    assert_eq!(measured, [[4, 2, 1], [4, 2, 2], [8, 2, 1], [8, 2, 2]]);
}

#[test]
fn an_api_key_in_the_environment_is_never_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_tinderbox"))
        .args(["list", "--json"])
        .env("TINDERBOX_API_KEY", "918273645")
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(!printed.contains("918273645"), "{printed}");
}
