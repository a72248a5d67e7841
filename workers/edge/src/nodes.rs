//! The nodes behind the edge, and which of them is asked next.
//!
//! Of two drawn by chance the one with less to do is taken (Mitzenmacher, "The Power of Two Choices
//! in Randomized Load Balancing", 2001): requests that it has, as far as is known here, times the time
//! to a first byte, over the weight. A node that fails again and again is left alone for a while (a circuit breaker), then
//! tried with one request, unless a look at its health says before that it is well. Time is given by the caller, so that tests make it up.

use std::time::Duration;

use serde::Deserialize;

/// A node, as it is configured.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, for logs and answers.
    pub name: String,
    /// Where it is, as in `https://gpu.example.com`.
    pub url: String,
    /// The models it has; none given means that it is asked for any.
    #[serde(default)]
    pub models: Vec<String>,
    /// Its share of the work, relative to the others.
    #[serde(default = "one")]
    pub weight: f64,
    /// Name of the secret that holds its API key.
    #[serde(default)]
    pub secret: Option<String>,
    /// Name of the binding by which it is reached, where it is not on the open internet: a VPC
    /// service, a service, or a client certificate (mTLS).
    #[serde(default)]
    pub binding: Option<String>,
}

fn one() -> f64 {
    1.0
}

/// Failures in a row after which a node is left alone.
const PATIENCE: u32 = 3;
/// How long at first; doubled each time that it fails after a rest.
const REST: Duration = Duration::from_secs(1);
/// How long at most, whatever a node asks for.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// After that a request no longer counts as waiting: the runtime may drop one without a word.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// Taken for the time to a first byte before any was measured.
const GUESS: Duration = Duration::from_millis(100);

/// All nodes and how they are doing, as seen from one isolate.
#[derive(Debug, Default)]
pub struct Pool(Vec<State>);

#[derive(Debug)]
struct State {
    node: Node,
    /// No longer configured. It keeps its place, because requests under way name nodes by it.
    retired: bool,
    /// Requests it has, by its own account.
    depth: usize,
    /// When each request began that waits for its first byte.
    waiting: Vec<Duration>,
    first_byte: Option<Duration>,
    failures: u32,
    /// When it last began to rest.
    rests_since: Duration,
    rests_until: Duration,
    /// By its own word.
    busy_until: Duration,
}

impl State {
    fn has(&self, model: Option<&str>) -> bool {
        let models = &self.node.models;
        let has = |model| models.is_empty() || models.iter().any(|own| own == model);
        !self.retired && model.is_none_or(has)
    }

    fn opens(&self) -> Duration {
        self.rests_until.max(self.busy_until)
    }

    fn takes(&self, now: Duration) -> bool {
        now >= self.opens()
    }

    fn waiting(&self, now: Duration) -> usize {
        let recent = |start: &&Duration| now.saturating_sub(**start) < FORGOTTEN;
        self.waiting.iter().filter(recent).count()
    }

    fn load(&self, now: Duration) -> f64 {
        let wait = self.first_byte.unwrap_or(GUESS).as_secs_f64();
        (self.waiting(now).max(self.depth) + 1) as f64 * wait
            / self.node.weight.max(f64::MIN_POSITIVE)
    }
}

impl Pool {
    /// The nodes, nothing known of them.
    pub fn new(nodes: Vec<Node>) -> Pool {
        let mut pool = Pool::default();
        pool.configure(nodes);
        pool
    }

    /// Takes these nodes in place of those before; what is known of one stays with its name.
    pub fn configure(&mut self, nodes: Vec<Node>) {
        for state in &mut self.0 {
            state.retired = true;
        }
        for node in nodes {
            match self.0.iter_mut().find(|state| state.node.name == node.name) {
                Some(state) => {
                    state.node = node;
                    state.retired = false;
                }
                None => self.0.push(State {
                    node,
                    retired: false,
                    depth: 0,
                    waiting: Vec::new(),
                    first_byte: None,
                    failures: 0,
                    rests_since: Duration::ZERO,
                    rests_until: Duration::ZERO,
                    busy_until: Duration::ZERO,
                }),
            }
        }
    }

    /// The nodes, each with its index.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        let states = self.0.iter().enumerate();
        let states = states.filter(|(_, state)| !state.retired);
        states.map(|(index, state)| (index, &state.node))
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Node {
        &self.0[index].node
    }

    /// Whether any node that has the model takes requests.
    pub fn is_up(&self, model: Option<&str>, now: Duration) -> bool {
        let mut having = self.0.iter().filter(|state| state.has(model));
        having.any(|state| state.takes(now))
    }

    /// Whether a node takes requests.
    pub fn takes(&self, index: usize, now: Duration) -> bool {
        self.0[index].takes(now)
    }

    /// Requests that wait for a node's first byte.
    pub fn waiting(&self, index: usize, now: Duration) -> usize {
        self.0[index].waiting(now)
    }

