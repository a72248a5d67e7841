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
