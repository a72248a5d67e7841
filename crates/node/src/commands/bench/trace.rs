//! Spans as a trace that Perfetto and Chrome open: JSON of the "Trace Event Format".

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
