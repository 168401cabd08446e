//! The plot of a calibration: both distributions of distances, the ROC and the DET, as SVG.
//!
//! Owns the drawing. Must never compute a rate of its own.

use std::fmt::Write as _;

use crate::error_rates::{Comparisons, OperatingPoint};

/// Pixels.
const SIDE: f64 = 340.0;
const LEFT: f64 = 70.0;
const GAP: f64 = 80.0;
const TOP: f64 = 60.0;
const WIDTH: f64 = 3.0 * (SIDE + GAP) + 10.0;
const HEIGHT: f64 = TOP + SIDE + 60.0;

/// Bars of a histogram, from distance 0 to 2.
const BINS: usize = 50;

const MATED: &str = "#1f6feb";
const NON_MATED: &str = "#d29922";
const CHOSEN: &str = "#c00";

/// One square of the plot.
struct Panel {
    left: f64,
    body: String,
}

impl Panel {
    fn new(place: usize, title: &str, horizontal: &str, vertical: &str) -> Self {
        let left = LEFT + place as f64 * (SIDE + GAP);
        let (middle, bottom, centre) = (left + SIDE / 2.0, TOP + SIDE, TOP + SIDE / 2.0);
        let (below, beside) = (bottom + 40.0, left - 48.0);
        let mut body = String::new();
        // Writing into a string cannot fail.
        let _ = writeln!(
            body,
            "<text x=\"{left}\" y=\"{}\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n\
             <rect x=\"{left}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#999\"/>\n\
             <text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{horizontal}</text>\n\
             <text transform=\"translate({beside} {centre}) rotate(-90)\" text-anchor=\"middle\">{vertical}</text>",
            TOP - 14.0
        );
        Self { left, body }
    }

    /// The place of a point whose coordinates lie in 0 to 1.
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left + x.clamp(0.0, 1.0) * SIDE, TOP + (1.0 - y.clamp(0.0, 1.0)) * SIDE)
    }

    fn tick_below(&mut self, x: f64, label: &str) {
        let (x, y) = self.at((x, 0.0));
        let _ = writeln!(
            self.body,
            "<path d=\"M{x:.1} {y:.1}v5\" stroke=\"#999\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" \
             font-size=\"11\">{label}</text>",
            y + 18.0
        );
    }

    fn tick_beside(&mut self, y: f64, label: &str) {
        let (x, y) = self.at((0.0, y));
        let _ = writeln!(
            self.body,
            "<path d=\"M{x:.1} {y:.1}h-5\" stroke=\"#999\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" \
             font-size=\"11\">{label}</text>",
            x - 8.0,
            y + 4.0
        );
    }

    /// A line through points, without those that lie on the pixel of the one before.
    fn curve(&mut self, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut last: Option<(f64, f64)> = None;
        for (x, y) in points.map(|point| self.at(point)) {
            if last.is_some_and(|(a, b)| (a - x).abs() < 0.25 && (b - y).abs() < 0.25) {
                continue;
            }
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
            last = Some((x, y));
        }
        let _ = writeln!(self.body, "<path d=\"{path}\" fill=\"none\" stroke=\"{MATED}\" stroke-width=\"2\"/>");
    }

    fn dashed(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((a, b), (c, d)) = (self.at(from), self.at(to));
        let _ = writeln!(
            self.body,
            "<path d=\"M{a:.1} {b:.1}L{c:.1} {d:.1}\" stroke=\"{colour}\" stroke-dasharray=\"4 3\" fill=\"none\"/>"
        );
    }

    fn dot(&mut self, point: (f64, f64)) {
        let (x, y) = self.at(point);
        let _ = writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{CHOSEN}\"/>");
    }

    fn legend(&mut self, line: usize, colour: &str, text: &str) {
        let (x, y) = (self.left + 10.0, TOP + 20.0 + 18.0 * line as f64);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\" fill-opacity=\"0.7\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{text}</text>",
            y - 10.0,
            x + 18.0
        );
    }
}

/// Draws what the comparisons yield, and the threshold that was chosen.
pub(super) fn draw(comparisons: &Comparisons, threshold: f32) -> String {
    let points = comparisons.operating_points();
    let chosen = comparisons.at(threshold);
    let panels = [distributions(comparisons, threshold), roc(&points, &chosen), det(&points, &chosen, comparisons)];
    let body: String = panels.into_iter().map(|panel| panel.body).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn distributions(comparisons: &Comparisons, threshold: f32) -> Panel {
    let mut panel = Panel::new(0, "Distances", "Euclidean distance", "share of the pairs of a kind, %");
    let kinds = [(comparisons.mated(), MATED, "one person"), (comparisons.non_mated(), NON_MATED, "two people")];
    let histograms = kinds.map(|(distances, ..)| histogram(distances));
    let highest = histograms.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (line, ((distances, colour, name), histogram)) in kinds.into_iter().zip(histograms).enumerate() {
        for (bin, share) in histogram.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            let (x, y) = panel.at((bin as f64 / BINS as f64, share / highest));
            let (width, height) = (SIDE / BINS as f64, TOP + SIDE - y);
            let _ = writeln!(
                panel.body,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\" \
                 fill-opacity=\"0.6\"/>"
            );
        }
        panel.legend(line, colour, &format!("{name}: {} pairs", distances.len()));
    }
    let x = f64::from(threshold) / 2.0;
    panel.dashed((x, 0.0), (x, 1.0), CHOSEN);
    panel.legend(2, CHOSEN, &format!("threshold {threshold}"));
    for tenth in [0, 4, 8, 12, 16, 20] {
        panel.tick_below(f64::from(tenth) / 20.0, &format!("{:.1}", f64::from(tenth) / 10.0));
    }
    for part in [0.0, 0.5, 1.0] {
        panel.tick_beside(part, &format!("{:.1}", part * highest * 1e2));
    }
    panel
}

