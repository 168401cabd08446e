//! The whole picture: a band with the verdict, and under it the photographs side by side, each below its name.
//!
//! Owns the layout. Must never know how photographs are decoded, or how a verdict came about.

use face::photograph::Photograph;
use face::resize::{self, Region};

use crate::canvas::{Area, Canvas, Color};
use crate::face_marks::FaceMarks;
use crate::text::{self, Style};

const GROUND: Color = Color(24, 28, 34);
const WORDS: Color = Color(240, 243, 246);
const QUIET: Color = Color(160, 170, 180);
const VERIFIED: Color = Color(26, 127, 55);
const NOT_VERIFIED: Color = Color(190, 40, 45);

/// Pixels around and between photographs.
const MARGIN: usize = 16;
/// The common height of photographs, unless one is so small or so wide that it sets another.
const HEIGHT: usize = 640;
/// A photograph is enlarged at most so many times: more would show pixels, not a face.
const ENLARGED: usize = 2;
/// The widest that one photograph gets.
const WIDEST: usize = 1600;
/// The narrowest column: a name of 24 letters still fits.
const NARROWEST: usize = 300;
/// The narrowest picture: the numbers of a verdict fit on one line.
const BAND_WIDTH: usize = 740;

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) verified: bool,
    pub(crate) score: f32,
    pub(crate) distance: f32,
    pub(crate) cosine: f32,
    pub(crate) threshold: f32,
}

/// One photograph, already in its size on the picture, and its faces in the same pixels.
pub(crate) struct Column {
    pub(crate) photograph: Photograph,
    pub(crate) name: String,
    /// The size of the photograph as uploaded, pixels.
    pub(crate) size: (u32, u32),
    pub(crate) faces: Vec<FaceMarks>,
}

/// The height that photographs of these sizes, pixels, share on the picture.
pub(crate) fn common_height(sizes: &[(u32, u32)]) -> usize {
    let height = |(width, height): &(u32, u32)| {
        let (width, height) = ((*width as usize).max(1), (*height as usize).max(1));
        HEIGHT.min(height.saturating_mul(ENLARGED)).min((WIDEST * height).div_ceil(width))
    };
    sizes.iter().map(height).min().unwrap_or(HEIGHT).max(1)
}

/// The photograph in another height, and how many times as large it then is.
pub(crate) fn scaled(photograph: &Photograph, height: usize) -> (Photograph, f32) {
    let scale = height as f32 / photograph.height() as f32;
    let width = ((photograph.width() as f32 * scale).round() as usize).max(1);
    let pixels = resize::bilinear(photograph, Region::whole(photograph), width, height);
    // The resize answers as many pixels as it was asked for; the original stands in for it if ever it did not.
    let scaled = Photograph::new(width, height, pixels).unwrap_or_else(|| photograph.clone());
    (scaled, scale)
}

/// Draws everything.
pub(crate) fn draw(columns: &[Column], decision: Option<Decision>) -> Canvas {
    let band = if decision.is_some() { Style::Title.height() + Style::Plain.height() + 28 } else { 0 };
    let header = band + MARGIN;
    let names = Style::Name.height() + Style::Plain.height() + 8;
    let widths: Vec<_> = columns.iter().map(|column| column.photograph.width().max(NARROWEST)).collect();
    let together = widths.iter().sum::<usize>() + MARGIN * (columns.len() + 1);
    let least = if decision.is_some() { BAND_WIDTH } else { 0 };
    let tallest = columns.iter().map(|column| column.photograph.height()).max().unwrap_or(0);
    let mut canvas = Canvas::new(together.max(least), header + names + tallest + MARGIN, GROUND);

    if let Some(decision) = decision {
        draw_band(&mut canvas, band, &decision);
    }
    let mut left = (canvas.width() - together) / 2 + MARGIN;
    for (column, width) in columns.iter().zip(widths) {
        text::write(&mut canvas, &Style::Name.fitted(&column.name, width), left, header, Style::Name, WORDS);
        let below = header + Style::Name.height();
        text::write(&mut canvas, &Style::Plain.fitted(&column.facts(), width), left, below, Style::Plain, QUIET);
        column.draw(&mut canvas, left, header + names);
        left += width + MARGIN;
    }
    canvas
}

