//! The index as it stands in memory, written and read as it is.
//!
//! References name cells by class and number, so that pages can be put back without looking into them.

use super::SubjectIndex;
use super::arena::{Arena, CLASSES_MAX, Class, NONE, Page, REF_BYTES, Ref};
use super::long_list::LongList;
use super::shape::is_tree;
use super::tree::Tree;
use crate::store::source::{Source, invalid};
use crate::store::varint::put_uvarint;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// An index as it was at some moment.
#[derive(Debug)]
pub(crate) struct IndexImage {
    len: usize,
    root: Option<Ref>,
    lists: Arc<Vec<Arc<LongList>>>,
    free_lists: Vec<usize>,
    classes: Vec<ClassImage>,
}

#[derive(Debug)]
struct ClassImage {
    pages: Vec<PageImage>,
    open: Vec<u32>,
    spare: Option<u32>,
}

#[derive(Debug)]
struct PageImage {
    bytes: Arc<Vec<u8>>,
    live: u32,
    free: u16,
}

impl SubjectIndex {
    /// The index as it is now. What changes afterwards is copied, by pages, as long as this is kept.
    pub(crate) fn image(&mut self) -> IndexImage {
        let tree = &mut self.tree;
        let classes = tree.arena.classes.iter_mut().map(|class| ClassImage {
            pages: class
                .pages
                .iter_mut()
                .map(|page| PageImage { bytes: page.bytes.share(), live: page.live, free: page.free })
                .collect(),
            open: class.open.clone(),
            spare: class.spare,
        });
        IndexImage {
            len: tree.len,
            root: tree.root,
            classes: classes.collect(),
            lists: tree.lists.share(),
            free_lists: tree.free_lists.clone(),
        }
    }

    /// An index that goes on from an image. What changes is copied first, by pages.
    pub(crate) fn of(image: &IndexImage) -> Self {
        let class = |(number, class): (usize, &ClassImage)| {
            let pages = class.pages.iter().map(|page| Page {
                bytes: Arc::clone(&page.bytes).into(),
                live: page.live,
                free: page.free,
            });
            let (open, spare) = (class.open.clone(), class.spare);
            Class { pages: pages.collect(), open, spare, ..Class::new(number) }
        };
        let arena = Arena { classes: image.classes.iter().enumerate().map(class).collect() };
        let lists = image.lists.to_vec();
        Self { tree: Tree::of(arena, image.root, lists, image.free_lists.clone(), image.len) }
    }

    /// Reads what [`IndexImage::write`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn read(source: &mut Source<impl BufRead>) -> io::Result<Self> {
        let len = usize::try_from(source.uvarint()?).map_err(|_| invalid())?;
        let root = match source.byte()? {
            0 => None,
            _ => Some(Ref::from_bytes(source.array::<REF_BYTES>()?)),
        };
        let mut lists = Vec::new();
        for _ in 0..source.count()? {
            lists.push(Arc::new(LongList::read(source)?));
        }
        let mut free_lists = Vec::new();
        for _ in 0..source.count()? {
            free_lists.push(usize::try_from(source.uvarint()?).map_err(|_| invalid())?);
        }
        let classes = source.count()?;
        if classes > CLASSES_MAX || free_lists.iter().any(|free| *free >= lists.len()) {
            return Err(invalid());
        }
        let classes = (0..classes).map(|class| read_class(source, class)).collect::<io::Result<Vec<_>>>()?;
        let arena = Arena { classes };
        if !is_tree(&arena, root, len) {
            return Err(invalid());
        }
        Ok(Self { tree: Tree::of(arena, root, lists, free_lists, len) })
    }
}

fn read_class(source: &mut Source<impl BufRead>, number: usize) -> io::Result<Class> {
    let mut class = Class::new(number);
    let cells = 1_usize << class.shift;
    for page in 0..source.count()? {
        let (live, used) = (source.uvarint()?, source.count()?);
        let free = u16::from_le_bytes(source.array()?);
        // A full page has been free before, and one that was given back is empty.
        if used > cells || live > used as u64 || (free != NONE && usize::from(free) >= used) {
            return Err(invalid());
        }
        let len = used * class.cell_bytes;
        let room = if page > 0 && used > 0 { cells * class.cell_bytes } else { len };
        let bytes = source.bytes_with_room(len, room)?;
        let live = u32::try_from(live).map_err(|_| invalid())?;
        class.pages.push(Page { bytes: bytes.into(), live, free });
    }
    let is_page = |page: u64| u32::try_from(page).ok().filter(|page| (*page as usize) < class.pages.len());
    let mut open = Vec::new();
    for _ in 0..source.count()? {
        open.push(is_page(source.uvarint()?).ok_or_else(invalid)?);
    }
    let spare = match source.byte()? {
        0 => None,
        _ => Some(is_page(source.uvarint()?).ok_or_else(invalid)?),
    };
    (class.open, class.spare) = (open, spare);
    Ok(class)
}

impl IndexImage {
    /// Bytes that it takes, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        let pages = self.classes.iter().flat_map(|class| &class.pages);
        let lists: usize = self.lists.iter().map(|list| list.memory_bytes()).sum();
        pages.map(|page| page.bytes.len() as u64).sum::<u64>() + lists as u64
    }

    /// Writes it, and lets go of each page once it is written.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(self, out: &mut impl Write) -> io::Result<()> {
        let mut head = Vec::new();
        put_uvarint(&mut head, self.len as u64);
        head.push(u8::from(self.root.is_some()));
        head.extend(self.root.iter().flat_map(|root| root.to_bytes()));
        put_uvarint(&mut head, self.lists.len() as u64);
        out.write_all(&head)?;
        for list in self.lists.iter() {
            list.write(out)?;
        }
        head.clear();
        put_uvarint(&mut head, self.free_lists.len() as u64);
        self.free_lists.iter().for_each(|free| put_uvarint(&mut head, *free as u64));
        put_uvarint(&mut head, self.classes.len() as u64);
        out.write_all(&head)?;
        for (number, class) in self.classes.into_iter().enumerate() {
            write_class(out, class, Class::new(number).cell_bytes)?;
        }
        Ok(())
    }
}

