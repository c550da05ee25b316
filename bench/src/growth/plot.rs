//! The same as a drawing: puts, gets and memory beside each other.

use super::{Axis, Point};
use std::fmt::Write;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;
/// Room around a panel, for its text.
const MARGIN: f64 = 46.0;

type Figure = (&'static str, fn(&Point) -> f64);

const FIGURES: [Figure; 3] = [
    ("put, CPU µs", |point| point.put_us),
    ("get, CPU µs", |point| point.get_us),
    ("RSS, MiB", |point| point.rss_bytes as f64 / (1 << 20) as f64),
];

/// The drawing of an axis. Both scales are logarithmic: what grows as fast as what is along the bottom is a slope, what
/// does not grow is flat. It brings its own background, so that it can be read on any page.
pub(crate) fn svg(axis: Axis, ours: &[Point], theirs: &[Point]) -> String {
    let (width, height) = (FIGURES.len() as f64 * (WIDTH + MARGIN) + 20.0, HEIGHT + 70.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"16\">JetKV: blue. nats-server: grey, dashed.</text>\n"
    );
    for (column, figure) in FIGURES.iter().enumerate() {
        let at = (column as f64 * (WIDTH + MARGIN) + MARGIN, 44.0);
        out.push_str(&panel(at, axis, *figure, ours, theirs));
    }
    out.push_str("</svg>\n");
    out
}

fn panel(at: (f64, f64), axis: Axis, (name, figure): Figure, ours: &[Point], theirs: &[Point]) -> String {
    let all = || ours.iter().chain(theirs);
    let decade = |value: f64| value.max(1e-3).log10();
    let x_range = range(all().map(|point| decade(point.size as f64)));
    let y_range = range(all().map(|point| decade(figure(point))));
    let place = |point: &Point| {
        let part = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
        let x = at.0 + part(decade(point.size as f64), x_range) * WIDTH;
        (x, at.1 + (1.0 - part(decade(figure(point)), y_range)) * HEIGHT)
    };
    let mut out = format!(
        "<rect x=\"{:.0}\" y=\"{:.0}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#999\"/>\n\
         <text x=\"{:.0}\" y=\"{:.0}\">{name}, by {}</text>\n",
        at.0,
        at.1,
        at.0,
        at.1 - 6.0,
        axis.name()
    );
    let mut label = |x: f64, y: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            out,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" fill=\"#555\">{text}</text>"
        );
    };
    label(at.0, at.1 + HEIGHT + 13.0, "middle", &shown(x_range.0));
    label(at.0 + WIDTH, at.1 + HEIGHT + 13.0, "middle", &shown(x_range.1));
    label(at.0 - 4.0, at.1 + HEIGHT, "end", &shown(y_range.0));
    label(at.0 - 4.0, at.1 + 9.0, "end", &shown(y_range.1));
    for (points, look) in [(theirs, "stroke=\"#888\" stroke-dasharray=\"5 3\""), (ours, "stroke=\"#05c\"")] {
        let places: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.0},{y:.0}")).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke-width=\"2\" {look} points=\"{}\"/>",
            places.join(" ")
        );
    }
    out
}

/// Whole decades around all values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (value.min(low), value.max(high)));
    (low.floor(), high.ceil().max(low.floor() + 1.0))
}

fn shown(decade: f64) -> String {
    format!("{}", 10_f64.powf(decade))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_gets_and_memory_have_a_line_for_each_server_within_the_frame() {
        let point = |size, put_us| Point { size, put_us, get_us: 3.0, rss_bytes: 30 << 20 };
        let ours = [point(1_000, 1.5), point(10_000_000, 2.5)];
        let drawn = svg(Axis::Keys, &ours, &[point(1_000, 40.0)]);
        assert_eq!(drawn.matches("<polyline").count(), 2 * 3);
        // 1.5 and 2.5 µs between 1 and 100 µs; a thousand and ten million keys at both ends.
        assert!(drawn.contains("points=\"46,181 346,164\""), "{drawn}");
        // No time at all is at the bottom, and nothing at all is no line.
        let drawn = svg(Axis::Streams, &[point(1, 0.0)], &[]);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
