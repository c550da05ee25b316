//! Damage of the files of a store: both servers begin with the same store, in which the same bytes were changed, and what
//! each gives back is compared. JetKV must give back what nats-server does, and nothing that was never written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::Summary;
use crate::Result;
use crate::process::{Program, Server, ServerOptions};
use crate::random::Random;
use crate::request::Requester;

mod store;
mod wound;

/// What clients can see of a store: messages, configurations, consumers, each by a name.
pub(super) type Picture = BTreeMap<String, String>;

/// A store as it was before any damage.
struct Original {
    /// Who wrote it; it is stopped.
    writer: Server,
    files: Vec<PathBuf>,
    picture: Picture,
}

impl Original {
    fn write(program: &Program) -> Result<Self> {
        let mut writer = Server::start(program, &options())?;
        store::fill(&mut Requester::open(&writer)?)?;
        writer.stop(Signal::TERM)?;
        // Reading changes nothing, but it is the store after a start that is to be damaged, with all that a start adds.
        writer.launch()?;
        let picture = store::picture(&mut Requester::open(&writer)?)?;
        writer.stop(Signal::TERM)?;
        let mut files = Vec::new();
        list(&store_of(&writer), Path::new(""), &mut files)?;
        files.sort();
        Ok(Self { writer, files, picture })
    }
}

fn options() -> ServerOptions {
    ServerOptions { flags: vec!["-js".to_string()], ..ServerOptions::default() }
}

fn store_of(server: &Server) -> PathBuf {
    server.dir().join("store")
}

fn list(root: &Path, within: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(root.join(within))? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Damages the store in the way of each of these seeds. Half of the stores were written by the one program, half by the
/// other.
///
/// # Errors
/// When a store cannot be written, or a server does not start on one that is whole.
pub fn run(reference: &Program, candidate: &Program, seeds: Range<u64>) -> Result<Summary> {
    let originals = [Original::write(reference)?, Original::write(candidate)?];
    let mut summary = Summary::default();
    for seed in seeds {
        let name = format!("damage-{seed}");
        let Some(original) = originals.get(usize::from(!seed.is_multiple_of(2))) else { continue };
        summary.operations += 1;
        summary.confirm(name, || differs(original, seed, [reference, candidate]))?;
    }
    Ok(summary)
}

/// What the candidate did worse than the reference with the damage of a seed.
fn differs(original: &Original, seed: u64, programs: [&Program; 2]) -> Result<Option<String>> {
    let mut told = String::new();
    let mut pictures = Vec::new();
    for program in programs {
        let mut server = Server::stopped(program, &options())?;
        copy(&store_of(&original.writer), &store_of(&server))?;
        told = wound::inflict(&mut Random::new(seed), &store_of(&server), &original.files)?;
        // A server that does not start gives nothing back.
        let picture = match server.launch() {
            Ok(()) => store::picture(&mut Requester::open(&server)?)?,
            Err(error) => Picture::from([("the server".to_string(), format!("does not start: {error}"))]),
        };
        if server.is_alive() {
            server.stop(Signal::KILL)?;
        }
        pictures.push(picture);
    }
    let [reference, candidate] = pictures.as_slice() else { return Ok(None) };
    let worse = worse(&original.picture, reference, candidate);
    let writer = &original.writer.program().name;
    Ok((!worse.is_empty()).then(|| format!("{told}, written by {writer}\n{}", worse.join("\n"))))
}

/// Lines for all that the reference gives back and the candidate does not, and for what the candidate makes up.
fn worse(before: &Picture, reference: &Picture, candidate: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    let nothing = "nothing".to_string();
    for (name, value) in before {
        let (wanted, found) = (reference.get(name), candidate.get(name));
        let is_lost = wanted == Some(value) && found != Some(value);
        // Counts go with what is counted, and nats-server may find out about that only when it reads.
        let is_counted = name.contains(store::STATE)
            && (is_hurt(before, candidate, name) || begins_anew([reference, candidate], name));
        if is_lost && !is_counted {
            lines.push(format!("{name}\n- {value}\n+ {}", found.unwrap_or(&nothing)));
        }
        let is_made_up = found.is_some() && found != Some(value) && wanted.is_none_or(|it| Some(it) != found);
        // A configuration that nats-server does not take at all may be taken with what is left of it.
        let is_said = name.contains(store::MESSAGE) || (name.contains(store::CONFIG) && wanted.is_some());
        if is_made_up && is_said && !is_lost {
            let (wanted, found) = (wanted.unwrap_or(&nothing), found.unwrap_or(&nothing));
            lines.push(format!("{name}, made up\n  {value}\n- {wanted}\n+ {found}"));
        }
    }
    for (name, value) in candidate.iter().filter(|(name, _)| !before.contains_key(*name)) {
        if reference.get(name) != Some(value) {
            lines.push(format!("{name}, made up\n+ {value}"));
        }
    }
    lines
}

/// Whether something that somebody wrote is not there any more in the stream that a line of a picture belongs to.
fn is_hurt(before: &Picture, after: &Picture, name: &str) -> bool {
    let stream = name.split(' ').next().unwrap_or_default();
    let of_stream = before.iter().filter(|(name, _)| name.split(' ').next() == Some(stream));
    of_stream
        .filter(|(name, _)| !name.contains(store::STATE))
        .any(|(name, value)| after.get(name) != Some(value))
}

/// Whether a line is about the ack floor of a consumer that begins anew on both. Where it lay before its first message
/// nats-server tells by whether there is a file without anything in it.
fn begins_anew(pictures: [&Picture; 2], name: &str) -> bool {
    let Some(consumer) = name.strip_suffix(store::ACK_FLOOR) else { return false };
    let delivered = format!("{consumer}{}", store::DELIVERED);
    pictures.iter().all(|picture| picture.get(&delivered).is_some_and(|count| count == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(parts: &[(&str, &str)]) -> Picture {
        parts.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn losing_more_and_making_something_up_are_worse_and_losing_less_is_not() {
        let before = picture(&[("S message 1", "a"), ("S message 2", "b"), ("S state messages", "2")]);
        let none = picture(&[]);
        assert_eq!(worse(&before, &before, &before), [""; 0]);
        assert_eq!(worse(&before, &none, &before), [""; 0]);
        assert_eq!(worse(&before, &none, &none), [""; 0]);
        let less = picture(&[("S message 1", "a"), ("S state messages", "1")]);
        assert_eq!(worse(&before, &before, &less).len(), 1, "the count goes with the message");
        let miscounted = picture(&[("S message 1", "a"), ("S message 2", "b"), ("S state messages", "1")]);
        assert_eq!(worse(&before, &before, &miscounted).len(), 1);
        let false_one = picture(&[("S message 2", "c")]);
        assert_eq!(worse(&before, &none, &false_one).len(), 1);
        assert_eq!(worse(&before, &false_one, &false_one), [""; 0]);
        assert_eq!(worse(&before, &none, &picture(&[("S message 3", "c")])).len(), 1);
    }

    #[test]
    fn where_a_consumer_begins_anew_on_both_its_ack_floor_is_not_compared() {
        let consumer = |delivered, floor| {
            picture(&[
                ("S c state delivered/consumer_seq", delivered),
                ("S c state ack_floor/stream_seq", floor),
            ])
        };
        let before = consumer("3", "0");
        assert_eq!(worse(&before, &consumer("0", "0"), &consumer("0", "1")), [""; 0]);
        assert_eq!(worse(&before, &consumer("3", "0"), &consumer("0", "1")).len(), 2);
    }
}