fn write_class(out: &mut impl Write, class: ClassImage, cell_bytes: usize) -> io::Result<()> {
    let mut head = Vec::new();
    put_uvarint(&mut head, class.pages.len() as u64);
    for page in class.pages {
        put_uvarint(&mut head, u64::from(page.live));
        put_uvarint(&mut head, (page.bytes.len() / cell_bytes) as u64);
        head.extend_from_slice(&page.free.to_le_bytes());
        out.write_all(&head)?;
        out.write_all(&page.bytes)?;
        head.clear();
    }
    put_uvarint(&mut head, class.open.len() as u64);
    class.open.iter().for_each(|page| put_uvarint(&mut head, u64::from(*page)));
    head.push(u8::from(class.spare.is_some()));
    class.spare.iter().for_each(|page| put_uvarint(&mut head, u64::from(*page)));
    out.write_all(&head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use std::ops::ControlFlow;

    fn content(index: &SubjectIndex) -> Vec<(Vec<u8>, Vec<u64>)> {
        let mut content = Vec::new();
        index.walk_after(&Filter::All, None, |subject, seqs| {
            content.push((subject.to_vec(), seqs.iter().collect()));
            ControlFlow::Continue(())
        });
        content
    }

    fn subject(number: u64) -> String {
        format!("$KV.b.{}.{}", number % 37, number * number % 4001)
    }

    /// Records and forgets, so that pages are full, open, spare and given back, and lists are long and short again.
    fn work(index: &mut SubjectIndex, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            index.record(subject(seq).as_bytes(), seq);
            index.record(format!("long.{}", seq % 3).as_bytes(), seq);
            if seq % 3 == 0 {
                let old = seq / 2;
                index.forget(subject(old).as_bytes(), old);
                index.forget(format!("long.{}", old % 3).as_bytes(), old);
            }
        }
    }

    fn written(image: IndexImage) -> Vec<u8> {
        let mut out = Vec::new();
        image.write(&mut out).unwrap();
        out
    }

    fn read(file: &[u8]) -> io::Result<SubjectIndex> {
        SubjectIndex::read(&mut Source::new(file, file.len() as u64))
    }

    #[test]
    fn an_image_stays_as_it_was_while_the_index_goes_on_and_what_is_read_goes_on_the_same_way() {
        let mut index = SubjectIndex::default();
        assert!(read(&written(index.image())).unwrap().is_empty());
        for round in 0..6 {
            work(&mut index, round * 4_000..(round + 1) * 4_000);
            let (then, image) = (content(&index), index.image());
            let mut same = SubjectIndex::read(&mut Source::new(&*written(index.image()), u64::MAX)).unwrap();
            work(&mut index, (round + 1) * 4_000..(round + 1) * 4_000 + 500);
            work(&mut same, (round + 1) * 4_000..(round + 1) * 4_000 + 500);
            assert_eq!(content(&same), content(&index));
            assert_eq!((same.len(), same.memory_bytes()), (index.len(), same.memory_bytes()));
            assert_eq!(content(&read(&written(image)).unwrap()), then, "round {round}");
            for seq in (round + 1) * 4_000..(round + 1) * 4_000 + 500 {
                for name in [subject(seq), format!("long.{}", seq % 3)] {
                    index.forget(name.as_bytes(), seq);
                }
            }
            index = same;
            for seq in (round + 1) * 4_000..(round + 1) * 4_000 + 500 {
                for name in [subject(seq), format!("long.{}", seq % 3)] {
                    index.forget(name.as_bytes(), seq);
                }
            }
        }
    }

    #[test]
    fn an_image_that_is_cut_off_or_claims_more_than_there_is_is_none() {
        let mut index = SubjectIndex::default();
        work(&mut index, 1..300);
        let file = written(index.image());
        for len in 0..file.len() {
            assert!(SubjectIndex::read(&mut Source::new(&file[..len], len as u64)).is_err(), "{len}");
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            assert_ends(&damaged);
        }
    }

    /// What is forged may be read, but has no more subjects than it says, and never asks for more memory than there are
    /// bytes.
    fn assert_ends(file: &[u8]) {
        if let Ok(index) = read(file) {
            let mut subjects = 0;
            index.walk_after(&Filter::All, None, |_, seqs| {
                subjects += 1;
                assert!(subjects <= index.len());
                assert!(seqs.iter().count() <= file.len());
                ControlFlow::Continue(())
            });
        }
    }

    #[test]
    fn cells_that_name_one_another_in_a_circle_are_no_index() {
        let mut index = SubjectIndex::default();
        work(&mut index, 1..200);
        let file = written(index.image());
        let root_at = 1 + (1..10).find(|at| file[at - 1] & 0x80 == 0).unwrap();
        let root: [u8; REF_BYTES] = file[root_at..root_at + REF_BYTES].try_into().unwrap();
        assert_eq!(Some(Ref::from_bytes(root)), index.tree.root);
        let mut refused = 0;
        for at in root_at + REF_BYTES..file.len() - REF_BYTES {
            let mut forged = file.clone();
            forged[at..at + REF_BYTES].copy_from_slice(&root);
            refused += u32::from(read(&forged).is_err());
            assert_ends(&forged);
        }
        assert!(refused > 100, "{refused}");
    }
}