    /// A node for a request, none of those `tried` before; `random` draws it.
    pub fn pick(
        &self,
        model: Option<&str>,
        tried: &[usize],
        now: Duration,
        random: u64,
    ) -> Option<usize> {
        let open = |index: &usize| {
            let state = &self.0[*index];
            state.has(model) && state.takes(now) && !tried.contains(index)
        };
        let open: Vec<usize> = (0..self.0.len()).filter(open).collect();
        let count = open.len() as u64;
        let first = *open.get(random.checked_rem(count)? as usize)?;
        // The second is another one, where there is another.
        let step = 1 + (random >> 32).checked_rem(count - 1).unwrap_or(0);
        let second = open[((random % count + step) % count) as usize];
        match self.0[second].load(now) < self.0[first].load(now) {
            true => Some(second),
            false => Some(first),
        }
    }

    /// A request is on its way to a node. After a rest one a second finds out how the node is.
    pub fn sent(&mut self, index: usize, now: Duration) {
        let state = &mut self.0[index];
        state
            .waiting
            .retain(|start| now.saturating_sub(*start) < FORGOTTEN);
        state.waiting.push(now);
        if state.failures >= PATIENCE {
            state.rests_until = now + REST;
        }
    }

    /// The request that began at `start` waits no longer, however it went.
    pub fn over(&mut self, index: usize, start: Duration) {
        let waiting = &mut self.0[index].waiting;
        if let Some(place) = waiting.iter().position(|other| *other == start) {
            waiting.swap_remove(place);
        }
    }

    /// A node began to answer, its first byte after `waited`.
    pub fn answered(&mut self, index: usize, waited: Duration) {
        let state = &mut self.0[index];
        state.first_byte = Some(match state.first_byte {
            None => waited,
            Some(before) => (before * 7 + waited) / 8,
        });
    }

    /// A node's answer is complete: a stream that breaks off is none.
    pub fn completed(&mut self, index: usize) {
        let state = &mut self.0[index];
        state.failures = 0;
        state.rests_until = Duration::ZERO;
    }

