//! The plot: one panel of bars for each case, as SVG.
//!
//! Owns the drawing: a bar is a median, its whisker reaches from the least to the greatest value, a dashed line is a bound.
//! Must never compute a figure of its own.

use std::fmt::Write as _;

use super::{Role, Row};
use crate::sample::{digits, median, range};

/// Pixels.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 330.0;
const BARS: f64 = 400.0;
const LINE: f64 = 20.0;

/// Draws the figures, each case by a scale of its own that begins at zero.
pub(super) fn draw(title: &str, cases: &[(&str, Vec<&Row>)]) -> String {
    let mut body = String::new();
    let mut y = 28.0;
    let _ = writeln!(body, r#"<text x="12" y="{y}" font-size="16" font-weight="bold">{}</text>"#, escaped(title));
    for (case, rows) in cases {
        y += 30.0;
        let unit = rows.first().map_or("", |row| row.unit.as_str());
        let _ = writeln!(
            body,
            r##"<text x="12" y="{y}" font-weight="bold">{}<tspan fill="#777" font-weight="normal"> in {}</tspan></text>"##,
            escaped(case),
            escaped(unit)
        );
        let longest = rows.iter().map(|row| range(&row.samples).1.max(row.bound.map_or(0.0, super::Bound::value)));
        let scale = BARS / longest.fold(f64::MIN_POSITIVE, f64::max);
        for row in rows {
            y += LINE;
            bar(&mut body, y, row, scale);
        }
    }
    let height = y + 16.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, y: f64, row: &Row, scale: f64) {
    let (middle, (least, greatest)) = (median(&row.samples), range(&row.samples));
    let at = |value: f64| LABELS + value * scale;
    let colour = match row.role {
        Role::Visavis => "#1f6feb",
        Role::Peer => "#d29922",
        Role::Floor => "#9aa4af",
    };
    let (top, centre, end) = (y - 12.0, y - 5.0, LABELS - 8.0);
    let _ = writeln!(body, r#"<text x="{end}" y="{y}" text-anchor="end">{}</text>"#, escaped(&row.who));
    let length = (middle * scale).max(1.0);
    let _ = writeln!(
        body,
        r#"<rect x="{LABELS}" y="{top:.1}" width="{length:.1}" height="14" fill="{colour}" fill-opacity="0.85"/>"#
    );
    let (from, to) = (at(least), at(greatest));
    let _ = writeln!(
        body,
        r##"<path d="M{from:.1} {centre:.1}H{to:.1}M{from:.1} {top:.1}v14M{to:.1} {top:.1}v14" stroke="#222" fill="none"/>"##
    );
    if let Some(bound) = row.bound {
        let x = at(bound.value());
        let _ = writeln!(
            body,
            r##"<path d="M{x:.1} {:.1}v18" stroke="#c00" stroke-width="2" stroke-dasharray="3 2"/>"##,
            top - 2.0
        );
    }
    let label = at(greatest.max(middle).max(row.bound.map_or(0.0, super::Bound::value))) + 6.0;
    let _ = writeln!(body, r#"<text x="{label:.1}" y="{y}">{}</text>"#, digits(middle));
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
