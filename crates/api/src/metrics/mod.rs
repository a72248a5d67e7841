//! What is counted and timed, and `GET /metrics`, where it is read.
//!
//! HTTP requests are measured by a layer of the router ([`requests`]), sequences around the
//! engine's event streams, which every dialect passes ([`sequences`]). Queues and memory are asked
//! of the engines when somebody reads ([`exposition`]).

pub(crate) mod exposition;
mod requests;
mod sequences;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

pub(crate) use requests::{RequestCount, measure};
pub(crate) use sequences::Meter;

use requests::Requests;
use sequences::Sequences;

/// Bounds of histograms of time, seconds: a fast token to a long answer.
const SECONDS: [f64; 19] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0,
    50.0, 100.0, 250.0, 500.0,
];

/// Bounds of histograms of tokens.
const TOKENS: [f64; 18] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
    16384.0, 32768.0, 65536.0, 131_072.0,
];

/// What one router counts and times, for Prometheus.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    sequences: Sequences,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        Metrics {
            requests: Requests::new(&registry),
            sequences: Sequences::new(&registry),
            registry,
        }
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str, bounds: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    registered(registry, Histogram::with_opts(options))
}

fn timers(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
    registered(registry, HistogramVec::new(options, labels))
}

/// A metric under its name, which is a constant of this folder: a wrong one fails every test.
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let metric = made.expect("a metric has a valid name");
    let taken = registry.register(Box::new(metric.clone()));
    taken.expect("a metric has a name of its own");
    metric
}
