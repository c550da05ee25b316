//! What a server did for requests, for the bare loop to do the same: it reads as much, and sends the same bytes.

use std::io::{self, Read, Write};

/// What is done for one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Which records are read, by their numbers in the file.
    pub(crate) reads: Vec<u64>,
    /// What is sent then.
    pub(crate) answer: Vec<u8>,
}

/// What is done for requests in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// Records that the file holds.
    pub(crate) records: u64,
    /// Bytes of each.
    pub(crate) record_bytes: u64,
    /// One for each request.
    pub(crate) turns: Vec<Turn>,
}

impl Script {
    /// Writes it for [`read_from`](Self::read_from).
    pub(crate) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        for number in [self.records, self.record_bytes, self.turns.len() as u64] {
            out.write_all(&number.to_le_bytes())?;
        }
        for turn in &self.turns {
            out.write_all(&(turn.reads.len() as u64).to_le_bytes())?;
            turn.reads.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))?;
            out.write_all(&(turn.answer.len() as u64).to_le_bytes())?;
            out.write_all(&turn.answer)?;
        }
        Ok(())
    }

    /// Reads what [`write_to`](Self::write_to) wrote.
    pub(crate) fn read_from(input: &mut impl Read) -> io::Result<Self> {
        let [records, record_bytes, count] = [number(input)?, number(input)?, number(input)?];
        let turns = (0..count).map(|_| {
            let reads = (0..number(input)?).map(|_| number(input)).collect::<io::Result<_>>()?;
            let (len, mut answer) = (number(input)?, Vec::new());
            if input.take(len).read_to_end(&mut answer)? as u64 != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Turn { reads, answer })
        });
        Ok(Self { records, record_bytes, turns: turns.collect::<io::Result<_>>()? })
    }
}

fn number(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Script, Turn};

    #[test]
    fn a_script_is_read_as_it_was_written_and_not_where_it_is_cut_off() {
        let turns = vec![
            Turn { reads: vec![1, 5, u64::MAX], answer: b"MSG a 1 2\r\nhi\r\n".to_vec() },
            Turn::default(),
            Turn { reads: Vec::new(), answer: vec![0; 1000] },
        ];
        let script = Script { records: 10, record_bytes: 190, turns };
        let mut bytes = Vec::new();
        script.write_to(&mut bytes).unwrap();
        assert_eq!(Script::read_from(&mut &bytes[..]).unwrap(), script);
        for len in 0..bytes.len() {
            Script::read_from(&mut &bytes[..len]).unwrap_err();
        }
    }
}
