//! Whether cells that were read are a tree.
//!
//! A checksum tells of damage, not of who wrote a file. Cells that name one another in a circle would be walked without
//! end, and one that is free and in use at once would be written over; so each has to be reached exactly once, from the
//! root or as a free one, before any of it is believed. What the leaves say needs no look: a walk that meets one which
//! makes no sense passes it by.

use super::arena::{Arena, Class, NONE, Page, Ref};
use super::node::Inner;

/// Which cells were reached.
struct Reached<'a> {
    arena: &'a Arena,
    /// A bit for each cell, by class and number.
    cells: Vec<Vec<u64>>,
    /// How many in each page.
    in_page: Vec<Vec<u32>>,
}

/// Whether every cell in use is reached from `root` once, the leaves are `len`, and what is free is what the pages say.
pub(super) fn is_tree(arena: &Arena, root: Option<Ref>, len: usize) -> bool {
    let cells = arena.classes.iter().map(|class| vec![0; (class.pages.len() << class.shift).div_ceil(64)]);
    let in_page = arena.classes.iter().map(|class| vec![0; class.pages.len()]);
    let mut reached = Reached { arena, cells: cells.collect(), in_page: in_page.collect() };
    arena.classes.iter().enumerate().all(|(number, class)| reached.pages_are_whole(number, class))
        && reached.leaves_below(root) == Some(len)
        && reached.all_in_use()
}

impl Reached<'_> {
    /// A cell is reached; `None` if there is no such cell, or if it was reached before.
    fn reach(&mut self, cell: Ref) -> Option<()> {
        let class = self.arena.classes.get(cell.class())?;
        let (page_number, number) = class.place(cell.number());
        let page = class.pages.get(page_number)?;
        if (number + 1) * class.cell_bytes > page.bytes.len() {
            return None;
        }
        *self.in_page.get_mut(cell.class())?.get_mut(page_number)? += 1;
        self.mark(cell.class(), cell.number())
    }

    fn mark(&mut self, class: usize, number: usize) -> Option<()> {
        let word = self.cells.get_mut(class)?.get_mut(number / 64)?;
        let bit = 1 << (number % 64);
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        Some(())
    }

    /// Marks the free cells of a class; whether those and what is said to be in use are all, and where there is room is
    /// known.
    fn pages_are_whole(&mut self, number: usize, class: &Class) -> bool {
        let capacity = 1_u32 << class.shift;
        let mut open: Vec<u32> = class.open.clone();
        open.sort_unstable();
        let with_room = class.pages.iter().zip(0_u32..).filter(|(page, _)| page.live < capacity);
        let is_empty = |page: u32| class.pages.get(page as usize).is_some_and(|page| page.live == 0);
        with_room.map(|(_, page)| page).eq(open)
            && class.spare.is_none_or(is_empty)
            && class.pages.iter().enumerate().all(|(at, page)| {
                let first = at << class.shift;
                self.free_cells(number, first, class, page)
                    .is_some_and(|free| free + page.live as usize == page.bytes.len() / class.cell_bytes)
            })
    }

    fn free_cells(&mut self, number: usize, first: usize, class: &Class, page: &Page) -> Option<usize> {
        let (mut at, mut count) = (page.free, 0);
        while at != NONE {
            self.mark(number, first + usize::from(at))?;
            count += 1;
            let link = page.bytes.get(usize::from(at) * class.cell_bytes..)?.first_chunk()?;
            at = u16::from_le_bytes(*link);
        }
        Some(count)
    }

    /// How many leaves there are; `None` where it is no tree.
    fn leaves_below(&mut self, root: Option<Ref>) -> Option<usize> {
        let (arena, mut leaves, mut inner) = (self.arena, 0, Vec::new());
        let mut meet = |cell: Ref, inner: &mut Vec<Ref>| {
            self.reach(cell)?;
            if cell.is_leaf() {
                leaves += 1;
            } else {
                inner.push(cell);
            }
            Some(())
        };
        if let Some(root) = root {
            meet(root, &mut inner)?;
        }
        while let Some(cell) = inner.pop() {
            let node = Inner::read(arena.get(cell))?;
            if let Some(value) = node.value {
                meet(value, &mut inner)?;
            }
            for at in 0..node.count {
                meet(node.child_at(at)?, &mut inner)?;
            }
        }
        Some(leaves)
    }

    fn all_in_use(&self) -> bool {
        let mut reached = self.arena.classes.iter().zip(&self.in_page);
        reached.all(|(class, in_page)| class.pages.iter().zip(in_page).all(|(page, of)| page.live == *of))
    }
}
