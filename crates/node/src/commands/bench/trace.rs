//! Spans as a trace that Perfetto and Chrome open (JSON of the "Trace Event Format"), and in short.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use tinderbox_kernels::profile::{Span, Track};

/// Tracks from top to bottom, and what they are called.
const TRACKS: [(Track, &str); 3] = [
    (Track::Host, "host"),
    (Track::Queue, "queue"),
    (Track::Kernels, "kernels"),
];

/// The whole trace; times are in microseconds.
pub fn of(spans: &[Span]) -> Value {
    let names = TRACKS.iter().map(|(track, name)| {
        let name = json!({"name": name});
        json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": *track as u32, "args": name})
    });
    let spans = spans.iter().map(|span| {
        let (start, length) = (span.start.as_secs_f64() * 1e6, span.length.as_secs_f64() * 1e6);
        json!({"ph": "X", "name": span.name, "ts": start, "dur": length, "pid": 1, "tid": span.track as u32})
    });
    json!({"traceEvents": names.chain(spans).collect::<Vec<_>>()})
}

/// What steps of one size are made of, on average.
#[derive(Debug, PartialEq, Serialize)]
pub struct Steps {
    /// As in `step of 1`: with how many tokens.
    pub name: String,
    pub count: usize,
    /// Fused operations of a step; each is one launch on a GPU, or two where its input is prepared apart.
    pub operations: f64,
    /// Microseconds that handing an operation to a GPU takes the host.
    pub launch_us: Option<f64>,
    /// Microseconds that an operation runs, where the device has a clock.
    pub run_us: Option<f64>,
}

/// The steps of a trace by their names.
pub fn steps(spans: &[Span]) -> Vec<Steps> {
    let on = |track| spans.iter().filter(move |span| span.track == track);
    let is_gpu = on(Track::Queue).next().is_some();
    // A GPU's clock is another than the host's: its operations are in the order they were handed over in.
    let operations = on(if is_gpu { Track::Queue } else { Track::Kernels });
    let mut runs = on(Track::Kernels);
    let operations: Vec<_> = operations
        .map(|operation| (operation, runs.next()))
        .collect();

    let mut found = BTreeMap::<&str, (usize, Vec<_>)>::new();
    for step in on(Track::Host).filter(|span| span.name.starts_with("step of ")) {
        let first = operations.partition_point(|(operation, _)| operation.start < step.start);
        let inside = operations[first..].iter();
        let (count, all) = found.entry(&step.name).or_default();
        *count += 1;
        all.extend(inside.take_while(|(operation, _)| operation.start < step.start + step.length));
    }
    let steps = found.into_iter().map(|(name, (count, operations))| {
        let run: Option<Vec<&Span>> = operations.iter().map(|(_, run)| *run).collect();
        let launch: Vec<&Span> = operations.iter().map(|(launch, _)| *launch).collect();
        Steps {
            name: name.to_owned(),
            count,
            operations: operations.len() as f64 / count as f64,
            launch_us: is_gpu.then(|| micros(&launch)),
            run_us: run.map(|run| micros(&run)),
        }
    });
    steps.collect()
}

fn micros(spans: &[&Span]) -> f64 {
    let sum: u128 = spans.iter().map(|span| span.length.as_nanos()).sum();
    sum as f64 / 1e3 / spans.len() as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_gpus_operations_belong_to_the_step_that_handed_them_over() {
        let span = |track, name: &str, start, length| Span {
            track,
            name: name.to_owned(),
            start: Duration::from_micros(start),
            length: Duration::from_micros(length),
        };
        let spans = [
            span(Track::Host, "step of 4", 0, 50),
            span(Track::Queue, "linear", 1, 3),
            span(Track::Queue, "rope", 5, 5),
            span(Track::Host, "step of 1", 60, 40),
            span(Track::Queue, "linear", 61, 7),
            // By the device's clock.
            span(Track::Kernels, "linear", 100, 20),
            span(Track::Kernels, "rope", 120, 10),
            span(Track::Kernels, "linear", 200, 9),
        ];
        let step = |name: &str, operations, launch_us, run_us| Steps {
            name: name.to_owned(),
            count: 1,
            operations,
            launch_us: Some(launch_us),
            run_us: Some(run_us),
        };
        let found = steps(&spans);
        assert_eq!(
            found,
            [
                step("step of 1", 1.0, 7.0, 9.0),
                step("step of 4", 2.0, 4.0, 15.0)
            ]
        );
    }
}
