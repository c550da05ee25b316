//! Backups as servers before nats-server 2.15 make them: the files of a stream in a tar archive.
//!
//! The headers are read by the `tar` crate; what arrives is pushed in piece by piece, as everywhere in backups.
#![warn(clippy::indexing_slicing)]

use crate::store::archive::ArchiveError;
use tar::{EntryType, Header, PaxExtensions};

const BLOCK_LEN: usize = 512;
/// Longest extension of a header (Go's limit).
const EXTENSION_LEN_MAX: u64 = 1 << 20;

/// Whoever is shown the files of an archive.
pub(crate) trait Files {
    type Error: From<ArchiveError>;

    /// A file begins. Its path is relative and stays below where it is.
    ///
    /// # Errors
    /// It is not wanted.
    fn begins(&mut self, path: &str, len: u64) -> Result<(), Self::Error>;

    /// A part of the file.
    ///
    /// # Errors
    /// It cannot be kept.
    fn part(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The file is there whole.
    ///
    /// # Errors
    /// It cannot be kept.
    fn ends(&mut self) -> Result<(), Self::Error>;
}

/// Takes a tar archive as it arrives. Holds no more than one header.
pub(crate) struct TarReader {
    held: Vec<u8>,
    state: State,
    /// What the extension says of the file behind it.
    path: Option<Vec<u8>>,
    len: Option<u64>,
}

enum State {
    /// A header comes.
    Header,
    /// The extension of the next header comes, with what fills its last block.
    Extension { len: usize },
    /// So much comes of a file, and then what fills its last block.
    File { left: u64, fill: usize },
    /// The archive is whole.
    End,
}

impl TarReader {
    pub(crate) fn new() -> Self {
        Self { held: Vec::new(), state: State::Header, path: None, len: None }
    }

    /// Whether the archive is whole.
    pub(crate) fn is_at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Takes what arrived.
    ///
    /// # Errors
    /// What is wrong with the archive, or that of `files`.
    pub(crate) fn push<T: Files>(&mut self, bytes: &[u8], files: &mut T) -> Result<(), T::Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.state {
                State::Header => {
                    let Some(header) = self.fill(&mut rest, BLOCK_LEN) else { break };
                    self.take_header(&header, files)?;
                }
                State::Extension { len } => {
                    let Some(mut extension) = self.fill(&mut rest, len.next_multiple_of(BLOCK_LEN)) else {
                        break;
                    };
                    extension.truncate(len);
                    self.take_extension(&extension)?;
                }
                State::File { left: 0, fill } => {
                    if self.fill(&mut rest, fill).is_none() {
                        break;
                    }
                    self.state = State::Header;
                }
                State::File { left, fill } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let (part, behind) = rest.split_at(here);
                    files.part(part)?;
                    rest = behind;
                    self.file_goes_on(left - part.len() as u64, fill, files)?;
                }
                State::End => break,
            }
        }
        Ok(())
    }

    /// Takes `len` bytes when they are there.
    fn fill(&mut self, rest: &mut &[u8], len: usize) -> Option<Vec<u8>> {
        let here = (len - self.held.len()).min(rest.len());
        let (part, behind) = rest.split_at(here);
        self.held.extend_from_slice(part);
        *rest = behind;
        (self.held.len() == len).then(|| std::mem::take(&mut self.held))
    }

    fn file_goes_on<T: Files>(&mut self, left: u64, fill: usize, files: &mut T) -> Result<(), T::Error> {
        self.state = State::File { left, fill };
        if left == 0 {
            files.ends()?;
            if fill == 0 {
                self.state = State::Header;
            }
        }
        Ok(())
    }

    fn take_header<T: Files>(&mut self, bytes: &[u8], files: &mut T) -> Result<(), T::Error> {
        if bytes.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(());
        }
        let header = Header::from_byte_slice(bytes);
        let (before, behind) = (bytes.get(..148), bytes.get(156..));
        let sum = before.into_iter().chain(behind).flatten().map(|byte| u32::from(*byte)).sum::<u32>();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err(ArchiveError::TarHeader.into());
        }
        let len = header.entry_size().map_err(|_| ArchiveError::TarHeader)?;
        match header.entry_type() {
            EntryType::XHeader if len > EXTENSION_LEN_MAX => Err(ArchiveError::TarHeader.into()),
            EntryType::XHeader => {
                let len = usize::try_from(len).map_err(|_| ArchiveError::TarHeader)?;
                self.state = if len == 0 { State::Header } else { State::Extension { len } };
                Ok(())
            }
            EntryType::Regular => {
                let path = self.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
                let len = self.len.take().unwrap_or(len);
                let path = checked(&path).ok_or(ArchiveError::Unexpected)?;
                files.begins(path, len)?;
                let fill = (BLOCK_LEN as u64 - len % BLOCK_LEN as u64) % BLOCK_LEN as u64;
                self.file_goes_on(len, usize::try_from(fill).unwrap_or(0), files)
            }
            // A link, a directory, a device.
            _ => Err(ArchiveError::Unexpected.into()),
        }
    }

    fn take_extension(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        for field in PaxExtensions::new(bytes) {
            let field = field.map_err(|_| ArchiveError::TarHeader)?;
            match field.key_bytes() {
                b"path" => self.path = Some(field.value_bytes().to_vec()),
                b"size" => {
                    let len = field.value().ok().and_then(|text| text.parse().ok());
                    self.len = Some(len.ok_or(ArchiveError::TarHeader)?);
                }
                _ => {}
            }
        }
        self.state = State::Header;
        Ok(())
    }
}

