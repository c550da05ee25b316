//! Cells of bytes in size classes, addressed by forty-bit references.
//!
//! A node of the tree is a few dozen bytes. As an allocation of its own it would cost a pointer of eight bytes and
//! the allocator's sixteen; here it costs a reference of five and nothing.

use super::tag::{Tag, Tags};
use crate::store::cow_vec::CowVec;

/// Bytes that a reference takes in a node.
pub(super) const REF_BYTES: usize = 5;
/// A page of cells is at most this large, unless one cell is larger.
const PAGE_BYTES: usize = 64 << 10;
/// Every cell has room for a link of the free list.
const CELL_BYTES_MIN: usize = 8;
/// End of a page's free list.
pub(super) const NONE: u16 = u16::MAX;
/// Size classes that a reference can name.
pub(super) const CLASSES_MAX: usize = 1 << 7;
/// Cells of a class that a reference can name.
const CELLS_MAX: usize = 1 << 26;

/// What stands in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Leaf(Tag),
}

/// Names a cell: its kind (1 bit), the tag of a leaf (6 bits), its size class (7 bits) and its number in the class (26 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ref(u64);

impl Ref {
    const LEAF: u64 = 1 << 39;
    const TAG_AT: u32 = 33;
    const CLASS_AT: u32 = 26;

    fn new(kind: Kind, class: usize, number: usize) -> Self {
        debug_assert!(class < CLASSES_MAX && number < CELLS_MAX);
        let kind = match kind {
            Kind::Inner => 0,
            Kind::Leaf(tag) => Self::LEAF | u64::from(tag.0) << Self::TAG_AT,
        };
        Self(kind | (class as u64) << Self::CLASS_AT | number as u64)
    }

    pub(super) fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    pub(super) fn kind(self) -> Kind {
        if self.is_leaf() { Kind::Leaf(Tag::from_bits((self.0 >> Self::TAG_AT) as u8)) } else { Kind::Inner }
    }

    pub(super) fn class(self) -> usize {
        (self.0 >> Self::CLASS_AT) as usize & (CLASSES_MAX - 1)
    }

    pub(super) fn number(self) -> usize {
        self.0 as usize & (CELLS_MAX - 1)
    }

    /// One if what a reference names, written so, is an inner node or a leaf with one of the tags, else zero. Only its last byte
    /// tells, and nothing is decided on the way, as whoever goes through all of a bucket asks this of every reference.
    #[inline(always)]
    pub(super) fn may_be([_, _, _, _, last]: [u8; REF_BYTES], tags: Tags) -> u64 {
        const LAST_AT: u32 = 32;
        const IS_LEAF_AT: u32 = Ref::LEAF.trailing_zeros() - LAST_AT;
        let is_inner = u64::from(!last) >> IS_LEAF_AT;
        is_inner | tags.holds(Tag::from_bits(last >> (Self::TAG_AT - LAST_AT)))
    }

    pub(super) fn to_bytes(self) -> [u8; REF_BYTES] {
        let [a, b, c, d, e, ..] = self.0.to_le_bytes();
        [a, b, c, d, e]
    }

    pub(super) fn from_bytes([a, b, c, d, e]: [u8; REF_BYTES]) -> Self {
        Self(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }
}

/// The size class of a cell of `len` bytes: steps of 4 up to 32 bytes, four steps for each doubling after that.
fn class_of(len: usize) -> usize {
    if len <= 32 {
        return len.max(CELL_BYTES_MIN).div_ceil(4) - 2;
    }
    let below = len - 1;
    let exponent = below.ilog2() as usize;
    7 + (exponent - 5) * 4 + ((below >> (exponent - 2)) & 3)
}

fn class_bytes(class: usize) -> usize {
    match class.checked_sub(7) {
        None => (class + 2) * 4,
        Some(step) => (5 + (step & 3)) << (step / 4 + 3),
    }
}

/// Size of the cell that [`Arena::alloc`] hands out for `len` bytes.
pub(super) fn cell_bytes(len: usize) -> usize {
    class_bytes(class_of(len))
}

#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) bytes: CowVec<u8>,
    pub(super) live: u32,
    /// First free cell; each holds the number of the next one in its first two bytes.
    pub(super) free: u16,
}

impl Page {
    fn empty() -> Self {
        Self { free: NONE, ..Self::default() }
    }
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) cell_bytes: usize,
    /// A page holds `1 << shift` cells.
    pub(super) shift: u32,
    /// The bits of a cell's number that say where in its page it is.
    pub(super) mask: usize,
    pub(super) pages: Vec<Page>,
    /// Pages with room.
    pub(super) open: Vec<u32>,
    /// An empty page that keeps its memory, so that one cell that comes and goes costs no allocation.
    pub(super) spare: Option<u32>,
}

impl Class {
    pub(super) fn new(class: usize) -> Self {
        let cell_bytes = class_bytes(class);
        let shift = (PAGE_BYTES / cell_bytes).max(1).ilog2();
        Self { cell_bytes, shift, mask: (1 << shift) - 1, pages: Vec::new(), open: Vec::new(), spare: None }
    }

    /// Whether all cells that can be named are in use.
    fn is_full(&self) -> bool {
        self.open.is_empty() && self.pages.len() >= CELLS_MAX >> self.shift
    }

