//! A long file in pieces, each of which proves itself and all before it, so that neither writing nor reading it takes
//! more memory than a piece.
#![warn(clippy::indexing_slicing)]

use super::super::encryption::Frame;
use super::super::files::StreamFiles;
use super::super::record::{CHECKSUM_LEN, ChecksumKey};
use super::{MAGIC, VERSION};
use crate::disk::DiskFile;
use crate::store::source::invalid;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

/// Bytes of a piece, but for the last, without its checksum.
const FRAME_BYTES: usize = 1 << 20;
/// What encryption and the checksum may add to it.
const FRAME_MAX_BYTES: usize = FRAME_BYTES + 256;
/// The length of a piece stands before it.
const LEN_BYTES: usize = 4;
const START_BYTES: usize = MAGIC.len() + 1;

/// What the first checksum covers beside the piece: the file is of this kind and version.
fn start() -> [u8; START_BYTES] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION]
}

/// What the checksums of a stream's file are made with.
fn key(files: &StreamFiles) -> ChecksumKey {
    ChecksumKey::name(&files.name)
}

/// Writes a file from its beginning.
pub(super) struct FrameWriter {
    files: StreamFiles,
    key: ChecksumKey,
    file: Box<dyn DiskFile>,
    at: u64,
    /// The checksum of the piece before.
    chain: Vec<u8>,
    /// Room for the length, and what is gathered of a piece.
    piece: Vec<u8>,
}

impl FrameWriter {
    pub(super) fn create(files: &StreamFiles, path: &Path) -> io::Result<Self> {
        let file = files.disk.open(path, true)?;
        file.set_len(0)?;
        file.write_at(&start(), 0)?;
        let mut piece = Vec::with_capacity(LEN_BYTES + FRAME_MAX_BYTES);
        piece.resize(LEN_BYTES, 0);
        let (files, key) = (files.clone(), key(files));
        Ok(Self { files, key, file, at: START_BYTES as u64, chain: start().to_vec(), piece })
    }

    fn write_piece(&mut self) -> io::Result<()> {
        let content = self.piece.get(LEN_BYTES..).unwrap_or_default();
        let checksum = self.key.sum(&[&self.chain, content]);
        self.chain = checksum.to_vec();
        self.piece.extend_from_slice(&checksum);
        if self.files.is_encrypted() {
            let sealed = self.files.sealed(self.piece.split_off(LEN_BYTES), Frame::Whole)?;
            self.piece.extend_from_slice(&sealed);
        }
        let len = u32::try_from(self.piece.len() - LEN_BYTES).map_err(|_| invalid())?;
        if let Some(place) = self.piece.first_chunk_mut::<LEN_BYTES>() {
            *place = len.to_le_bytes();
        }
        self.file.write_at(&self.piece, self.at)?;
        self.at += self.piece.len() as u64;
        self.piece.truncate(LEN_BYTES);
        Ok(())
    }

    /// Writes what is left; says how long the file is.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.write_piece()?;
        Ok(self.at)
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LEN_BYTES + FRAME_BYTES - self.piece.len();
        let part = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.piece.extend_from_slice(part);
        if part.len() == room {
            self.write_piece()?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads such a file. What it hands out was proved.
pub(super) struct FrameReader<'f> {
    files: &'f StreamFiles,
    key: ChecksumKey,
    file: Box<dyn DiskFile>,
    at: u64,
    len_bytes: u64,
    chain: Vec<u8>,
    piece: Vec<u8>,
    /// What of the piece was handed out, and what of it can be.
    done: usize,
    end: usize,
}

impl<'f> FrameReader<'f> {
    pub(super) fn open(files: &'f StreamFiles, path: &Path) -> io::Result<Self> {
        let file = files.disk.open(path, false)?;
        let mut found = [0; START_BYTES];
        let len_bytes = file.len()?;
        if file.read_at(&mut found, 0)? != START_BYTES || found != start() {
            return Err(invalid());
        }
        let (at, chain) = (START_BYTES as u64, start().to_vec());
        Ok(Self { files, key: key(files), file, at, len_bytes, chain, piece: Vec::new(), done: 0, end: 0 })
    }

    /// How much there can be to read, at most.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_piece(&mut self) -> io::Result<()> {
        let mut len = [0; LEN_BYTES];
        if self.file.read_at(&mut len, self.at)? != LEN_BYTES {
            return Err(invalid());
        }
        let len = u32::from_le_bytes(len) as usize;
        let end = self.at + (LEN_BYTES + len) as u64;
        if len > FRAME_MAX_BYTES || end > self.len_bytes {
            return Err(invalid());
        }
        self.piece.resize(len, 0);
        if self.file.read_at(&mut self.piece, self.at + LEN_BYTES as u64)? != len {
            return Err(invalid());
        }
        if self.files.is_encrypted() {
            self.piece = self.files.unsealed(std::mem::take(&mut self.piece), Frame::Whole);
        }
        let parts = self.piece.len().checked_sub(CHECKSUM_LEN).map(|end| self.piece.split_at(end));
        let (content, checksum) = parts.ok_or_else(invalid)?;
        if self.key.sum(&[&self.chain, content]) != checksum {
            return Err(invalid());
        }
        self.chain = checksum.to_vec();
        (self.at, self.done, self.end) = (end, 0, content.len());
        Ok(())
    }

    /// Whether all of the file was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.len_bytes && self.done == self.end
    }
}

impl BufRead for FrameReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.done == self.end && self.at < self.len_bytes {
            self.read_piece()?;
        }
        Ok(self.piece.get(self.done..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.done = (self.done + amount).min(self.end);
    }
}

impl Read for FrameReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let len = there.len().min(bytes.len());
        if let (Some(from), Some(into)) = (there.get(..len), bytes.get_mut(..len)) {
            into.copy_from_slice(from);
        }
        self.consume(len);
        Ok(len)
    }
}
