//! KV blocks: which are held, and which hold tokens that somebody may ask for again.
//!
//! A full block is known by the tokens it holds and by what came before them. A sequence that begins
//! like an earlier one holds the known blocks too, in place of computing them; nobody writes to a
//! full block, so any number may. A known block that nobody holds is free: it stays known until
//! blocks that hold nothing run out, and the one put down first goes first.
//!
//! Keys are compared as a whole, so two beginnings whose hashes collide are still two.

use std::collections::{BTreeMap, HashMap};

/// Allocator over a fixed number of KV blocks.
pub(crate) struct Blocks {
    /// Tokens in a block.
    size: usize,
    blocks: Vec<Block>,
    /// Ids nobody holds and that hold nothing; the next one to give away is last.
    empty: Vec<u32>,
    /// Ids nobody holds whose tokens are known, by the time they were put down.
    idle: BTreeMap<u64, u32>,
    known: HashMap<Key, u32>,
    /// Counts what happens, for numbers that are never used again.
    now: u64,
}

#[derive(Default)]
struct Block {
    /// Sequences that hold it.
    holders: u32,
    /// What it holds, and the number of that beginning; `None` while it is being filled.
    holds: Option<(Key, u64)>,
    /// When nobody held it any more.
    put_down: u64,
}

/// What a full block holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    before: Before,
    tokens: Box<[u32]>,
}

/// What comes before a block's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Before {
    /// Nothing; keys and values come from the model with this adapter.
    Start(Option<u64>),
    /// The beginning of that number.
    Beginning(u64),
}

/// Tokens of a sequence, and the adapter they are computed with.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    pub adapter: Option<u64>,
    pub tokens: &'a [u32],
}

impl Blocks {
    /// `count` free blocks of `size` tokens (at least one token).
    pub fn new(count: usize, size: usize) -> Blocks {
        let ids = 0..u32::try_from(count).expect("block ids fit 32 bits");
        Blocks {
            size: size.max(1),
            blocks: ids.clone().map(|_| Block::default()).collect(),
            empty: ids.rev().collect(),
            idle: BTreeMap::new(),
            known: HashMap::new(),
            now: 0,
        }
    }

    /// Blocks there are.
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks nobody holds.
    pub fn free(&self) -> usize {
        self.empty.len() + self.idle.len()
    }

    /// Tokens all blocks can hold.
    pub fn tokens(&self) -> usize {
        self.count() * self.size
    }

    /// Blocks that `table` lacks to hold `tokens` tokens.
    pub fn missing(&self, table: &[u32], tokens: usize) -> usize {
        tokens.div_ceil(self.size).saturating_sub(table.len())
    }

    /// Tokens that `table` can hold.
    pub fn room(&self, table: &[u32]) -> usize {
        table.len() * self.size
    }

    /// Grows `table` until it holds `tokens` tokens. Takes nothing and answers false where there
    /// are not enough free blocks.
    pub fn grow(&mut self, table: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = self.missing(table, tokens);
        if missing > self.free() {
            return false;
        }
        for _ in 0..missing {
            table.extend(self.take());
        }
        true
    }

    /// Takes back all blocks of `table`.
    pub fn release(&mut self, table: &mut Vec<u32>) {
        // Last block first: the next sequence gets the same ids in the same order, and of what is
        // known a beginning outlives what follows it.
        for id in table.drain(..).rev() {
            self.put_down(id);
        }
    }

    /// What the block after the first `cached` tokens will hold; `None` where the tokens do not
    /// fill it. All blocks of `table` before it are known.
    pub fn next(&self, table: &[u32], content: Content, cached: usize) -> Option<Key> {
        let index = cached / self.size;
        let tokens = (content.tokens).get(index * self.size..(index + 1) * self.size)?;
        let before = match index {
            0 => Before::Start(content.adapter),
            _ => {
                let holds = &self.blocks[table[index - 1] as usize].holds;
                Before::Beginning(holds.as_ref()?.1)
            }
        };
        Some(Key {
            before,
            tokens: tokens.into(),
        })
    }

    /// Gives `table`, whose first `cached` tokens are computed, the known blocks of what follows.
    /// Answers with the number of tokens that are computed then.
    pub fn find(&mut self, table: &mut Vec<u32>, content: Content, mut cached: usize) -> usize {
        while let Some(key) = self.next(table, content, cached)
            && let Some(known) = self.known.get(&key).copied()
        {
            let index = cached / self.size;
            self.replace(table, index, known);
            cached = (index + 1) * self.size;
        }
        cached
    }

    /// Makes known what the blocks of `table` hold that were filled since `cached` tokens were
    /// computed; now all of `content` is. A block whose tokens are known makes way for the one known.
    pub fn learn(&mut self, table: &mut Vec<u32>, content: Content, mut cached: usize) {
        while let Some(key) = self.next(table, content, cached) {
            let index = cached / self.size;
            match self.known.get(&key).copied() {
                Some(known) => self.replace(table, index, known),
                None => {
                    self.now += 1;
                    self.known.insert(key.clone(), table[index]);
                    self.blocks[table[index] as usize].holds = Some((key, self.now));
                }
            }
            cached = (index + 1) * self.size;
        }
    }

    /// Forgets what the blocks hold: it is gone. Nobody holds any.
    pub fn forget(&mut self) {
        self.known.clear();
        self.idle.clear();
        self.empty = (0..self.blocks.len() as u32).rev().collect();
        self.blocks.fill_with(Block::default);
    }

    /// Puts `known` at a place of `table`, at most one past its end.
    fn replace(&mut self, table: &mut Vec<u32>, index: usize, known: u32) {
        let block = &mut self.blocks[known as usize];
        if block.holders == 0 {
            self.idle.remove(&block.put_down);
        }
        block.holders += 1;
        match table.get_mut(index) {
            Some(place) => {
                let own = std::mem::replace(place, known);
                self.put_down(own);
            }
            None => table.push(known),
        }
    }

    /// A block that holds nothing, for one holder.
    fn take(&mut self) -> Option<u32> {
        let id = (self.empty.pop()).or_else(|| self.idle.pop_first().map(|(_, id)| id))?;
        let block = &mut self.blocks[id as usize];
        if let Some((key, _)) = block.holds.take() {
            self.known.remove(&key);
        }
        block.holders = 1;
        Some(id)
    }

    fn put_down(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        block.holders -= 1;
        if block.holders > 0 {
            return;
        }
        match block.holds {
            None => self.empty.push(id),
            Some(_) => {
                self.now += 1;
                block.put_down = self.now;
                self.idle.insert(self.now, id);
            }
        }
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
