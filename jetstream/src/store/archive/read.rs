//! Reading an archive of messages.

use super::{ArchiveError, MAGIC};

/// Longest name of an entry (nats-server v2.15.2).
const NAME_LEN_MAX: u64 = 1 << 20;
/// Most bytes of a variable-length integer.
const VARINT_LEN_MAX: usize = 10;

/// One entry: a message, or a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry<'a> {
    /// Subject of a message; path of a document; empty at the end of the archive.
    pub(crate) name: &'a [u8],
    /// Time of arrival, nanoseconds since 1970.
    pub(crate) ts_ns: i64,
    /// Sequence of a message; 0 for all else.
    pub(crate) seq: u64,
    /// Raw header block.
    pub(crate) headers: &'a [u8],
    /// Payload, or the document.
    pub(crate) payload: &'a [u8],
}

impl Entry<'_> {
    /// Whether it says that the archive is whole.
    pub(crate) fn is_end(&self) -> bool {
        *self == Self::default()
    }
}

/// Whoever is shown the entries of an archive.
pub(crate) trait Entries {
    type Error: From<ArchiveError>;

    /// An entry begins, whose headers and payload are so long. They are waited for, and held in memory.
    ///
    /// # Errors
    /// It is not wanted.
    fn begins(&mut self, head: &Head) -> Result<(), Self::Error>;

    /// An entry is there.
    ///
    /// # Errors
    /// It cannot be taken.
    fn take(&mut self, entry: &Entry<'_>) -> Result<(), Self::Error>;
}

/// What an entry says of itself before its parts come.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) name: Box<[u8]>,
    pub(crate) ts_ns: i64,
    pub(crate) seq: u64,
    pub(crate) headers_len: u64,
    pub(crate) payload_len: u64,
}

impl Head {
    /// Bytes of headers and payload.
    pub(crate) fn len(&self) -> u64 {
        self.headers_len.saturating_add(self.payload_len)
    }
}

/// Takes an archive as it arrives. Holds no more than one entry.
#[derive(Default)]
pub(crate) struct Reader {
    held: Vec<u8>,
    begun: bool,
    head: Option<Head>,
}

