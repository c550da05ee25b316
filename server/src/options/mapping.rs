//! Subject mappings: under which subject what a client publishes goes on.

use std::collections::{BTreeMap, BTreeSet};

use jetkv_go_compat::quoted;
use jetkv_protocol::subject;
use jetkv_protocol::transform::{Transform, TransformError, with_placeholders};

/// Weight of all destinations together, in percent.
const WHOLE: u8 = 100;

/// What one subject, or all that match a pattern, become: one of several destinations, by chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    source: String,
    destinations: Vec<Destination>,
    /// Destinations of servers of a cluster, by its name, which go before the others there.
    by_cluster: BTreeMap<String, Vec<Destination>>,
}

/// A destination as the configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapDestination {
    /// The subject that it becomes, with the functions of subject transforms.
    pub subject: String,
    /// Part of the messages that take it, in percent, up to 100.
    pub weight: u8,
    /// Cluster whose servers know it. Empty: every server.
    pub cluster: String,
}

/// A destination, ready to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    subject: String,
    /// `None` for an empty subject, which nobody listens to.
    transform: Option<Transform>,
    /// A message takes the first destination whose number is above what chance says, in percent.
    below: u8,
}

/// Why a mapping cannot be made. The texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MappingError {
    /// What is to be mapped is no subject.
    #[error("invalid subject")]
    Source,
    /// A destination is there twice.
    #[error("duplicate entry for {}", quoted(.0))]
    Duplicate(String),
    /// The destinations of a cluster take more than there is.
    #[error("total weight needs to be <= 100")]
    Weight,
    /// A destination cannot be made from what is to be mapped.
    #[error(transparent)]
    Transform(#[from] TransformError),
}

impl Mapping {
    /// A mapping of `source`. Destinations that together take less than all leave the rest as it is, unless one of them
    /// is the source itself: then the rest is lost.
    ///
    /// # Errors
    /// [`MappingError`].
    pub(crate) fn new(source: &str, destinations: &[MapDestination]) -> Result<Self, MappingError> {
        if !subject::is_valid(source.as_bytes()) {
            return Err(MappingError::Source);
        }
        let mut seen = BTreeSet::new();
        let mut by_cluster: BTreeMap<String, Vec<Destination>> = BTreeMap::new();
        // Where all are for some cluster, other servers leave the subject as it is.
        by_cluster.insert(String::new(), Vec::new());
        for destination in destinations {
            if !seen.insert(&destination.subject) {
                return Err(MappingError::Duplicate(destination.subject.clone()));
            }
            let among = by_cluster.entry(destination.cluster.clone()).or_default();
            let taken: u32 = among.iter().map(|one| u32::from(one.below)).sum();
            if taken + u32::from(destination.weight) > u32::from(WHOLE) {
                return Err(MappingError::Weight);
            }
            among.push(Destination {
                transform: Transform::checked(source, &destination.subject)?,
                subject: destination.subject.clone(),
                below: destination.weight,
            });
        }
        let keeps_rest = !seen.contains(&source.to_owned());
        for among in by_cluster.values_mut() {
            weigh(among, source, keeps_rest)?;
        }
        let destinations = by_cluster.remove("").unwrap_or_default();
        Ok(Self { source: source.to_owned(), destinations, by_cluster })
    }

    /// The subject or pattern that is mapped.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All destinations, each with the name of its cluster, which is empty for every server.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&str, &Destination)> {
        let all = self.destinations.iter().map(|destination| ("", destination));
        all.chain(self.by_cluster.iter().flat_map(|(cluster, among)| {
            among.iter().map(move |destination| (cluster.as_str(), destination))
        }))
    }

    /// Whether `subject` is mapped.
    pub(crate) fn takes(&self, subject: &[u8]) -> bool {
        subject::is_subset(subject, self.source.as_bytes())
    }

    /// Puts what `subject`, which is mapped, becomes behind `out`: nothing where it is lost. `random` gives numbers that
    /// nobody can guess.
    pub(crate) fn apply(
        &self,
        subject: &[u8],
        cluster: &str,
        out: &mut Vec<u8>,
        mut random: impl FnMut() -> u32,
    ) {
        let among = self.by_cluster.get(cluster).unwrap_or(&self.destinations);
        let chosen = match among.as_slice() {
            [only] if only.below == WHOLE => Some(only),
            several => {
                let roll = random() % u32::from(WHOLE);
                several.iter().find(|destination| roll < u32::from(destination.below))
            }
        };
        if let Some(transform) = chosen.and_then(|destination| destination.transform.as_ref()) {
            transform.apply_to_any(subject, out, random);
        }
    }
}

