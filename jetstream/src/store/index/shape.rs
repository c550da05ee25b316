//! Whether cells that were read are a tree.
//!
//! A checksum tells of damage, not of who wrote a file. Cells that name one another in a circle would be walked without
//! end, and one that is free and in use at once would be written over; so before any of it is believed, each cell in use
//! has to be named exactly once, and by one that is reached from the root. What the leaves say needs no look: a walk that
//! meets one which makes no sense passes it by.
//!
//! The cells are looked at as they stand in memory, not as the tree leads to them, where the processor would wait for
//! each. Whatever is asked of cells in another order is kept in a bit or a number for each.

use super::arena::{Arena, Class, NONE, Page, Ref};
use super::node::{Inner, is_inner};

/// Whether every cell in use is reached from `root` once, the leaves are `len`, and what is free is what the pages say.
pub(super) fn is_tree(arena: &Arena, root: Option<Ref>, len: usize) -> bool {
    Cells::new(arena).is_some_and(|mut cells| cells.are_tree(root, len).is_some())
}

/// A bit for each cell.
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn get(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & 1 << (at % 64) != 0)
    }

    /// Sets a bit; `None` if there is none, or if it was set before.
    fn set(&mut self, at: usize) -> Option<()> {
        let word = self.0.get_mut(at / 64)?;
        let bit = 1 << (at % 64);
        let was = *word & bit;
        *word |= bit;
        (was == 0).then_some(())
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn ones(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.checked_sub(1)?;
                Some(at * 64 + bit)
            })
        })
    }
}

/// The cell that is named by none.
const ROOT: u32 = u32::MAX;

/// What is known of the cells, which are numbered through all classes.
struct Cells<'a> {
    arena: &'a Arena,
    /// The first number of each class, and the one behind the last.
    first: Vec<usize>,
    free: Bits,
    /// Cells in use, by what stands in them.
    leaves: Bits,
    inner: Bits,
    /// Cells that were named, by what they were named.
    named_leaves: Bits,
    named_inner: Bits,
    /// By whom an inner cell was named; `ROOT` also where it is known to be reached from there.
    parents: Vec<u32>,
}

impl<'a> Cells<'a> {
    /// `None` where there are more than can be numbered.
    fn new(arena: &'a Arena) -> Option<Self> {
        let mut first = vec![0_usize];
        for class in &arena.classes {
            let cells = class.pages.len().checked_mul(1 << class.shift)?;
            first.push(first.last()?.checked_add(cells)?);
        }
        let len = usize::try_from(u32::try_from(*first.last()?).ok()?).ok()?;
        Some(Self {
            arena,
            first,
            free: Bits::new(len),
            leaves: Bits::new(len),
            inner: Bits::new(len),
            named_leaves: Bits::new(len),
            named_inner: Bits::new(len),
            parents: vec![0; len],
        })
    }

    fn are_tree(&mut self, root: Option<Ref>, len: usize) -> Option<()> {
        if let Some(root) = root {
            self.name(root, ROOT)?;
        }
        let classes = self.arena.classes.iter().zip(self.first.clone());
        for (class, first) in classes {
            let pages = class.pages.iter().enumerate().map(|(at, page)| (page, first + (at << class.shift)));
            for (page, first) in pages {
                let free = self.free_cells(class, page, first)?;
                if free + page.live as usize != page.bytes.len() / class.cell_bytes {
                    return None;
                }
                self.cells_in_use(class, page, first)?;
            }
            has_open_pages(class).then_some(())?;
        }
        let all_named = self.leaves.0 == self.named_leaves.0 && self.inner.0 == self.named_inner.0;
        (all_named && self.leaves.count() == len).then_some(())?;
        self.no_circles()
    }

    /// Notes the free cells of a page; says how many there are.
    fn free_cells(&mut self, class: &Class, page: &Page, first: usize) -> Option<usize> {
        let (mut at, mut count) = (page.free, 0);
        while at != NONE {
            let link = page.bytes.get(usize::from(at) * class.cell_bytes..)?.first_chunk()?;
            self.free.set(first + usize::from(at))?;
            count += 1;
            at = u16::from_le_bytes(*link);
        }
        Some(count)
    }

    /// Looks at what else is in a page, and notes whom its inner nodes name.
    fn cells_in_use(&mut self, class: &Class, page: &Page, first: usize) -> Option<()> {
        for (at, cell) in page.bytes.chunks_exact(class.cell_bytes).enumerate() {
            let number = first + at;
            if self.free.get(number) {
                continue;
            }
            if !is_inner(cell) {
                self.leaves.set(number)?;
                continue;
            }
            self.inner.set(number)?;
            let (node, by) = (Inner::read(cell)?, u32::try_from(number).ok()?);
            if let Some(value) = node.value {
                self.name(value, by)?;
            }
            for child in 0..node.count {
                self.name(node.child_at(child)?, by)?;
            }
        }
        Some(())
    }