impl Reader {
    /// Takes what arrived, and shows the entries that are whole.
    ///
    /// # Errors
    /// What is wrong with the archive, or that of `entries`.
    pub(crate) fn push<T: Entries>(&mut self, bytes: &[u8], entries: &mut T) -> Result<(), T::Error> {
        if self.held.is_empty() {
            let used = self.read(bytes, entries)?;
            self.held.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let used = self.read(&held, entries)?;
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    /// Whether what arrived ends with an entry.
    #[cfg(test)]
    fn is_at_end_of_entry(&self) -> bool {
        self.held.is_empty() && self.head.is_none()
    }

    /// Reads what is there, and says how much of it was used.
    fn read<T: Entries>(&mut self, bytes: &[u8], entries: &mut T) -> Result<usize, T::Error> {
        let mut rest = bytes;
        if !self.begun {
            let Some(behind) = rest.get(MAGIC.len()..) else { return Ok(0) };
            if !rest.starts_with(MAGIC) {
                return Err(ArchiveError::Invalid.into());
            }
            (self.begun, rest) = (true, behind);
        }
        loop {
            let head = match self.head.take() {
                Some(head) => head,
                None => {
                    let Some((head, behind)) = head(rest)? else { break };
                    entries.begins(&head)?;
                    rest = behind;
                    head
                }
            };
            let lens = (usize::try_from(head.headers_len), usize::try_from(head.payload_len));
            let (Ok(headers_len), Ok(payload_len)) = lens else { return Err(ArchiveError::Invalid.into()) };
            let parts = rest.split_at_checked(headers_len);
            let parts =
                parts.and_then(|(headers, rest)| Some((headers, rest.split_at_checked(payload_len)?)));
            let Some((headers, (payload, behind))) = parts else {
                self.head = Some(head);
                break;
            };
            entries.take(&Entry { name: &head.name, ts_ns: head.ts_ns, seq: head.seq, headers, payload })?;
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }
}

/// Reads the head of an entry; `None` where it is not there whole.
fn head(bytes: &[u8]) -> Result<Option<(Head, &[u8])>, ArchiveError> {
    let mut rest = bytes;
    let mut numbers = [0_u64; 5];
    for number in &mut numbers {
        let Some((read, behind)) = uvarint(rest)? else { return Ok(None) };
        (*number, rest) = (read, behind);
    }
    let [name_len, time, seq, headers_len, payload_len] = numbers;
    let total = headers_len.checked_add(payload_len).filter(|total| i64::try_from(*total).is_ok());
    if name_len > NAME_LEN_MAX || total.is_none() {
        return Err(ArchiveError::Invalid);
    }
    let name_len = usize::try_from(name_len).map_err(|_| ArchiveError::Invalid)?;
    let Some((name, behind)) = rest.split_at_checked(name_len) else { return Ok(None) };
    let ts_ns = (time >> 1).cast_signed() ^ -((time & 1).cast_signed());
    Ok(Some((Head { name: name.into(), ts_ns, seq, headers_len, payload_len }, behind)))
}

/// Reads a variable-length integer; `None` where it is not there whole.
fn uvarint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, ArchiveError> {
    let Some(end) = bytes.iter().take(VARINT_LEN_MAX).position(|byte| byte & 0x80 == 0) else {
        return if bytes.len() < VARINT_LEN_MAX { Ok(None) } else { Err(ArchiveError::Invalid) };
    };
    let mut fields = crate::store::varint::Fields::new(bytes);
    let number = fields.uvarint().ok_or(ArchiveError::Invalid)?;
    Ok(bytes.get(end + 1..).map(|behind| (number, behind)))
}

#[cfg(test)]
mod tests {
    use super::super::put_entry;
    use super::*;

    /// What was shown, as text.
    #[derive(Default)]
    struct Shown(Vec<String>);

    impl Entries for Shown {
        type Error = ArchiveError;

        fn begins(&mut self, head: &Head) -> Result<(), ArchiveError> {
            if head.len() > 1000 { Err(ArchiveError::TooLarge) } else { Ok(()) }
        }

        fn take(&mut self, entry: &Entry<'_>) -> Result<(), ArchiveError> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (name, headers, payload) = (text(entry.name), text(entry.headers), text(entry.payload));
            self.0.push(format!("{name} {} {} {headers}|{payload}", entry.seq, entry.ts_ns));
            Ok(())
        }
    }

    fn archive() -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let document = Entry { name: b"state.json", ts_ns: -7, payload: b"{}", ..Entry::default() };
        let message = Entry { name: b"a.b", ts_ns: 1 << 60, seq: 300, headers: b"h", payload: b"p" };
        for entry in [document, message, Entry::default()] {
            put_entry(&mut out, &entry);
        }
        out
    }

    fn shown(archive: &[u8], step: usize) -> Result<(Vec<String>, bool), ArchiveError> {
        let (mut reader, mut shown) = (Reader::default(), Shown::default());
        for part in archive.chunks(step) {
            reader.push(part, &mut shown)?;
        }
        Ok((shown.0, reader.is_at_end_of_entry()))
    }

    #[test]
    fn entries_come_back_as_they_were_written_in_whatever_pieces_they_arrive() {
        let archive = archive();
        let wanted = ["state.json 0 -7 |{}", "a.b 300 1152921504606846976 h|p", " 0 0 |"];
        for step in 1..archive.len() {
            assert_eq!(shown(&archive, step).unwrap(), (wanted.map(String::from).to_vec(), true), "{step}");
        }
    }

    #[test]
    fn a_cut_is_found_and_no_byte_makes_it_panic() {
        let archive = archive();
        let ends = (0..archive.len()).filter(|len| shown(&archive[..*len], 5).unwrap().1);
        assert_eq!(ends.count(), 4, "at the start, behind the magic bytes and behind two entries");
        for at in 0..archive.len() {
            for flip in [1, 0x80, 0xff] {
                let mut wrong = archive.clone();
                wrong[at] ^= flip;
                let _ = shown(&wrong, 3);
            }
        }
    }

    #[test]
    fn lengths_that_nothing_can_have_are_refused() {
        for numbers in [
            &b"\x80\x80\x80\x80\x08\0\0\0\0"[..],
            b"\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01",
            b"\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            let archive = [MAGIC.as_slice(), numbers].concat();
            assert_eq!(shown(&archive, 100), Err(ArchiveError::Invalid));
        }
        let wanted = [MAGIC.as_slice(), b"\0\0\0\0\xe9\x07"].concat();
        assert_eq!(shown(&wanted, 100), Err(ArchiveError::TooLarge), "before its content has come");
    }
}
