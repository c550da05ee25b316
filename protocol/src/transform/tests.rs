use proptest::prelude::*;

use super::*;

fn become_of(source: &str, destination: &str, subject: &str) -> Option<String> {
    let transform = Transform::checked(source, destination).unwrap().unwrap();
    let mut out = Vec::new();
    let matched = transform.apply(subject.as_bytes(), &mut out, || 2 * 1_234_567);
    assert!(matched || out.is_empty());
    matched.then(|| String::from_utf8(out).unwrap())
}

#[test]
fn subjects_become_what_nats_server_made_of_them_and_its_texts_refuse_the_others() {
    let observed = include_str!("observed.txt").lines().filter(|line| !line.starts_with('#'));
    for line in observed {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [source, destination, subject, wanted] = columns.as_slice() else { panic!("{line}") };
        if *subject == "!" {
            let refused = Transform::checked(source, destination).unwrap_err();
            assert_eq!(refused.to_string(), *wanted, "{line}");
        } else {
            assert_eq!(become_of(source, destination, subject).as_deref(), Some(*wanted), "{line}");
        }
    }
}

#[test]
fn what_does_not_match_stays_untouched() {
    assert_eq!(become_of("s.*", "t.$1", "s.a.b"), None);
    assert_eq!(become_of("s.>", "t.>", "s..a"), None);
    assert_eq!(become_of(">", ">", "s..a").as_deref(), Some("s..a"));
    assert_eq!(Transform::checked("s.*", ""), Ok(None));
}

#[test]
fn random_stays_below_its_bound() {
    let random = |below: &str| become_of("s.*", &format!("t.{{{{random({below})}}}}"), "s.a");
    assert_eq!(random("10").as_deref(), Some("t.7"));
    assert_eq!((random("0").as_deref(), random("-10").as_deref()), (Some("t.0"), Some("t.7")));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(source in "[s.*>]{0,6}", destination in "[a.*>${}(),0-9 -]{0,12}",
        subject in "[sa.-]{0,8}") {
        let _ = Transform::checked(&source, &destination);
        if let Ok(Some(transform)) = Transform::new(&source, &destination) {
            let mut out = Vec::new();
            let _ = transform.apply(subject.as_bytes(), &mut out, || 7);
        }
    }

    #[test]
    fn no_arguments_break_a_function(name in "[wW]ildcard|[pP]artition|[sS]plit([fF]rom([lL]eft|[rR]ight))?|left|\
        random", arguments in "[-0-9, a]{0,8}", subject in "s\\.[a-]{1,4}") {
        let destination = format!("t.{{{{{name}({arguments})}}}}");
        if let Ok(Some(transform)) = Transform::checked("s.*", &destination) {
            let mut out = Vec::new();
            prop_assert!(transform.apply(subject.as_bytes(), &mut out, || 7));
        }
    }

    #[test]
    fn cutting_a_token_loses_nothing_of_it(token in "[a-z]{1,9}", size in 0_usize..12) {
        for function in ["splitFromLeft", "splitFromRight", "sliceFromLeft", "sliceFromRight"] {
            let cut = become_of("s.*", &format!("{{{{{function}(1,{size})}}}}"), &format!("s.{token}")).unwrap();
            prop_assert_eq!(cut.replace('.', ""), &*token);
        }
    }

    #[test]
    fn a_rest_is_carried_over(rest in "[a-c](\\.[a-c]){0,3}") {
        prop_assert_eq!(become_of("s.>", "t.u.>", &format!("s.{rest}")), Some(format!("t.u.{rest}")));
        prop_assert_eq!(become_of("s.*.>", "$1.>", &format!("s.x.{rest}")), Some(format!("x.{rest}")));
        prop_assert_eq!(become_of("s.>", ">", &format!("s.{rest}")), Some(rest));
    }
}
