//! What documents promise: the arrows of ARCHITECTURE.md, read from `cargo metadata`, and the tests that
//! docs/dialects names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each library may depend on, of the workspace. The binary may depend on all of them.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("tinderbox-protocol", &[]),
    ("tinderbox-pins", &[]),
    ("tinderbox-cpu", &[]),
    ("tinderbox-kernels", &["tinderbox-cpu", "tinderbox-pins"]),
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
            "tinderbox-protocol",
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

/// The texts of tests and the names of wire cases below a folder, by file name.
fn read_tests(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            if name != "node_modules" {
                read_tests(&path, found);
            }
        } else if name.ends_with(".rs") || name.ends_with(".py") {
            let text = read_to_string(&path).unwrap();
            found.entry(name).or_default().push_str(&text);
        } else if name.ends_with(".json") {
            found.entry(name).or_default();
        }
    }
}

/// What the last column of a page's table says, and all that follows the table.
fn evidence(page: &str) -> String {
    let (_, lists) = page.split_once("|---|").expect("a table");
    let lines = lists.lines().skip(1);
    let shown = lines.map(|line| match line.strip_suffix(" |") {
        Some(row) => format!("{};", row.rsplit_once("| ").expect("columns").1),
        None => format!("{line} "),
    });
    shown.collect()
}

#[test]
fn every_test_that_a_dialects_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeMap::new();
    for folder in ["crates", "tests/clients"] {
        read_tests(&root.join(folder), &mut tests);
    }
    let mut named = 0;
    for page in read_dir(root.join("docs/dialects")).unwrap() {
        let page = page.unwrap().path();
        let dialect = page.file_stem().unwrap().to_str().unwrap();
        // `FILE::TEST`, other tests of the same file by their name alone; behind `wire:` cases.
        let (mut file, mut wire) = (String::new(), false);
        let text = evidence(&read_to_string(&page).unwrap());
        for (place, part) in text.split('`').enumerate() {
            if place % 2 == 0 {
                let clause = part.rsplit([';', '.', ')']).next().unwrap();
                wire = clause.contains("wire:") || wire && clause == part;
                continue;
            }
            if wire {
                let case = [format!("{part}.json"), format!("{dialect}_{part}.json")];
                let there = case.iter().any(|case| tests.contains_key(case));
                assert!(there, "{dialect}: there is no wire case `{part}`");
                named += 1;
                continue;
            }
            let test = match part.split_once("::") {
                Some((name, test)) => {
                    file = name.into();
                    test
                }
                None if part.matches('_').count() > 1 => part,
                None => {
                    let whole = part.ends_with(".rs") || part.ends_with(".py");
                    assert!(!whole, "{dialect}: `{part}` names no test");
                    continue;
                }
            };
            let text = tests.get(&file).map_or("", String::as_str);
            let there = ["fn", "def"]
                .iter()
                .any(|word| text.contains(&format!("{word} {test}(")));
            assert!(there, "{dialect}: there is no `{file}::{test}`");
            named += 1;
        }
    }
    assert!(named > 100, "the tables are gone");
}