    fn alloc(&mut self) -> usize {
        let page_number = if let Some(page) = self.open.last() {
            *page
        } else {
            let number = self.pages.len() as u32;
            self.pages.push(Page::empty());
            self.open.push(number);
            number
        };
        if self.spare == Some(page_number) {
            self.spare = None;
        }
        let capacity = 1_usize << self.shift;
        let Some(page) = self.pages.get_mut(page_number as usize) else { return 0 };
        let cell = if page.free == NONE {
            let cell = page.bytes.len() / self.cell_bytes;
            let bytes = page.bytes.to_mut();
            if page_number > 0 && bytes.capacity() == 0 {
                bytes.reserve_exact(capacity * self.cell_bytes);
            }
            bytes.resize(bytes.len() + self.cell_bytes, 0);
            cell
        } else {
            let cell = usize::from(page.free);
            let link = page.bytes.get(cell * self.cell_bytes..).and_then(|bytes| bytes.first_chunk());
            page.free = link.map_or(NONE, |link| u16::from_le_bytes(*link));
            cell
        };
        page.live += 1;
        if page.live as usize == capacity {
            self.open.pop();
        }
        ((page_number as usize) << self.shift) + cell
    }

    fn free(&mut self, number: usize) {
        let (page_number, cell) = self.place(number);
        let Some(page) = self.pages.get_mut(page_number) else { return };
        if page.live == 1 << self.shift {
            self.open.push(page_number as u32);
        }
        page.live -= 1;
        let at = cell * self.cell_bytes;
        if let Some(link) = page.bytes.to_mut().get_mut(at..at + 2) {
            link.copy_from_slice(&page.free.to_le_bytes());
            page.free = cell as u16;
        }
        if page.live == 0 {
            if self.spare.is_some() {
                *page = Page::empty();
            } else {
                self.spare = Some(page_number as u32);
            }
        }
    }

    /// In which page a cell is, and where there.
    pub(super) fn place(&self, number: usize) -> (usize, usize) {
        (number >> self.shift, number & self.mask)
    }
}

/// Cells of all classes.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) classes: Vec<Class>,
}

impl Arena {
    /// A cell of at least `len` bytes; what stands in it is arbitrary.
    pub(super) fn alloc(&mut self, kind: Kind, len: usize) -> Ref {
        let mut class = class_of(len);
        // A class whose numbers are all taken sends what else would go there to the next larger one.
        while self.classes.get(class).is_some_and(Class::is_full) {
            class += 1;
        }
        while self.classes.len() <= class {
            self.classes.push(Class::new(self.classes.len()));
        }
        let number = self.classes.get_mut(class).map_or(0, Class::alloc);
        Ref::new(kind, class, number)
    }

    /// A cell that begins with `content`.
    pub(super) fn store(&mut self, kind: Kind, content: &[u8]) -> Ref {
        let cell = self.alloc(kind, content.len());
        if let Some(bytes) = self.get_mut(cell).get_mut(..content.len()) {
            bytes.copy_from_slice(content);
        }
        cell
    }

    /// Puts `content` in place of the cell's, moving it only if its size class changes.
    pub(super) fn replace(&mut self, cell: Ref, content: &[u8]) -> Ref {
        if class_of(content.len()) != cell.class() {
            self.free(cell);
            return self.store(cell.kind(), content);
        }
        if let Some(bytes) = self.get_mut(cell).get_mut(..content.len()) {
            bytes.copy_from_slice(content);
        }
        cell
    }

    pub(super) fn free(&mut self, cell: Ref) {
        if let Some(class) = self.classes.get_mut(cell.class()) {
            class.free(cell.number());
        }
    }

    /// The whole cell, longer than what was asked for.
    pub(super) fn get(&self, cell: Ref) -> &[u8] {
        let Some(class) = self.classes.get(cell.class()) else { return &[] };
        let (page, number) = class.place(cell.number());
        let at = number * class.cell_bytes;
        class.pages.get(page).and_then(|page| page.bytes.get(at..at + class.cell_bytes)).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, cell: Ref) -> &mut [u8] {
        let Some(class) = self.classes.get_mut(cell.class()) else { return &mut [] };
        let (page, number) = class.place(cell.number());
        let at = number * class.cell_bytes;
        let page = class.pages.get_mut(page);
        page.and_then(|page| page.bytes.to_mut().get_mut(at..at + class.cell_bytes)).unwrap_or_default()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let class_bytes = |class: &Class| {
            let pages: usize = class.pages.iter().map(|page| page.bytes.capacity()).sum();
            pages + class.pages.capacity() * size_of::<Page>() + class.open.capacity() * 4
        };
        self.classes.iter().map(class_bytes).sum::<usize>() + self.classes.capacity() * size_of::<Class>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: Kind = Kind::Leaf(Tag::of(b"k"));

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        for len in 0..100_000 {
            let class = class_of(len);
            assert!(class_bytes(class) >= len);
            assert!(class == 0 || class_bytes(class - 1) < len, "{len}");
        }
    }

    #[test]
    fn cells_do_not_overlap_and_memory_of_freed_pages_comes_back() {
        let mut arena = Arena::default();
        let cells: Vec<_> = (0..50_000_u32).map(|n| arena.store(LEAF, &n.to_le_bytes().repeat(5))).collect();
        for (n, cell) in cells.iter().enumerate() {
            assert_eq!(arena.get(*cell), &(n as u32).to_le_bytes().repeat(5)[..]);
        }
        let full = arena.memory_bytes();
        cells.iter().for_each(|cell| arena.free(*cell));
        assert!(arena.memory_bytes() < full / 4);
        let again: Vec<_> = (0..50_000_u32).map(|n| arena.store(LEAF, &n.to_le_bytes().repeat(5))).collect();
        assert!(arena.memory_bytes() <= full + PAGE_BYTES);
        assert_eq!(arena.get(again[49_999]), &49_999_u32.to_le_bytes().repeat(5)[..]);
    }
}