    /// A cell is named; `None` if there is no such cell, or if it was named before.
    fn name(&mut self, cell: Ref, by: u32) -> Option<()> {
        let (first, end) = (*self.first.get(cell.class())?, *self.first.get(cell.class() + 1)?);
        let number = first + cell.number();
        if number >= end {
            return None;
        }
        if cell.is_leaf() {
            return self.named_leaves.set(number);
        }
        *self.parents.get_mut(number)? = by;
        self.named_inner.set(number)
    }

    /// Whether the way up from each inner node ends at the root. Each is named once, so those below one another in a
    /// circle are not below the root.
    fn no_circles(&mut self) -> Option<()> {
        let most = self.inner.count();
        let Self { inner, parents, .. } = self;
        for number in inner.ones() {
            let (mut at, mut steps) = (number, 0);
            while *parents.get(at)? != ROOT {
                at = *parents.get(at)? as usize;
                steps += 1;
                if steps > most {
                    return None;
                }
            }
            at = number;
            for _ in 0..steps {
                at = std::mem::replace(parents.get_mut(at)?, ROOT) as usize;
            }
        }
        Some(())
    }
}

/// Whether a class knows where it has room.
fn has_open_pages(class: &Class) -> bool {
    let capacity = 1_u32 << class.shift;
    let mut open: Vec<u32> = class.open.clone();
    open.sort_unstable();
    let with_room = class.pages.iter().zip(0_u32..).filter(|(page, _)| page.live < capacity);
    let is_empty = |page: u32| class.pages.get(page as usize).is_some_and(|page| page.live == 0);
    with_room.map(|(_, page)| page).eq(open) && class.spare.is_none_or(is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::node::{Slot, set_slot};
    use crate::store::index::tree::Tree;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for seq in 1..500_u64 {
            tree.record(format!("k.{}.{}", seq % 7, seq * seq % 601).as_bytes(), seq, u64::MAX);
            tree.forget(format!("k.{}.{}", seq / 3 % 7, (seq / 3) * (seq / 3) % 601).as_bytes(), seq / 3);
        }
        tree
    }

    /// All slots, and what stands in them.
    fn slots(tree: &Tree) -> Vec<(Slot, Ref)> {
        let mut slots = vec![(Slot::Root, tree.root.unwrap())];
        let mut done = 0;
        while let Some((_, cell)) = slots.get(done).copied() {
            done += 1;
            if cell.is_leaf() {
                continue;
            }
            let node = Inner::read(tree.arena.get(cell)).unwrap();
            slots.extend(node.value.map(|value| (Slot::Value(cell), value)));
            slots.extend((0..node.count).map(|at| (Slot::Child(cell, at), node.child_at(at).unwrap())));
        }
        slots
    }

    fn set(tree: &mut Tree, slot: Slot, to: Ref) {
        match slot {
            Slot::Root => tree.root = Some(to),
            slot => set_slot(&mut tree.arena, slot, to),
        }
    }

    fn holds(tree: &Tree) -> bool {
        is_tree(&tree.arena, tree.root, tree.len)
    }

    #[test]
    fn what_was_grown_is_a_tree_of_as_many_leaves_as_there_are_subjects() {
        let tree = tree();
        assert!(tree.len > 100 && holds(&tree));
        assert!(!is_tree(&tree.arena, tree.root, tree.len + 1));
        assert!(!is_tree(&tree.arena, None, tree.len));
        assert!(is_tree(&Arena::default(), None, 0));
    }

    #[test]
    fn a_cell_that_is_named_twice_or_not_at_all_or_as_what_it_is_not_makes_no_tree() {
        let mut tree = tree();
        let slots = slots(&tree);
        for (at, (slot, cell)) in slots.iter().enumerate() {
            let other = slots[(at * 7 + 1) % slots.len()].1;
            let mut as_another = cell.to_bytes();
            as_another[4] ^= 0x80;
            for wrong in [other, Ref::from_bytes(as_another)] {
                if wrong != *cell {
                    set(&mut tree, *slot, wrong);
                    assert!(!holds(&tree), "{slot:?}");
                    set(&mut tree, *slot, *cell);
                }
            }
        }
        assert!(holds(&tree));
    }

    #[test]
    fn nodes_that_are_below_themselves_and_not_below_the_root_make_no_tree() {
        let mut tree = tree();
        let (slots, mut circles) = (slots(&tree), 0);
        for (above, cell) in slots.iter().filter(|(_, cell)| !cell.is_leaf()) {
            let below = |slot: &Slot| matches!(slot, Slot::Value(at) | Slot::Child(at, _) if at == cell);
            for (slot, child) in slots.iter().filter(|(slot, _)| below(slot)) {
                // Every cell is still named once, and as what it is.
                set(&mut tree, *slot, *cell);
                set(&mut tree, *above, *child);
                assert!(!holds(&tree), "{slot:?}");
                set(&mut tree, *above, *cell);
                set(&mut tree, *slot, *child);
                circles += 1;
            }
        }
        assert!(circles > 100 && holds(&tree));
    }
}
