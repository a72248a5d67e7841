//! Blocks, with a memory beside them that says what each one holds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn a_table_grows_by_whole_blocks() {
    let mut blocks = Blocks::new(4, 16);
    let mut table = Vec::new();
    assert!(blocks.grow(&mut table, 16));
    assert_eq!(table.len(), 1);
    assert!(blocks.grow(&mut table, 17));
    assert_eq!(table.len(), 2);
    assert!(blocks.grow(&mut table, 3), "a table never shrinks");
    assert_eq!((table.len(), blocks.free()), (2, 2));
}

#[test]
fn a_refused_growth_takes_nothing() {
    let mut blocks = Blocks::new(2, 4);
    let mut table = Vec::new();
    assert!(!blocks.grow(&mut table, 9));
    assert_eq!((table.len(), blocks.free()), (0, 2));
}

const SIZE: usize = 4;

/// Blocks, and the tokens that each of them was written after and with.
struct Memory {
    blocks: Blocks,
    written: Vec<Option<(Option<u64>, Vec<u32>)>>,
}

/// A sequence: adapter, tokens, how many are computed, blocks.
#[derive(Default)]
struct Row {
    adapter: Option<u64>,
    tokens: Vec<u32>,
    cached: usize,
    table: Vec<u32>,
}

impl Memory {
    fn new(count: usize) -> Memory {
        Memory {
            blocks: Blocks::new(count, SIZE),
            written: vec![None; count],
        }
    }

    /// Finds what is known of a new sequence, and takes room for all of it.
    fn begin(&mut self, adapter: Option<u64>, tokens: Vec<u32>) -> Option<Row> {
        let mut row = Row {
            adapter,
            tokens,
            ..Row::default()
        };
        self.find(&mut row);
        if self.blocks.grow(&mut row.table, row.tokens.len()) {
            return Some(row);
        }
        self.blocks.release(&mut row.table);
        None
    }

    fn find(&mut self, row: &mut Row) {
        let content = Content {
            adapter: row.adapter,
            tokens: &row.tokens,
        };
        row.cached = self.blocks.find(&mut row.table, content, row.cached);
    }

    /// Computes tokens up to `end`.
    fn compute(&mut self, row: &mut Row, end: usize) {
        let before = row.cached;
        row.cached = end.clamp(before, row.tokens.len());
        for position in before..row.cached {
            let block = row.table[position / SIZE] as usize;
            assert!(
                self.blocks.blocks[block].holds.is_none(),
                "a known block is written to"
            );
            self.written[block] = Some((row.adapter, row.tokens[..=position].to_vec()));
        }
        let content = Content {
            adapter: row.adapter,
            tokens: &row.tokens[..row.cached],
        };
        self.blocks.learn(&mut row.table, content, before);
    }

    /// What each sequence's computed blocks hold is what it would have written.
    fn check(&self, rows: &[Row]) {
        let mut held = vec![0; self.blocks.count()];
        for row in rows {
            for (index, id) in row.table.iter().enumerate() {
                held[*id as usize] += 1;
                let end = row.cached.min((index + 1) * SIZE);
                if end > index * SIZE {
                    let right = (row.adapter, row.tokens[..end].to_vec());
                    assert_eq!(self.written[*id as usize], Some(right));
                }
            }
            let known = row.cached / SIZE;
            for (index, id) in row.table.iter().enumerate() {
                let holds = self.blocks.blocks[*id as usize].holds.is_some();
                assert_eq!(holds, index < known, "full blocks are known, others not");
            }
        }
        let holders = self.blocks.blocks.iter().map(|block| block.holders);
        assert_eq!(holders.collect::<Vec<_>>(), held);
        let free: BTreeSet<u32> = (self.blocks.empty.iter())
            .chain(self.blocks.idle.values())
            .copied()
            .collect();
        let distinct = held.iter().filter(|holders| **holders > 0).count();
        assert_eq!(free.len(), self.blocks.free());
        assert_eq!(distinct + self.blocks.free(), self.blocks.count());
        assert!(free.iter().all(|id| held[*id as usize] == 0));
    }
}

#[test]
fn a_beginning_is_found_by_its_tokens_and_its_adapter() {
    let mut memory = Memory::new(12);
    let tokens: Vec<u32> = (0..14).collect();
    let mut first = memory.begin(None, tokens.clone()).unwrap();
    memory.compute(&mut first, 14);
    let found = |memory: &mut Memory, adapter, tokens: &[u32]| {
        let mut row = Row {
            adapter,
            tokens: tokens.to_vec(),
            ..Row::default()
        };
        memory.find(&mut row);
        let found = row.cached;
        memory.blocks.release(&mut row.table);
        found
    };
    assert_eq!(found(&mut memory, None, &tokens), 12, "full blocks alone");
    assert_eq!(found(&mut memory, None, &tokens[..11]), 8);
    assert_eq!(found(&mut memory, None, &tokens[4..]), 0, "at their place");
    assert_eq!(found(&mut memory, Some(0), &tokens), 0);
    let mut other = tokens.clone();
    other[5] = 99;
    assert_eq!(found(&mut memory, None, &other), 4);
    memory.blocks.release(&mut first.table);
    assert_eq!(found(&mut memory, None, &tokens), 12, "after its owner too");
    memory.blocks.forget();
    assert_eq!(found(&mut memory, None, &tokens), 0);
}

#[test]
fn what_was_put_down_first_makes_room_first_and_its_end_before_its_beginning() {
    let mut memory = Memory::new(4);
    let mut fill = |tokens: Vec<u32>| {
        let mut row = memory.begin(None, tokens).unwrap();
        let (found, end) = (row.cached, row.tokens.len());
        memory.compute(&mut row, end);
        memory.blocks.release(&mut row.table);
        assert_eq!(memory.blocks.free(), 4, "a known block is free");
        found
    };
    let (old, new) = (vec![1; 8], vec![2; 8]);
    assert_eq!(fill(old.clone()), 0);
    assert_eq!(fill(new.clone()), 0);
    assert_eq!(fill(vec![3; 4]), 0);
    assert_eq!(fill(old[..4].to_vec()), 4, "its beginning is still there");
    assert_eq!(fill(vec![4; 4]), 0);
    assert_eq!(fill(new), 4, "and this one has lost its end now");
}

proptest! {
    #[test]
    fn no_block_is_lost_and_each_holds_what_its_holders_think(
        moves in prop::collection::vec(
            (0usize..6, prop::option::of(0u64..2), 0usize..4, 1usize..24), 0..200),
    ) {
        let mut memory = Memory::new(12);
        let mut rows: Vec<Row> = Vec::new();
        for (what, adapter, which, count) in moves {
            let index = which.min(rows.len().saturating_sub(1));
            match (what, rows.get_mut(index)) {
                (0, Some(_)) => memory.blocks.release(&mut rows.remove(index).table),
                (1, Some(row)) => memory.find(row),
                (2 | 3, Some(row)) => {
                    let end = row.cached + count;
                    memory.compute(row, end);
                }
                _ => {
                    // Four texts that share their beginnings.
                    let tokens = (0..count).map(|at| if at < 4 * which { 0 } else { which as u32 });
                    rows.extend(memory.begin(adapter, tokens.collect()));
                }
            }
            memory.check(&rows);
        }
    }
}
