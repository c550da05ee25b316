//! Which requests are measured.

use jetkv_protocol::Headers;
use rand::Rng;

use crate::options::Latency;

/// Whether a request is measured, and the headers that ask for it. Which they are, and what they say, are the rules of
/// nats-server v2.15.2 for those of Jaeger, Zipkin and the W3C.
pub(super) fn sample(latency: Option<&Latency>, headers: &[u8]) -> Option<Vec<(String, String)>> {
    let sampling = latency?.sampling;
    let by_chance = sampling >= 100 || (sampling > 0 && rand::rng().random_range(0..100) <= sampling);
    if by_chance {
        return Some(Vec::new());
    }
    let all: Vec<(String, String)> = Headers::new(headers)
        .iter()
        .map(|(key, value)| (canonical(key), String::from_utf8_lossy(value).into_owned()))
        .collect();
    let get = |key: &str| all.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    let keep = |keys: &[&str]| {
        let kept = all.iter().filter(|(key, _)| {
            keys.iter().any(|known| key == known || (known.ends_with('-') && key.starts_with(known)))
        });
        Some(kept.cloned().collect())
    };
    if let Some(id) = get("Uber-Trace-Id") {
        let flags =
            id.split(':').nth(3).filter(|flags| (1..=2).contains(&flags.len()) && id.split(':').count() == 4);
        let is_sampled =
            flags.and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1);
        return keep(&["Uber-Trace-Id", "Uberctx-"]).filter(|_| is_sampled);
    }
    let b3 = ["X-B3-Sampled", "X-B3-Traceid", "X-B3-Parentspanid", "X-B3-Spanid"];
    match get("X-B3-Sampled") {
        Some("1") => return keep(&b3),
        Some("0") => return None,
        _ if get("X-B3-Traceid").is_some() => return keep(&b3),
        _ => {}
    }
    if let Some(b3) = get("B3") {
        let parts: Vec<&str> = b3.split('-').collect();
        let is_denied = matches!(parts.as_slice(), ["0"] | [_, _, "0", ..]);
        return keep(&["B3"]).filter(|_| !is_denied);
    }
    let parent = get("Traceparent")?;
    let parts: Vec<&str> = parent.split('-').collect();
    let is_sampled = match parts.as_slice() {
        [_, _, _, flags] if flags.len() == 2 => {
            i8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1)
        }
        _ => false,
    };
    keep(&["Traceparent", "Tracestate"]).filter(|_| is_sampled)
}

/// A key as Go writes it: a capital at the beginning of each word.
fn canonical(key: &[u8]) -> String {
    let mut starts = true;
    key.iter()
        .map(|byte| {
            let letter = if starts { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            starts = *byte == b'-';
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(headers: &str) -> Option<usize> {
        let latency = Latency { subject: "l".into(), sampling: 0 };
        let block = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        sample(Some(&latency), block.as_bytes()).map(|kept| kept.len())
    }

    #[test]
    fn headers_decide_where_they_are_asked() {
        for (headers, kept) in [
            ("a: b", None),
            ("uber-trace-id: a:b:c:1", Some(1)),
            ("Uber-Trace-Id: a:b:c:1\r\nUberctx-X: y", Some(2)),
            ("Uber-Trace-Id: a:b:c:0", None),
            ("Uber-Trace-Id: a:b:c", None),
            ("X-B3-Sampled: 1\r\nX-B3-SpanId: s", Some(2)),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: t", None),
            ("X-B3-TraceId: t", Some(1)),
            ("b3: 80f1-e457-1-05e3", Some(1)),
            ("b3: 80f1-e457-0-05e3", None),
            ("b3: 0", None),
            ("traceparent: 00-4bf9-00f0-01\r\ntracestate: x", Some(2)),
            ("traceparent: 00-4bf9-00f0-00", None),
            ("traceparent: 00-4bf9-00f0-ff", None),
        ] {
            assert_eq!(sampled(headers), kept, "{headers}");
        }
        let all = Latency { subject: "l".into(), sampling: 100 };
        assert_eq!(sample(Some(&all), b""), Some(Vec::new()));
        assert_eq!(sample(None, b"NATS/1.0\r\nX-B3-Sampled: 1\r\n\r\n"), None);
    }
}