    /// A node could not be reached, broke off, or refused our key, at a request that began at `start`.
    pub fn failed(&mut self, index: usize, start: Duration, now: Duration) {
        let state = &mut self.0[index];
        // Many that fail at once are one reason to rest.
        if start <= state.rests_since {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if let Some(times) = state.failures.checked_sub(PATIENCE) {
            let rest = REST.saturating_mul(2_u32.saturating_pow(times));
            state.rests_since = now;
            state.rests_until = now + rest.min(LONGEST_REST);
        }
    }

    /// A node says that it is well, and how many requests it has. What it said of being busy holds.
    pub fn is_well(&mut self, index: usize, depth: usize) {
        self.0[index].depth = depth;
        self.completed(index);
    }

    /// A node has too much to do and said for how long.
    pub fn busy(&mut self, index: usize, wait: Duration, now: Duration) {
        let state = &mut self.0[index];
        let until = now + wait.min(LONGEST_REST);
        state.busy_until = state.busy_until.max(until);
    }

    /// When a node that has the model will next be asked, from now; `None` where no node has it.
    pub fn opens_in(&self, model: Option<&str>, now: Duration) -> Option<Duration> {
        let having = self.0.iter().filter(|state| state.has(model));
        let waits = having.map(|state| state.opens().saturating_sub(now));
        waits.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn pool(names: &[&str]) -> Pool {
        let node = |name: &&str| Node {
            name: name.to_string(),
            url: format!("http://{name}"),
            models: Vec::new(),
            weight: 1.0,
            secret: None,
            binding: None,
        };
        Pool::new(names.iter().map(node).collect())
    }

    /// How often each node is picked, over many draws.
    fn draws(pool: &Pool, tried: &[usize], now: Duration) -> Vec<usize> {
        let mut counts = vec![0; pool.0.len()];
        for n in 0..1000_u64 {
            let random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if let Some(index) = pool.pick(None, tried, now, random) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[test]
    fn the_least_loaded_of_two_is_taken() {
        let mut pool = pool(&["a", "b", "c"]);
        assert!(draws(&pool, &[], S).iter().all(|n| *n > 200));
        for _ in 0..4 {
            pool.sent(0, S);
        }
        // The busiest of three is never the better of two different ones.
        assert_eq!(draws(&pool, &[], S)[0], 0);
        pool.answered(1, 10 * S);
        pool.answered(2, S);
        let counts = draws(&pool, &[], S);
        // The slowest is never the better of two.
        assert!(counts[1] == 0 && counts[0] > counts[2], "{counts:?}");
        assert_eq!(draws(&pool, &[0, 2], S), [0, 1000, 0]);
        assert_eq!(pool.pick(None, &[0, 1, 2], S, 7), None);
        assert_eq!(Pool::default().pick(None, &[], S, 7), None);
    }

    #[test]
    fn a_node_is_asked_only_for_its_models() {
        let mut pool = pool(&["a", "b"]);
        pool.0[0].node.models = vec!["m".into()];
        for random in 0..64 {
            assert_eq!(pool.pick(Some("other"), &[], S, random), Some(1));
        }
        pool.0.pop();
        assert!(!pool.is_up(Some("other"), S) && pool.is_up(Some("m"), S) && pool.is_up(None, S));
        assert_eq!(pool.opens_in(Some("other"), S), None);
    }

    #[test]
    fn a_node_that_fails_rests_and_is_then_tried_with_one_request() {
        let mut pool = pool(&["a"]);
        pool.failed(0, S, S);
        pool.failed(0, S, S);
        assert!(pool.is_up(None, S));
        pool.failed(0, S, S);
        assert!(!pool.is_up(None, S));
        assert_eq!(pool.opens_in(None, S), Some(S));
        assert!(pool.is_up(None, 2 * S));
        pool.sent(0, 2 * S);
        assert!(!pool.is_up(None, 2 * S), "one request finds out");
        pool.over(0, 2 * S);
        pool.failed(0, 2 * S, 2 * S);
        assert_eq!(pool.opens_in(None, 2 * S), Some(2 * S));
        for n in 3..40 {
            pool.failed(0, n * S, n * S);
        }
        assert_eq!(pool.opens_in(None, 39 * S), Some(LONGEST_REST));
        pool.completed(0);
        pool.sent(0, S);
        assert!(pool.is_up(None, S));
        assert_eq!(pool.waiting(0, 2 * S), 1);
        assert_eq!(pool.waiting(0, S + FORGOTTEN), 0);
    }

    #[test]
    fn many_failures_at_once_are_one() {
        let mut pool = pool(&["a"]);
        for _ in 0..32 {
            pool.failed(0, S, 2 * S);
        }
        assert_eq!(pool.opens_in(None, 2 * S), Some(REST));
        pool.sent(0, 3 * S);
        pool.failed(0, S, 3 * S);
        assert_eq!(
            pool.opens_in(None, 3 * S),
            Some(REST),
            "from before the rest"
        );
        pool.failed(0, 3 * S, 3 * S);
        assert_eq!(pool.opens_in(None, 3 * S), Some(2 * REST));
    }

    #[test]
    fn the_head_of_an_answer_does_not_make_a_node_well() {
        let mut pool = pool(&["a"]);
        for _ in 0..3 {
            pool.answered(0, S);
            pool.failed(0, S, 2 * S);
        }
        assert!(!pool.is_up(None, 2 * S));
        pool.answered(0, S);
        assert!(!pool.is_up(None, 2 * S));
        pool.completed(0);
        assert!(pool.is_up(None, 2 * S));
    }

    #[test]
    fn a_busy_node_is_left_alone_for_as_long_as_it_said_but_not_for_long() {
        let mut pool = pool(&["a"]);
        pool.busy(0, 4 * S, S);
        pool.answered(0, S);
        pool.completed(0);
        assert!(!pool.is_up(None, 4 * S) && pool.is_up(None, 5 * S));
        pool.busy(0, Duration::MAX, S);
        assert_eq!(pool.opens_in(None, S), Some(LONGEST_REST));
        pool.over(0, S);
        assert_eq!(pool.waiting(0, S), 0);
    }

    #[test]
    fn a_look_at_its_health_ends_a_nodes_rest_and_counts_what_others_gave_it() {
        let mut pool = pool(&["a", "b"]);
        for _ in 0..5 {
            pool.failed(0, S, S);
        }
        assert!(!pool.takes(0, S));
        pool.is_well(0, 7);
        assert!(pool.takes(0, S));
        assert_eq!(draws(&pool, &[], S), [0, 1000]);
        pool.busy(1, 4 * S, S);
        pool.is_well(1, 0);
        assert!(!pool.takes(1, S), "busy is not unwell");
    }

    #[test]
    fn a_new_list_keeps_what_is_known_and_the_indices() {
        let mut before = pool(&["a", "b"]);
        before.sent(1, S);
        before.configure(
            pool(&["c", "b"])
                .0
                .into_iter()
                .map(|state| state.node)
                .collect(),
        );
        let names: Vec<_> = before
            .nodes()
            .map(|(index, node)| (index, &node.name[..]))
            .collect();
        assert_eq!(names, [(1, "b"), (2, "c")]);
        assert_eq!(before.waiting(1, S), 1);
        assert_eq!(draws(&before, &[], S)[0], 0);
        before.over(0, S);
        before.configure(Vec::new());
        assert!(!before.is_up(None, S));
        assert_eq!(before.opens_in(None, S), None);
    }
}
