//! Stop strings as one automaton.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use tinderbox_protocol::Error;

/// Most bytes of all stop strings of a request. The automaton takes some 20 bytes for each.
pub(crate) const MAX_BYTES: usize = 128 << 10;

/// Aho-Corasick over a request's stop strings: one table step a byte, however many there are.
pub(crate) struct Stops {
    automaton: NFA,
    /// Bytes of the longest prefix of a stop string that ends at a state, sorted by state; 0 where
    /// absent.
    depths: Vec<(StateID, u32)>,
    strings: Vec<String>,
}

impl Stops {
    /// # Errors
    /// An empty string, or too much text.
    pub fn new(strings: Vec<String>) -> Result<Stops, Error> {
        let invalid = |reason: String| Error::Invalid {
            field: "stop".into(),
            reason,
        };
        if let Some(index) = strings.iter().position(String::is_empty) {
            return Err(invalid(format!("string {index} is empty")));
        }
        let bytes: usize = strings.iter().map(String::len).sum();
        if bytes > MAX_BYTES {
            return Err(invalid(format!(
                "{bytes} bytes of stop strings, at most {MAX_BYTES}"
            )));
        }
        let built = NFA::builder().dense_depth(1).build(&strings);
        let automaton = built.map_err(|error| invalid(error.to_string()))?;
        let mut stops = Stops {
            automaton,
            depths: Vec::new(),
            strings,
        };
        for string in &stops.strings {
            let mut state = stops.start();
            for (depth, byte) in (1..).zip(string.bytes()) {
                state = stops.next(state, byte);
                stops.depths.push((state, depth));
            }
        }
        stops.depths.sort_unstable();
        stops.depths.dedup();
        stops.depths.shrink_to_fit();
        Ok(stops)
    }

    /// The state before any text.
    pub fn start(&self) -> StateID {
        // Every automaton of the default kind has an unanchored start.
        self.automaton.start_state(Anchored::No).unwrap_or_default()
    }

    /// The state after one more byte.
    pub fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// How many of the last bytes may be the beginning of a stop string.
    pub fn held(&self, state: StateID) -> usize {
        let found = self
            .depths
            .binary_search_by_key(&state, |(state, _)| *state);
        found.map_or(0, |index| self.depths[index].1 as usize)
    }

    /// The longest stop string that ends at this state.
    pub fn matched(&self, state: StateID) -> Option<&str> {
        if !self.automaton.is_match(state) {
            return None;
        }
        let patterns = (0..self.automaton.match_len(state))
            .map(|index| self.strings[self.automaton.match_pattern(state, index)].as_str());
        patterns.max_by_key(|string| string.len())
    }
}