/// A path that stays below where it is.
fn checked(path: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(path).ok()?;
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    path.split('/').all(is_plain).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tar_header;
    use tar::Builder;

    /// A file, by path and content.
    type File = (String, Vec<u8>);

    /// What was shown.
    #[derive(Default)]
    struct Shown(Vec<File>);

    impl Files for Shown {
        type Error = ArchiveError;

        fn begins(&mut self, path: &str, len: u64) -> Result<(), ArchiveError> {
            assert!(len < 10_000);
            self.0.push((path.to_owned(), Vec::new()));
            Ok(())
        }

        fn part(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
            self.0.last_mut().unwrap().1.extend_from_slice(bytes);
            Ok(())
        }

        fn ends(&mut self) -> Result<(), ArchiveError> {
            self.0.push(("end".to_owned(), Vec::new()));
            Ok(())
        }
    }

    fn shown(archive: &[u8], step: usize) -> Result<(Vec<File>, bool), ArchiveError> {
        let (mut reader, mut shown) = (TarReader::new(), Shown::default());
        for part in archive.chunks(step) {
            reader.push(part, &mut shown)?;
        }
        Ok((shown.0, reader.is_at_end()))
    }

    fn archive_of(path: &str, kind: EntryType) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        builder.append(&tar_header(path, kind, 2), &b"xx"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_come_back_in_whatever_pieces_the_archive_arrives() {
        let mut builder = Builder::new(Vec::new());
        let long = format!("obs/{}/o.dat", "c".repeat(200));
        builder.append_pax_extensions([("mtime", b"1.5".as_slice()), ("path", long.as_bytes())]).unwrap();
        builder.append(&tar_header("short", EntryType::Regular, 3), &b"abc"[..]).unwrap();
        builder.append(&tar_header("msgs/1.blk", EntryType::Regular, 1024), &[7_u8; 1024][..]).unwrap();
        builder.append(&tar_header("meta.inf", EntryType::Regular, 0), &b""[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        let end = ("end".to_owned(), Vec::new());
        let wanted = vec![
            (long, b"abc".to_vec()),
            end.clone(),
            ("msgs/1.blk".to_owned(), vec![7; 1024]),
            end.clone(),
            ("meta.inf".to_owned(), Vec::new()),
            end,
        ];
        for step in [1, 100, 512, 513, archive.len()] {
            assert_eq!(shown(&archive, step).unwrap(), (wanted.clone(), true), "{step}");
        }
        assert!(!shown(&archive[..archive.len() - 1024], 512).unwrap().1, "the end is missing");
    }

    #[test]
    fn paths_that_lead_elsewhere_and_what_is_no_file_are_refused() {
        for path in ["/escaped", "../x", "msgs/../../x", "a//b", "./a", "a/.", "", "a\\b"] {
            assert_eq!(
                shown(&archive_of(path, EntryType::Regular), 512),
                Err(ArchiveError::Unexpected),
                "{path}"
            );
        }
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Directory,
            EntryType::Char,
            EntryType::XGlobalHeader,
        ] {
            assert_eq!(shown(&archive_of("a", kind), 512), Err(ArchiveError::Unexpected), "{kind:?}");
        }
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"../../x".as_slice())]).unwrap();
        builder.append(&tar_header("a", EntryType::Regular, 2), &b"xx"[..]).unwrap();
        assert_eq!(shown(&builder.into_inner().unwrap(), 512), Err(ArchiveError::Unexpected));
    }

    #[test]
    fn no_byte_of_a_header_makes_it_panic() {
        let archive = archive_of("msgs/1.blk", EntryType::Regular);
        for at in 0..512 {
            let mut wrong = archive.clone();
            wrong[at] ^= 0x10;
            // A blank in the checksum may stand for a zero.
            let may_pass = (148..156).contains(&at);
            assert!(shown(&wrong, 700).is_err() || may_pass, "{at}");
        }
    }
}
