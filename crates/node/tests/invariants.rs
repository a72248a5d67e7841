//! The arrows of ARCHITECTURE.md, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each library may depend on, of the workspace. The binary may depend on all of them.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("tinderbox-protocol", &[]),
    ("tinderbox-pins", &[]),
    ("tinderbox-kernels", &["tinderbox-pins"]),
    (
        "tinderbox-model",
        &["tinderbox-kernels", "tinderbox-protocol"],
    ),
    (
        "tinderbox-engine",
        &["tinderbox-kernels", "tinderbox-model", "tinderbox-protocol"],
    ),
    ("tinderbox-api", &["tinderbox-protocol"]),
    (
        "tinderbox-web",
        &[
            "tinderbox-api",
            "tinderbox-engine",
            "tinderbox-kernels",
            "tinderbox-model",
        ],
    ),
    (
        "tinderbox-edge",
        &[
            "tinderbox-api",
            "tinderbox-engine",
            "tinderbox-kernels",
            "tinderbox-model",
            "tinderbox-protocol",
        ],
    ),
];

/// Normal dependencies of the workspace's crates by name, the optional and target-specific ones
/// included; what only tests use is not.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let name = |value: &Value| value["name"].as_str().expect("has a name").to_owned();
    let list = |value: &Value| value.as_array().expect("is a list").clone();
    let packages = list(&metadata["packages"]).into_iter();
    packages
        .map(|package| {
            let all = list(&package["dependencies"]).into_iter();
            let normal = all.filter(|dependency| dependency["kind"].is_null());
            (
                name(&package),
                normal.map(|dependency| name(&dependency)).collect(),
            )
        })
        .collect()
}

#[test]
fn arrows_between_crates_point_down() {
    let dependencies = dependencies();
    for (library, allowed) in ALLOWED {
        let ours = dependencies[library]
            .iter()
            .filter(|name| name.starts_with("tinderbox"));
        for dependency in ours {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{library} must not depend on {dependency}; it may depend on {allowed:?}"
            );
        }
    }
}

#[test]
fn the_api_and_the_protocol_know_no_tensors() {
    let dependencies = dependencies();
    for library in ["tinderbox-protocol", "tinderbox-api"] {
        for tensors in ["burn", "cubecl", "wgpu", "safetensors", "tokenizers"] {
            assert!(
                !dependencies[library].contains(tensors),
                "{library} depends on {tensors}"
            );
        }
    }
}

#[test]
fn what_runs_in_a_browser_needs_no_runtime() {
    let dependencies = dependencies();
    for (library, _) in ALLOWED {
        assert!(
            !dependencies[library].contains("tokio"),
            "{library} depends on tokio"
        );
    }
}
