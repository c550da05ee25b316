//! The list against a naive model: every subscription compared with every subject.

use super::*;
use proptest::prelude::*;

#[derive(Debug)]
struct Named {
    subject: Vec<u8>,
    queue: Vec<u8>,
    id: usize,
}

impl Listed for Named {
    fn subject(&self) -> &[u8] {
        &self.subject
    }
    fn queue(&self) -> &[u8] {
        &self.queue
    }
}

fn named(id: usize, subject: &str, queue: &str) -> Arc<Named> {
    Arc::new(Named { subject: subject.into(), queue: queue.into(), id })
}

fn found(list: &Sublist<Named>, subject: &str) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut matches = Matches::default();
    list.matching(subject.as_bytes(), &mut matches);
    let mut plain: Vec<_> = matches.plain().map(|sub| sub.id).collect();
    plain.sort_unstable();
    let mut queues: Vec<Vec<_>> = matches
        .queues()
        .map(|queue| {
            let mut ids: Vec<_> = queue.members_from(queue.len() / 2).map(|sub| sub.id).collect();
            assert_eq!(ids.len(), queue.len());
            ids.sort_unstable();
            ids
        })
        .collect();
    queues.sort_unstable();
    (plain, queues)
}

fn expected(model: &[Arc<Named>], subject: &str) -> (Vec<usize>, Vec<Vec<usize>>) {
    let sound = subject.split('.').all(|token| !token.is_empty());
    let reached: Vec<_> =
        model.iter().filter(|sub| sound && subject::matches(subject.as_bytes(), &sub.subject)).collect();
    let mut plain: Vec<_> = reached.iter().filter(|sub| sub.queue.is_empty()).map(|sub| sub.id).collect();
    plain.sort_unstable();
    let mut names: Vec<_> = reached.iter().filter(|s| !s.queue.is_empty()).map(|s| s.queue.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let mut queues: Vec<Vec<usize>> = names
        .iter()
        .map(|name| {
            let mut ids: Vec<_> = reached.iter().filter(|s| s.queue == *name).map(|s| s.id).collect();
            ids.sort_unstable();
            ids
        })
        .collect();
    queues.sort_unstable();
    (plain, queues)
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("*")], 0..4), any::<bool>()).prop_map(
        |(mut tokens, rest)| {
            if rest || tokens.is_empty() {
                tokens.push(">");
            }
            tokens.join(".")
        },
    )
}

fn literal() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just("c"), 1 => Just("")], 1..5)
        .prop_map(|tokens| tokens.join("."))
}

proptest! {
    #[test]
    fn a_subject_reaches_what_the_model_says_through_any_inserts_and_removes(
        changes in prop::collection::vec((pattern(), 0..4usize, any::<bool>(), any::<prop::sample::Index>()), 1..60),
        subjects in prop::collection::vec(literal(), 1..12),
    ) {
        let mut list = Sublist::new();
        let mut model: Vec<Arc<Named>> = Vec::new();
        for (id, (subject, queue, add, pick)) in changes.into_iter().enumerate() {
            if add || model.is_empty() {
                let queue = ["", "", "q", "r"][queue];
                let sub = named(id, &subject, queue);
                list.insert(Arc::clone(&sub)).unwrap();
                model.push(sub);
            } else {
                let sub = model.swap_remove(pick.index(model.len()));
                prop_assert!(list.remove(&sub));
                prop_assert!(!list.remove(&sub));
            }
            prop_assert_eq!(list.len(), model.len());
        }
        for subject in &subjects {
            prop_assert_eq!(found(&list, subject), expected(&model, subject), "{}", subject);
            let interest = list.any_match(subject.as_bytes(), |_| true);
            prop_assert_eq!(interest, expected(&model, subject) != (vec![], vec![]));
        }
        for subject in &subjects {
            let reach = list.matching(subject.as_bytes(), &mut Matches::default());
            for other in subjects.iter().filter(|other| reach.covers(subject.as_bytes(), other.as_bytes())) {
                prop_assert_eq!(found(&list, other), found(&list, subject), "{} by {}", other, subject);
            }
        }
        let mut seen = 0;
        list.for_each(|_| seen += 1);
        prop_assert_eq!(seen, model.len());
        for sub in &model {
            prop_assert!(list.remove(sub));
        }
        prop_assert!(list.is_empty() && list.patterns.is_empty() && list.literals.is_empty());
    }
}

#[test]
fn a_subscription_without_wildcards_is_missed_by_no_subject_that_another_covers() {
    let mut list = Sublist::new();
    list.insert(named(0, "$KV.bucket.>", "")).unwrap();
    list.insert(named(1, "_INBOX.a", "")).unwrap();
    let covers = |list: &Sublist<Named>| {
        list.matching(b"$KV.bucket.a", &mut Matches::default()).covers(b"$KV.bucket.a", b"$KV.bucket.b")
    };
    assert!(covers(&list));
    let literal = named(2, "$KV.bucket.b", "");
    list.insert(Arc::clone(&literal)).unwrap();
    assert!(!covers(&list));
    list.remove(&literal);
    assert!(covers(&list));
}

#[test]
fn one_queue_group_over_two_patterns_is_one_group() {
    let mut list = Sublist::new();
    for (id, subject) in ["foo.*", "foo.bar", "foo.>"].into_iter().enumerate() {
        list.insert(named(id, subject, "workers")).unwrap();
    }
    assert_eq!(found(&list, "foo.bar"), (vec![], vec![vec![0, 1, 2]]));
}

#[test]
fn subjects_with_an_empty_token_cannot_be_listed_and_reach_nothing() {
    let mut list = Sublist::new();
    for subject in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b"] {
        assert_eq!(list.insert(named(0, subject, "")), Err(InvalidSubject), "{subject}");
    }
    list.insert(named(1, ">", "")).unwrap();
    for subject in ["", ".", "a.", ".a", "a..b"] {
        assert_eq!(found(&list, subject), (vec![], vec![]), "{subject}");
    }
}

#[test]
fn a_match_outlives_a_change_of_the_group_it_holds() {
    let mut list = Sublist::new();
    let first = named(0, "jobs", "q");
    list.insert(Arc::clone(&first)).unwrap();
    list.insert(named(1, "jobs", "q")).unwrap();
    let mut matches = Matches::default();
    list.matching(b"jobs", &mut matches);
    list.remove(&first);
    assert_eq!(matches.queues().next().unwrap().len(), 2);
    assert_eq!(found(&list, "jobs"), (vec![], vec![vec![1]]));
}

#[test]
fn receivers_come_in_the_order_of_nats_server() {
    let mut list = Sublist::new();
    for (id, subject) in ["a.b", "a.*", ">", "a.>", "*.b", "*.*", "a.b"].into_iter().enumerate() {
        list.insert(named(id, subject, "")).unwrap();
    }
    let mut matches = Matches::default();
    list.matching(b"a.b", &mut matches);
    let order: Vec<_> = matches.plain().map(|sub| sub.id).collect();
    assert_eq!(order, [2, 4, 5, 3, 0, 6, 1]);
}
