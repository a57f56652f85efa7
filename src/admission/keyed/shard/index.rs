//! Where a key is: open addressing, eight bytes a cell, half of it for a part of the hash. So cells find their place without a look at
//! the entries, and to double the index is a walk over its cells.

use super::super::hash::Hash;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// The lower half of the hash's lower word, and the number of the entry plus one; 0 is free.
    cells: Box<[u64]>,
    used: usize,
}

const fn cell(hash: Hash, entry: u32) -> u64 {
    hash.low << 32 | (entry as u64 + 1)
}

impl Index {
    /// The entry of a key; `is_it` looks whether an entry that may be, is.
    #[inline]
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.cells.is_empty() {
            return None;
        }
        let mask = self.cells.len() - 1;
        let tag = hash.low as u32;
        let mut at = tag as usize & mask;
        loop {
            let cell = self.cells[at];
            if cell == 0 {
                return None;
            }
            let entry = cell as u32 - 1;
            if (cell >> 32) as u32 == tag && is_it(entry) {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
    }

    pub(super) fn enter(&mut self, hash: Hash, entry: u32) {
        // At most three quarters full: an open address is near, and there is one.
        if (self.used + 1) * 4 > self.cells.len() * 3 {
            let larger = vec![0; (self.cells.len() * 2).max(16)].into_boxed_slice();
            let cells = std::mem::replace(&mut self.cells, larger);
            cells.into_iter().filter(|&cell| cell != 0).for_each(|cell| self.put(cell));
        }
        self.used += 1;
        self.put(cell(hash, entry));
    }

    fn put(&mut self, cell: u64) {
        let mask = self.cells.len() - 1;
        let mut at = (cell >> 32) as usize & mask;
        while self.cells[at] != 0 {
            at = (at + 1) & mask;
        }
        self.cells[at] = cell;
    }

    /// Takes a key out, and moves those back that stand behind it because it was there.
    pub(super) fn strike(&mut self, hash: Hash, entry: u32) {
        if self.cells.is_empty() {
            return;
        }
        let mask = self.cells.len() - 1;
        let cell = cell(hash, entry);
        let mut hole = hash.low as u32 as usize & mask;
        while self.cells[hole] != cell {
            if self.cells[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.used -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.cells[at];
            if next == 0 {
                break;
            }
            let home = (next >> 32) as usize & mask;
            // How far it stands from home, and how far from the hole.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.cells[hole] = next;
                hole = at;
            }
        }
        self.cells[hole] = 0;
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(super) fn check(&self, keys: usize) {
        assert_eq!(keys, self.used);
        assert_eq!(keys, self.cells.iter().filter(|&&cell| cell != 0).count());
    }
}
