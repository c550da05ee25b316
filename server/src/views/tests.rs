use std::time::Duration;

use super::json::uptime;
use super::page::Page;
use super::query::Query;
use crate::state::Visits;

#[test]
fn queries_are_decoded_with_the_texts_of_nats_server() {
    let query = Query::new("acc=%24G&name=a+b&limit=abc&subs=x&cid=-1&auth=1&empty&broken=%4&a;sort=x&%zz=1");
    assert_eq!((query.text("acc"), query.text("name")), ("$G", "a b"));
    assert_eq!((query.text("empty"), query.text("broken"), query.text("none")), ("", "", ""));
    assert_eq!((query.text("sort"), query.text("%zz")), ("", ""));
    assert_eq!(query.boolean("auth"), Ok(true));
    assert_eq!(query.integer("none"), Ok(0));
    let limit = "Error decoding int for 'limit': strconv.Atoi: parsing \"abc\": invalid syntax";
    assert_eq!(query.integer("limit"), Err(limit.to_owned()));
    let subs = "Error decoding boolean for 'subs': strconv.ParseBool: parsing \"x\": invalid syntax";
    assert_eq!(query.boolean("subs"), Err(subs.to_owned()));
    let cid = "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax";
    assert_eq!(query.unsigned("cid"), Err(cid.to_owned()));
}

#[test]
fn uptimes_grow_units() {
    for (seconds, text) in
        [(0, "0s"), (61, "1m1s"), (3600, "1h0m0s"), (90_061, "1d1h1m1s"), (366 * 86_400, "1y1d0h0m0s")]
    {
        assert_eq!(uptime(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn pages_that_are_not_there_are_not_found() {
    let page = Page::not_found();
    assert_eq!((page.status.as_u16(), &*page.content.into_text()), (404, "404 page not found\n"));
}

#[test]
fn visits_are_counted_by_page() {
    let visits = Visits::default();
    visits.count("/varz");
    visits.count("/varz");
    assert_eq!(visits.counts().into_iter().collect::<Vec<_>>(), [("/varz", 2)]);
}
