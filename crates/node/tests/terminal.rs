//! The subcommands that talk to a person: `run`, `bench`, `doctor`.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{tinderbox, tiny_model};
use serde_json::Value;

/// `tinderbox run`, greedily, with what `arguments` adds.
fn run(model: &Path, arguments: &[&str]) -> Command {
    let mut command = tinderbox();
    command.args(["run", "--device", "cpu", "--temperature", "0", "--model"]);
    command.arg(model).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command says when it reads `input`.
fn with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_prompt_is_answered_alike_as_an_argument_and_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model(folder.path());
    let argument = ["--prompt", "hello", "--max-tokens", "8"];
    let argument = with_input(&mut run(&model, &argument), "ignored");
    assert!(argument.status.success(), "{}", text(&argument.stderr));
    let said = text(&argument.stdout);
    assert!(
        said.trim_end().chars().count() >= 4 && said.ends_with('\n'),
        "{said:?}"
    );
    let piped = with_input(&mut run(&model, &["--max-tokens", "8"]), "hello\n");
    assert_eq!(text(&piped.stdout), said);
}

#[test]
fn an_answer_is_shown_while_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model(folder.path());
    let arguments = ["--prompt", "hello", "--context", "65536"];
    let mut child = run(&model, &arguments).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    // The whole answer is more than a pipe holds: it cannot be over yet.
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// In a terminal, which `script` of util-linux is.
#[test]
#[cfg(target_os = "linux")]
fn a_chat_has_commands() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model(folder.path());
    let mut chat = Command::new("script");
    let line = format!(
        "{} run --device cpu --temperature 0 --max-tokens 8 --model {}",
        env!("CARGO_BIN_EXE_tinderbox"),
        model.display()
    );
    chat.args(["-qec", &line, "/dev/null"]);
    chat.stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = "/help\n/fly\n/temperature 9\n/system be brief\nhello\n/clear\n/exit\n";
    let output = with_input(&mut chat, input);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for part in [
        "/help lists the commands",
        "forget the conversation",
        "no command /fly",
        "a number from 0 to 2",
    ] {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
    let alone = [
        "--system",
        "be brief",
        "--prompt",
        "hello",
        "--max-tokens",
        "8",
    ];
    let alone = with_input(&mut run(&model, &alone), "");
    assert!(shown.contains(text(&alone.stdout).trim()), "{shown}");
}

