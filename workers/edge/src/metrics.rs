//! What this isolate counted and timed, for Prometheus. Isolates come and go and share nothing: whoever
//! reads several of them adds up, and Cloudflare's own analytics are the whole.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::nodes::Pool;

/// Bounds of the time to a first byte, seconds.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Counters of one isolate.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    first_byte: HistogramVec,
    takes: IntGaugeVec,
    waiting: IntGaugeVec,
    memory: IntGauge,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// A name that is none, which every test finds.
    pub fn new() -> prometheus::Result<Metrics> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["node"]);
        let bounds = HistogramOpts::new(
            "tinderbox_edge_first_byte_seconds",
            "Time to the answer's head, by who gave it.",
        );
        let metrics = Metrics {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new(
                    "tinderbox_edge_requests_total",
                    "Requests, by who answered (`none`: refused here) and the status.",
                ),
                &["place", "node", "status"],
            )?,
            first_byte: HistogramVec::new(bounds.buckets(SECONDS.to_vec()), &["place"])?,
            takes: gauge(
                "tinderbox_edge_node_takes_requests",
                "1, or 0 while it rests.",
            )?,
            waiting: gauge(
                "tinderbox_edge_node_waiting",
                "Requests without a first byte.",
            )?,
            memory: IntGauge::new(
                "tinderbox_edge_memory_bytes",
                "Linear memory of the isolate.",
            )?,
        };
        let Metrics {
            registry,
            requests,
            first_byte,
            takes,
            waiting,
            memory,
        } = &metrics;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(first_byte.clone()))?;
        registry.register(Box::new(takes.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(memory.clone()))?;
        Ok(metrics)
    }

    /// A request has its answer's head.
    pub fn answered(&self, place: &str, node: &str, status: u16, after: Duration) {
        let labels = [place, node, &status.to_string()];
        self.requests.with_label_values(&labels).inc();
        let timer = self.first_byte.with_label_values(&[place]);
        timer.observe(after.as_secs_f64());
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Of the encoder, in words.
    pub fn text(&self, pool: &Pool, now: Duration, memory: usize) -> Result<String, String> {
        self.takes.reset();
        self.waiting.reset();
        for (index, node) in pool.nodes() {
            let takes = self.takes.with_label_values(&[&node.name]);
            takes.set(i64::from(pool.takes(index, now)));
            let waiting = self.waiting.with_label_values(&[&node.name]);
            waiting.set(pool.waiting(index, now) as i64);
        }
        self.memory.set(memory as i64);
        let mut text = Vec::new();
        let families = self.registry.gather();
        let encoded = TextEncoder::new().encode(&families, &mut text);
        encoded.map_err(|error| error.to_string())?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::Node;

    #[test]
    fn what_is_counted_can_be_read() {
        let metrics = Metrics::new().unwrap();
        metrics.answered("node", "a", 200, Duration::from_millis(3));
        metrics.answered("none", "", 401, Duration::ZERO);
        let node: Node = serde_json::from_str(r#"{"name": "a", "url": "http://a"}"#).unwrap();
        let mut pool = Pool::new(vec![node]);
        pool.busy(0, Duration::from_secs(9), Duration::ZERO);
        let text = metrics.text(&pool, Duration::from_secs(1), 65536).unwrap();
        for line in [
            r#"tinderbox_edge_requests_total{node="a",place="node",status="200"} 1"#,
            r#"tinderbox_edge_requests_total{node="",place="none",status="401"} 1"#,
            r#"tinderbox_edge_first_byte_seconds_bucket{place="node",le="0.005"} 1"#,
            r#"tinderbox_edge_node_takes_requests{node="a"} 0"#,
            "tinderbox_edge_memory_bytes 65536",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        // A node that is no longer there leaves nothing.
        let text = metrics.text(&Pool::default(), Duration::ZERO, 0).unwrap();
        assert!(!text.contains("takes_requests{"));
    }
}
