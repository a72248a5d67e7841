//! Which KV blocks are free.

/// Allocator over a fixed number of KV blocks.
pub(crate) struct Blocks {
    /// Tokens in a block.
    size: usize,
    /// Blocks there are.
    count: usize,
    /// Ids nobody holds; the next one to give away is last.
    free: Vec<u32>,
}

impl Blocks {
    /// `count` free blocks of `size` tokens (at least one token).
    pub fn new(count: usize, size: usize) -> Blocks {
        let ids = 0..u32::try_from(count).expect("block ids fit 32 bits");
        Blocks {
            size: size.max(1),
            count,
            free: ids.rev().collect(),
        }
    }

    /// Blocks there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Blocks nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Tokens all blocks can hold.
    pub fn tokens(&self) -> usize {
        self.count * self.size
    }

    /// Blocks that hold `tokens` tokens.
    pub fn needed(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.size)
    }

    /// Grows `table` until it holds `tokens` tokens. Takes nothing and answers false where there
    /// are not enough free blocks.
    pub fn grow(&mut self, table: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = self.needed(tokens).saturating_sub(table.len());
        if missing > self.free.len() {
            return false;
        }
        table.extend(self.free.drain(self.free.len() - missing..).rev());
        true
    }

    /// Takes back all blocks of `table`.
    pub fn release(&mut self, table: &mut Vec<u32>) {
        // Last block first, so that the next sequence gets the same ids in the same order.
        self.free.extend(table.drain(..).rev());
    }
}

#[cfg(test)]
mod tests {
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

    proptest! {
        #[test]
        fn no_block_has_two_owners_and_none_is_lost(
            moves in prop::collection::vec((0usize..4, 0usize..40), 0..200),
        ) {
            let mut blocks = Blocks::new(12, 4);
            let mut tables = vec![Vec::new(); 4];
            for (owner, tokens) in moves {
                if tokens == 0 {
                    blocks.release(&mut tables[owner]);
                } else if blocks.grow(&mut tables[owner], tokens) {
                    prop_assert!(tables[owner].len() * 4 >= tokens);
                }
                let held: Vec<u32> = tables.iter().flatten().copied().collect();
                let distinct: BTreeSet<u32> = held.iter().copied().collect();
                prop_assert_eq!(distinct.len(), held.len());
                prop_assert_eq!(held.len() + blocks.free(), 12);
            }
        }
    }
}
