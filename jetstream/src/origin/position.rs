//! Where sources stand, as `sources.db` keeps it in nats-server's form (`docs/format.md`), and as messages tell it.

use super::name::{Came, Position, read_source_header};
use crate::config::StreamConfig;
use crate::filter::Filter;
use crate::headers::header;
use crate::store::varint::{Fields, put_uvarint};
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;

const VERSION: u8 = 1;

/// Positions by index name.
pub(crate) type Positions = BTreeMap<String, Position>;
/// The messages of this stream that tell positions, by index name.
pub(crate) type Told = BTreeMap<String, u64>;

/// Where the sources of a stream stand.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) positions: Positions,
    pub(crate) told: Told,
    /// What was noted speaks of messages that were lost: it has to go.
    pub(crate) is_misled: bool,
}

/// Encodes positions that hold for the messages below `through_seq`.
pub(crate) fn encode(positions: &Positions, through_seq: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&(positions.len() as u64).to_le_bytes());
    out.extend_from_slice(&through_seq.to_le_bytes());
    for (name, position) in positions {
        put_uvarint(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        put_uvarint(&mut out, position.seq);
        put_uvarint(&mut out, position.identity.len() as u64);
        out.extend_from_slice(position.identity.as_bytes());
    }
    out
}

/// Decodes them; gives also the sequence below which they hold. `None` where it is nothing of the kind.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Positions, u64)> {
    let mut fields = Fields::new(bytes);
    let version = fields.byte()?;
    let (count, through_seq) = (fields.u64_le()?, fields.u64_le()?);
    if version != VERSION {
        return None;
    }
    let mut positions = Positions::new();
    for _ in 0..count {
        let name = text(&mut fields)?;
        let seq = fields.uvarint()?;
        positions.insert(name, Position { seq, identity: text(&mut fields)? });
    }
    Some((positions, through_seq))
}

fn text(fields: &mut Fields<'_>) -> Option<String> {
    let length = usize::try_from(fields.uvarint()?).ok()?;
    Some(String::from_utf8_lossy(fields.bytes(length)?).into_owned())
}

/// Finds out where the sources of a stream stand, by what was noted of them and by the messages since.
///
/// # Errors
/// A message cannot be read.
pub(crate) fn recover(
    config: &StreamConfig,
    store: &mut dyn Store,
    noted: Option<&[u8]>,
) -> Result<Found, StoreError> {
    if config.sources.is_empty() {
        return Ok(Found::default());
    }
    let mut told = Told::new();
    let last_seq = store.totals().last_seq;
    // What holds for more than is there holds for what was lost as well.
    let noted = noted.map(|noted| decode(noted).filter(|(_, through_seq)| *through_seq <= last_seq + 1));
    let is_misled = matches!(noted, Some(None));
    let (mut positions, through_seq) = noted.flatten().unwrap_or_default();
    let names: Vec<(String, String)> =
        config.sources.iter().map(|source| (source.index_name(), source.qualified_name())).collect();
    positions.retain(|name, _| names.iter().any(|(known, _)| known == name));
    let is_noted = |name: &str, positions: &Positions| positions.contains_key(name);
    let mut wanted: Vec<&(String, String)> = names.iter().collect();
    let all_noted = wanted.iter().all(|(name, _)| is_noted(name, &positions));
    let stop_at = if all_noted { through_seq } else { 0 };
    let filter = filter_of(config);
    let mut upto = last_seq;
    while !wanted.is_empty()
        && let Some(msg) = store.previous(&filter, upto)?
        && msg.seq >= stop_at
    {
        let seq = msg.seq;
        if let Some((came, position)) = header(msg.headers, super::SOURCE_HEADER).and_then(read_source_header)
        {
            wanted.retain(|(name, stream)| {
                let is_it = match &came {
                    Came::Source(source) => source == name,
                    Came::Stream(source) => source == stream,
                };
                let counts = is_it && (seq >= through_seq || !is_noted(name, &positions));
                if counts {
                    positions.insert(name.clone(), position.clone());
                }
                if is_it {
                    told.insert(name.clone(), seq);
                }
                !is_it
            });
        }
        if seq == 0 {
            break;
        }
        upto = seq - 1;
    }
    Ok(Found { positions, told, is_misled })
}

/// What messages of sources may be stored under.
fn filter_of(config: &StreamConfig) -> Filter {
    let mut patterns: Vec<&str> = Vec::new();
    for source in &config.sources {
        match source.filter_subject.as_str() {
            "" if source.subject_transforms.is_empty() => return Filter::All,
            "" => {}
            filter => patterns.push(filter),
        }
        // What a function makes of a subject may be anything.
        if source.subject_transforms.iter().any(|to| to.dest.is_empty() || to.dest.contains(['{', '$'])) {
            return Filter::All;
        }
        patterns.extend(source.subject_transforms.iter().map(|to| to.dest.as_str()));
    }
    if config.subject_transform.is_some() {
        return Filter::All;
    }
    Filter::new(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_file_and_damage_is_noticed() {
        let at = |seq, identity: &str| Position { seq, identity: identity.into() };
        let positions = Positions::from([("A > >".into(), at(300, "x")), ("B > >".into(), at(0, ""))]);
        let bytes = encode(&positions, 12);
        assert_eq!(decode(&bytes), Some((positions, 12)));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "cut at {end}");
        }
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(decode(&other), None);
    }
}