/// The share of the distances in each bin.
fn histogram(distances: &[f32]) -> [f64; BINS] {
    let mut counts = [0_usize; BINS];
    for distance in distances {
        let bin = (f64::from(*distance) / 2.0 * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    counts.map(|count| count as f64 / distances.len() as f64)
}

fn roc(points: &[OperatingPoint], chosen: &OperatingPoint) -> Panel {
    let mut panel = Panel::new(1, "ROC", "FMR", "1 - FNMR");
    let place = |point: &OperatingPoint| (point.fmr.share(), 1.0 - point.fnmr.share());
    panel.dashed((0.0, 0.0), (1.0, 1.0), "#999");
    panel.curve([(0.0, 0.0)].into_iter().chain(points.iter().map(place)));
    panel.dot(place(chosen));
    for part in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        panel.tick_below(part, &part.to_string());
        panel.tick_beside(part, &part.to_string());
    }
    panel
}

fn det(points: &[OperatingPoint], chosen: &OperatingPoint, comparisons: &Comparisons) -> Panel {
    // One error of all is the least that can be told; a rate of zero is drawn at the edge.
    let most = comparisons.mated().len().max(comparisons.non_mated().len());
    let decades = (most as f64).log10().ceil().clamp(1.0, 6.0);
    let title = if points.iter().any(|point| point.fmr.errors == 0 || point.fnmr.errors == 0) {
        "DET (a rate of 0 is drawn at the edge)"
    } else {
        "DET"
    };
    let mut panel = Panel::new(2, title, "FMR", "FNMR");
    let scale = |share: f64| 1.0 + share.max(f64::MIN_POSITIVE).log10() / decades;
    let place = |point: &OperatingPoint| (scale(point.fmr.share()), scale(point.fnmr.share()));
    panel.dashed((0.0, 0.0), (1.0, 1.0), "#999");
    panel.curve(points.iter().map(place));
    panel.dot(place(chosen));
    for decade in 0..=decades as i32 {
        let (at, label) = (1.0 - f64::from(decade) / decades, format!("{}", 10_f64.powi(-decade)));
        panel.tick_below(at, &label);
        panel.tick_beside(at, &label);
    }
    panel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_draws_what_was_compared() {
        let distances = |from: f32| (0..400).map(|step| from + step as f32 / 500.0).collect::<Vec<_>>();
        let comparisons = Comparisons::new(distances(0.3), distances(0.9)).unwrap();
        let svg = draw(&comparisons, 1.0);
        for words in
            ["one person: 400 pairs", "two people: 400 pairs", "threshold 1<", ">ROC<", ">DET (a rate of 0", ">0.001<"]
        {
            assert!(svg.contains(words), "{words} in\n{svg}");
        }
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let opened = svg.matches('<').count();
        assert_eq!(opened, svg.matches('>').count());
        // The dot of the ROC: 51 of 400 false matches, 49 of 400 false non-matches.
        let roc = Panel { left: LEFT + SIDE + GAP, body: String::new() };
        let (x, y) = roc.at((51.0 / 400.0, 351.0 / 400.0));
        assert!(svg.contains(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\"")), "{svg}");
    }

    #[test]
    fn a_million_pairs_make_no_million_points() {
        let distances = |from: f32| (0..200_000).map(|step| from + step as f32 / 250_000.0).collect::<Vec<_>>();
        let comparisons = Comparisons::new(distances(0.3), distances(0.9)).unwrap();
        assert!(draw(&comparisons, 1.0).len() < 200_000);
        let one = Comparisons::new(vec![0.0], vec![2.0]).unwrap();
        assert!(!draw(&one, 1.0).contains("NaN"));
    }

    #[test]
    fn a_histogram_holds_every_distance() {
        let shares = histogram(&[0.0, 0.01, 1.0, 2.0]);
        assert_eq!((shares[0], shares[BINS / 2], shares[BINS - 1]), (0.5, 0.25, 0.25));
        assert_eq!(shares.iter().sum::<f64>(), 1.0);
    }
}
