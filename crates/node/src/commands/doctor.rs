//! `tinderbox doctor`

use std::process::ExitCode;

use serde_json::json;
use tinderbox_kernels::{
    Choice, Format, Selected, adapters, copy_bandwidth, cpu_description, select, self_test,
};

use crate::runtime::use_threads;
use crate::settings::Settings;

/// Describes the machine and runs every kernel on the device asked for; the device shown is the one
/// that would be used after that. Fails where a kernel is wrong and none takes its place.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    use_threads(settings);
    let adapters = adapters();
    let choice: Choice = settings.device.parse()?;
    let asked = select(choice)?;
    let (selected, tests) = match asked.clone().tested(choice, &Format::ALL).await {
        Ok(trusted) => trusted,
        // `serve` would stop here; the doctor shows all that is wrong.
        Err(wrong) => {
            let tests = self_test(&asked.device, &Format::ALL).await;
            let reason = wrong.to_string();
            (Selected { reason, ..asked }, tests)
        }
    };
    let bandwidth = copy_bandwidth(&selected.device).await;
    let failed = tests.iter().filter(|test| test.is_fatal()).count();

    if settings.json {
        let adapters: Vec<_> = adapters
            .iter()
            .map(|a| {
                json!({
                    "name": a.name, "kind": a.kind.to_string(), "backend": a.backend,
                    "driver": a.driver, "features": a.features, "binding_bytes": a.binding_bytes,
                    "bindings": a.bindings, "workgroup_bytes": a.workgroup_bytes,
                    "workgroup_units": a.workgroup_units,
                })
            })
            .collect();
        let tests: Vec<_> = tests
            .iter()
            .map(|t| {
                json!({
                    "kernel": t.kernel, "format": t.format.map(|f| f.to_string()),
                    "passed": t.passed, "error": t.error, "detail": t.detail,
                    "fallback": t.fallback,
                })
            })
            .collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"), "cpu": cpu_description(),
            "cache": super::cache(settings)?, "adapters": adapters,
            "device": selected.description, "reason": selected.reason,
            "software": selected.software, "copy_bytes_per_second": bandwidth.ok(),
            "self_test": tests,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("tinderbox {}", env!("CARGO_PKG_VERSION"));
        println!("cpu        {}", cpu_description());
        println!("cache      {}", super::cache(settings)?.display());
        if adapters.is_empty() {
            println!("adapters   none");
        }
        for a in &adapters {
            println!("adapter    {a}");
            println!(
                "           features {}; {} bindings of {} MiB; workgroups of {}, {} KiB",
                if a.features.is_empty() {
                    "none".into()
                } else {
                    a.features.join(" ")
                },
                a.bindings,
                a.binding_bytes >> 20,
                a.workgroup_units,
                a.workgroup_bytes >> 10,
            );
        }
        println!("device     {} ({})", selected.description, selected.reason);
        match &bandwidth {
            Ok(rate) => println!("bandwidth  {:.1} GB/s", rate / 1e9),
            Err(reason) => println!("bandwidth  not measured: {reason}"),
        }
        for test in &tests {
            let format = test
                .format
                .map_or(String::new(), |format| format.to_string());
            let verdict = if test.passed { "ok" } else { "WRONG" };
            let place = test.fallback.as_ref();
            let place = place.map_or(String::new(), |way| format!("; used in its place: {way}"));
            println!(
                "kernel     {:<18} {format:<5} {verdict} (error {:.1e}) {}{place}",
                test.kernel, test.error, test.detail
            );
        }
        println!(
            "self-test  {} of {} kernels are right or replaced",
            tests.len() - failed,
            tests.len()
        );
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