impl Destination {
    /// The subject, as configured.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Its weight and those of the destinations before it, in percent.
    pub(crate) fn below(&self) -> u8 {
        self.below
    }
}

/// Adds what stays as it is, and turns weights into bounds.
fn weigh(among: &mut Vec<Destination>, source: &str, keeps_rest: bool) -> Result<(), MappingError> {
    let taken: u8 = among.iter().fold(0, |sum, one| sum.saturating_add(one.below));
    if taken != WHOLE && keeps_rest {
        let subject = with_placeholders(source);
        let below = WHOLE.saturating_sub(taken);
        among.push(Destination { transform: Transform::new(source, &subject)?, subject, below });
    }
    among.sort_by_key(|destination| destination.below);
    let mut sum: u8 = 0;
    for destination in among {
        sum = sum.saturating_add(destination.below);
        destination.below = sum;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(subject: &str, weight: u8, cluster: &str) -> MapDestination {
        MapDestination { subject: subject.into(), weight, cluster: cluster.into() }
    }

    /// What a subject becomes when chance says `roll`.
    fn mapped(mapping: &Mapping, subject: &str, cluster: &str, roll: u32) -> String {
        let mut out = Vec::new();
        assert!(mapping.takes(subject.as_bytes()));
        mapping.apply(subject.as_bytes(), cluster, &mut out, || roll);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_rest_stays_as_it_is() {
        let mapping = Mapping::new("a.*.>", &[to("b.$1.>", 30, "")]).unwrap();
        for (roll, expected) in
            [(0, "b.x.y.z"), (29, "b.x.y.z"), (30, "a.x.y.z"), (99, "a.x.y.z"), (100, "b.x.y.z")]
        {
            assert_eq!(mapped(&mapping, "a.x.y.z", "", roll), expected, "{roll}");
        }
        assert!(!mapping.takes(b"a.x") && !mapping.takes(b"a..y") && !mapping.takes(b"b.x.y"));
    }

    #[test]
    fn a_source_among_the_destinations_means_loss() {
        let mapping = Mapping::new("a", &[to("a", 50, ""), to("b", 20, "")]).unwrap();
        for (roll, expected) in [(0, "b"), (19, "b"), (20, "a"), (69, "a"), (70, ""), (99, "")] {
            assert_eq!(mapped(&mapping, "a", "", roll), expected, "{roll}");
        }
    }

    #[test]
    fn destinations_of_a_cluster_are_taken_there_only() {
        let mapping = Mapping::new("a", &[to("b", 100, "east"), to("c", 100, "west")]).unwrap();
        for (cluster, expected) in [("east", "b"), ("west", "c"), ("", "a"), ("north", "a")] {
            assert_eq!(mapped(&mapping, "a", cluster, 5), expected, "{cluster}");
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        for (source, destinations, error) in [
            ("a..b", vec![], "invalid subject"),
            ("a", vec![to("b", 60, ""), to("c", 60, "")], "total weight needs to be <= 100"),
            ("a", vec![to("b", 10, ""), to("b", 10, "x")], "duplicate entry for \"b\""),
            ("a", vec![to("b..c", 10, "")], "invalid mapping destination: invalid transform"),
        ] {
            assert_eq!(Mapping::new(source, &destinations).unwrap_err().to_string(), error);
        }
        assert!(Mapping::new("a", &[to("b", 60, "x"), to("c", 60, "y")]).is_ok());
    }
}
