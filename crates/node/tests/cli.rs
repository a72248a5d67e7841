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