#[test]
fn a_bench_tells_what_it_measured_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = tinderbox();
    bench.args(["bench", "--json", "--device", "cpu", "--repetitions", "1"]);
    bench.args([
        "--prompt-tokens",
        "8,16",
        "--batch",
        "1,2",
        "--output-tokens",
        "4",
    ]);
    bench.arg("--model").arg(tiny_model(folder.path()));
    let output = bench.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["model"], "tiny");
    let positive = |value: &Value, key: &str| {
        let number = value[key].as_f64().unwrap_or_default();
        assert!(number > 0.0, "{key} in {value}");
    };
    for key in ["load_s", "weight_bytes", "cache_bytes", "copy_bytes_per_s"] {
        positive(&report, key);
    }
    let results = report["results"].as_array().unwrap();
    let asked: Vec<_> = results
        .iter()
        .map(|one| {
            (
                one["prompt_tokens"].as_u64().unwrap(),
                one["batch"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(asked, [(8, 1), (8, 2), (16, 1), (16, 2)]);
    for one in results {
        assert_eq!(one["output_tokens"], 4);
        for key in [
            "first_token_s",
            "prefill_tokens_per_s",
            "decode_tokens_per_s",
            "decode_bytes_per_s",
            "bandwidth_share",
        ] {
            positive(one, key);
        }
    }
}

/// The names of a bench's spans by their track, as a trace has them.
fn trace(device: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    let mut bench = tinderbox();
    bench.args([
        "bench",
        "--repetitions=1",
        "--prompt-tokens=8",
        "--output-tokens=2",
    ]);
    bench
        .arg("--device")
        .arg(device)
        .arg("--profile")
        .arg(&file);
    let output = bench.arg("--model").arg(tiny_model(folder.path())).output();
    let output = output.unwrap();
    if !output.status.success() {
        return Err(text(&output.stderr).to_owned());
    }
    // Of the prompt and of a token.
    let printed = text(&output.stdout);
    let short = printed.lines().filter(|line| line.starts_with("step of "));
    assert_eq!(short.count(), 2, "{printed}");
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let (mut tracks, mut spans) = (HashMap::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for event in trace["traceEvents"].as_array().unwrap() {
        let name = |event: &Value| event["name"].as_str().unwrap().to_owned();
        if event["ph"] == "M" {
            tracks.insert(event["tid"].clone(), name(&event["args"]));
        } else {
            assert!(event["ts"].as_f64() >= Some(0.0) && event["dur"].as_f64() >= Some(0.0));
            spans
                .entry(tracks[&event["tid"]].clone())
                .or_default()
                .insert(name(event));
        }
    }
    Ok(spans)
}

#[test]
fn a_bench_writes_down_where_the_time_went() {
    let cpu = trace("cpu").unwrap();
    assert_eq!(cpu.keys().collect::<Vec<_>>(), ["host", "kernels"]);
    let round = "prompt of 8, then 2 tokens, batch 1";
    assert!(
        [round, "step of 8", "step of 1", "answer"]
            .iter()
            .all(|name| cpu["host"].contains(*name))
    );
    assert!(
        ["rope", "attention"]
            .iter()
            .all(|name| cpu["kernels"].contains(*name))
    );
    assert!(
        cpu["kernels"]
            .iter()
            .any(|name| name.starts_with("linear F32 ")),
        "{cpu:?}"
    );

    match trace("gpu") {
        Ok(gpu) => {
            // Of an answer both are one kernel there.
            let mut operations = cpu["kernels"].clone();
            operations.insert("rope, attention".into());
            assert_eq!(gpu["queue"], operations);
            // A device may have no clock of its own.
            let kernels = gpu.get("kernels");
            assert!(kernels.is_none_or(|kernels| *kernels == operations));
        }
        Err(error) => eprintln!("SKIP: {error}"),
    }
}

fn doctor(device: &str) -> Output {
    let mut doctor = tinderbox();
    doctor.args(["doctor", "--json", "--device", device]);
    doctor.output().unwrap()
}

#[test]
fn the_doctor_names_the_adapters_and_why_one_was_chosen() {
    let output = doctor("gpu");
    if !output.status.success() && output.stdout.is_empty() {
        eprintln!("SKIP: {}", text(&output.stderr));
        return;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    let adapters = report["adapters"].as_array().unwrap();
    for adapter in adapters {
        for key in ["name", "kind", "backend", "driver"] {
            assert!(
                adapter[key].as_str().is_some_and(|text| !text.is_empty()),
                "{adapter}"
            );
        }
        for key in [
            "binding_bytes",
            "bindings",
            "workgroup_bytes",
            "workgroup_units",
        ] {
            assert!(
                adapter[key].as_u64().is_some_and(|limit| limit > 0),
                "{adapter}"
            );
        }
        assert!(adapter["features"].is_array(), "{adapter}");
    }
    // The best one comes first, and a software GPU is used only because it was asked for.
    let (name, kind) = (adapters[0]["name"].as_str().unwrap(), &adapters[0]["kind"]);
    assert!(
        report["device"].as_str().unwrap().contains(name),
        "{report}"
    );
    assert_eq!(report["software"], *kind == "software GPU");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("asked for by --device gpu"), "{reason}");
    let tests = report["self_test"].as_array().unwrap();
    assert!(tests.iter().all(|test| test["passed"] == true), "{tests:?}");
    for kernel in ["embed", "linear", "attention"] {
        let named = |test: &Value| test["kernel"].as_str().unwrap().contains(kernel);
        assert!(tests.iter().any(named), "{kernel} in {tests:?}");
    }
    if *kind == "software GPU" {
        let report: Value = serde_json::from_slice(&doctor("auto").stdout).unwrap();
        assert!(
            report["device"].as_str().unwrap().starts_with("CPU"),
            "{report}"
        );
        let reason = report["reason"].as_str().unwrap();
        assert!(
            reason.contains("no real GPU") && reason.contains(name),
            "{reason}"
        );
    }
}
