//! Byte-pair merging (Sennrich et al. 2016): neighbours are joined, best pair first, leftmost
//! first among equals, until no pair joins.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A run of the text that is, so far, one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Byte range in the text.
    pub start: u32,
    pub end: u32,
    /// The token, or [`NONE`].
    pub id: u32,
    next: u32,
    previous: u32,
}

/// No token, no neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// A pair that may be joined: rank (lower first), left symbol, then where both ended when the
/// pair was seen, by which a stale one is told.
type Pair = Reverse<(u32, u32, u32, u32)>;

/// Buffers of [`run`](Merger::run), kept between words.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Pair>,
}

impl Merger {
    /// Starts over with no symbols.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.heap.clear();
    }

    /// Adds a symbol right of the others.
    pub fn push(&mut self, start: u32, end: u32, id: u32) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let previous = index.checked_sub(1).unwrap_or(NONE);
        self.symbols.push(Symbol {
            start,
            end,
            id,
            next: NONE,
            previous,
        });
    }

    /// Joins all that can be. `join` gives the rank and the token of a pair, or `None`.
    pub fn run(&mut self, join: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        for left in 0..self.symbols.len().saturating_sub(1) {
            self.consider(left as u32, &join);
        }
        while let Some(Reverse((_, left, middle, end))) = self.heap.pop() {
            let l = self.symbols[left as usize];
            if l.end != middle || l.next == NONE {
                continue;
            }
            let r = self.symbols[l.next as usize];
            if r.end != end {
                continue;
            }
            let Some((_, id)) = join(&l, &r) else {
                continue;
            };
            let joined = &mut self.symbols[left as usize];
            (joined.end, joined.id, joined.next) = (r.end, id, r.next);
            // An end that no pair can match: the right symbol is gone.
            self.symbols[l.next as usize].end = NONE;
            if r.next != NONE {
                self.symbols[r.next as usize].previous = left;
                self.consider(left, &join);
            }
            if l.previous != NONE {
                self.consider(l.previous, &join);
            }
        }
    }

    fn consider(&mut self, left: u32, join: &impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let l = &self.symbols[left as usize];
        let r = &self.symbols[l.next as usize];
        if let Some((rank, _)) = join(l, r) {
            self.heap.push(Reverse((rank, left, l.end, r.end)));
        }
    }

    /// What is left, from left to right.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        let first = self.symbols.first();
        std::iter::successors(first, |symbol| self.symbols.get(symbol.next as usize))
    }
}