fn draw_band(canvas: &mut Canvas, height: usize, decision: &Decision) {
    let Decision { verified, score, distance, cosine, threshold } = *decision;
    let (title, color) = if verified { ("VERIFIED", VERIFIED) } else { ("NOT VERIFIED", NOT_VERIFIED) };
    let numbers = format!("score {score:.3}   distance {distance:.3}   threshold {threshold:.3}   cosine {cosine:.3}");
    canvas.fill(Area { left: 0, top: 0, right: canvas.width(), bottom: height }, color);
    text::write(canvas, title, MARGIN, 8, Style::Title, WORDS);
    text::write(canvas, &numbers, MARGIN, 8 + Style::Title.height() + 6, Style::Plain, WORDS);
}

impl Column {
    fn facts(&self) -> String {
        let (width, height) = self.size;
        match self.faces.len() {
            0 => format!("{width} x {height}, no face"),
            1 => format!("{width} x {height}, 1 face"),
            count => format!("{width} x {height}, {count} faces"),
        }
    }

    fn draw(&self, canvas: &mut Canvas, left: usize, top: usize) {
        canvas.paste(&self.photograph, left, top);
        let (width, height) = (self.photograph.width(), self.photograph.height());
        let area = Area { left, top, right: left + width, bottom: top + height };
        let faces: Vec<_> = self.faces.iter().map(|face| face.moved(left as f32, top as f32)).collect();
        canvas.within(area, |canvas| {
            // The one that is meant comes last and lies on top; words lie over all marks.
            for meant in [false, true] {
                faces.iter().filter(|face| face.meant == meant).for_each(|face| face.draw(canvas));
            }
            for meant in [false, true] {
                faces.iter().filter(|face| face.meant == meant).for_each(|face| face.label(canvas, area));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(width: usize, height: usize) -> Column {
        let photograph = Photograph::new(width, height, vec![90; width * height * 3]).expect("a grey photograph");
        Column { photograph, name: "grey.png".to_owned(), size: (width as u32, height as u32), faces: vec![] }
    }

    fn pixel(canvas: &Canvas, x: usize, y: usize) -> Color {
        let at = (y * canvas.width() + x) * 3;
        Color(canvas.pixels()[at], canvas.pixels()[at + 1], canvas.pixels()[at + 2])
    }

    #[test]
    fn photographs_share_a_height_that_suits_all() {
        assert_eq!(common_height(&[(910, 1137), (626, 1200)]), 640);
        assert_eq!(common_height(&[(910, 1137), (80, 100)]), 200);
        assert_eq!(common_height(&[(40_000_000, 1), (80, 100)]), 1);
        assert_eq!(common_height(&[(6400, 1000)]), 250);
        assert_eq!(common_height(&[(0, 0), (u32::MAX, u32::MAX)]), 2);
        assert_eq!(common_height(&[]), 640);
    }

    #[test]
    fn a_scaled_photograph_keeps_its_proportions() {
        let (photograph, scale) = scaled(&column(200, 100).photograph, 50);
        assert_eq!((photograph.width(), photograph.height(), scale), (100, 50, 0.5));
        assert!(photograph.pixels().iter().all(|sample| *sample == 90));
        assert_eq!(scaled(&column(1, 1000).photograph, 100).0.width(), 1);
    }

    #[test]
    fn the_band_has_the_colour_of_the_verdict() {
        for (verified, color) in [(true, VERIFIED), (false, NOT_VERIFIED)] {
            let decision = Decision { verified, score: 0.5, distance: 1.06, cosine: 0.4, threshold: 1.06 };
            let canvas = draw(&[column(300, 200), column(300, 200)], Some(decision));
            assert_eq!(canvas.width(), BAND_WIDTH);
            assert_eq!([pixel(&canvas, 0, 0), pixel(&canvas, BAND_WIDTH - 1, 70)], [color; 2]);
            let words = (0..canvas.width()).filter(|x| pixel(&canvas, *x, 30) == WORDS).count();
            assert!(words > 10, "{words} white pixels in the title");
        }
        let canvas = draw(&[column(300, 200)], None);
        assert_eq!((canvas.width(), pixel(&canvas, 0, 0)), (300 + 2 * MARGIN, GROUND));
    }

    #[test]
    fn the_numbers_fit_into_the_band() {
        let decision = Decision { verified: false, score: 0.123, distance: 1.999, cosine: -0.999, threshold: 2.0 };
        let canvas = draw(&[column(20, 20)], Some(decision));
        let right = canvas.width() - MARGIN / 2;
        assert!((0..80).all(|y| (right..canvas.width()).all(|x| pixel(&canvas, x, y) == NOT_VERIFIED)));
    }
}
