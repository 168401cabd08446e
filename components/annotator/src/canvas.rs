//! Pixels and the shapes that are drawn on them, with smooth edges.
//!
//! Owns blending and clipping. Every coordinate may be anything, also not finite: what lies outside is not drawn. Must
//! never know what a shape stands for.

use face::photograph::Photograph;

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color(pub(crate) u8, pub(crate) u8, pub(crate) u8);

/// A position in pixels; (0.5, 0.5) is the centre of the first pixel.
pub(crate) type Position = (f32, f32);

/// Whole pixels: from `left` and `top` up to, without, `right` and `bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) right: usize,
    pub(crate) bottom: usize,
}

/// A picture in the making: 8-bit RGB, row after row.
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    clip: Area,
}

impl Canvas {
    /// A canvas of one colour.
    pub(crate) fn new(width: usize, height: usize, Color(red, green, blue): Color) -> Self {
        let clip = Area { left: 0, top: 0, right: width, bottom: height };
        Self { width, height, pixels: [red, green, blue].repeat(width * height), clip }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// All bytes: rows of red, green, blue.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Draws within `area` only; the whole canvas again after `work`.
    pub(crate) fn within(&mut self, area: Area, work: impl FnOnce(&mut Self)) {
        let whole = self.clip;
        self.clip = Area { right: area.right.min(self.width), bottom: area.bottom.min(self.height), ..area };
        work(self);
        self.clip = whole;
    }

    /// Copies a photograph, its upper left corner to `left`, `top`. It must lie on the canvas.
    pub(crate) fn paste(&mut self, photograph: &Photograph, left: usize, top: usize) {
        let row = photograph.width() * 3;
        for (y, pixels) in photograph.pixels().chunks_exact(row).enumerate() {
            let at = ((top + y) * self.width + left) * 3;
            self.pixels[at..at + row].copy_from_slice(pixels);
        }
    }

    /// Fills an area.
    pub(crate) fn fill(&mut self, area: Area, color: Color) {
        let bounds = [area.left, area.top, area.right, area.bottom].map(|side| side as f32);
        self.cover(bounds, color, |_, _| 1.0);
    }

    /// A line with round ends.
    pub(crate) fn line(&mut self, from: Position, to: Position, width: f32, color: Color) {
        let reach = width / 2.0 + 1.0;
        let bounds =
            [from.0.min(to.0) - reach, from.1.min(to.1) - reach, from.0.max(to.0) + reach, from.1.max(to.1) + reach];
        let (along_x, along_y) = (to.0 - from.0, to.1 - from.1);
        let square = along_x * along_x + along_y * along_y;
        self.cover(bounds, color, |x, y| {
            let (x, y) = (x - from.0, y - from.1);
            let part = if square > 0.0 { ((x * along_x + y * along_y) / square).clamp(0.0, 1.0) } else { 0.0 };
            width / 2.0 - (x - part * along_x).hypot(y - part * along_y) + 0.5
        });
    }

    /// A filled circle.
    pub(crate) fn disc(&mut self, centre: Position, radius: f32, color: Color) {
        self.line(centre, centre, radius * 2.0, color);
    }

    /// The outline of a rectangle, the line's middle on its sides: left, top, right, bottom.
    pub(crate) fn frame(&mut self, [left, top, right, bottom]: [f32; 4], width: f32, color: Color) {
        let reach = width / 2.0 + 1.0;
        let centre = ((left + right) / 2.0, (top + bottom) / 2.0);
        let half = ((right - left) / 2.0, (bottom - top) / 2.0);
        self.cover([left - reach, top - reach, right + reach, bottom + reach], color, |x, y| {
            let (x, y) = ((x - centre.0).abs() - half.0, (y - centre.1).abs() - half.1);
            let outside = x.max(0.0).hypot(y.max(0.0));
            let distance = outside + x.max(y).min(0.0);
            width / 2.0 - distance.abs() + 0.5
        });
    }

    /// Mixes `color` into one pixel: 0 leaves it, 1 replaces it. Outside of the clipping area nothing happens.
    pub(crate) fn blend(&mut self, x: usize, y: usize, Color(red, green, blue): Color, coverage: f32) {
        let clip = self.clip;
        if !(clip.left..clip.right).contains(&x) || !(clip.top..clip.bottom).contains(&y) {
            return;
        }
        let at = (y * self.width + x) * 3;
        let coverage = coverage.min(1.0);
        for (sample, value) in self.pixels[at..at + 3].iter_mut().zip([red, green, blue]) {
            *sample = (f32::from(*sample) + (f32::from(value) - f32::from(*sample)) * coverage).round() as u8;
        }
    }

    /// Blends every pixel in `bounds` whose `coverage`, asked at its centre, is more than 0.
    fn cover(&mut self, bounds: [f32; 4], color: Color, coverage: impl Fn(f32, f32) -> f32) {
        // `max` and `min` prefer a number to what is none, and the cast saturates: the range is within the clipping
        // area.
        let whole = |side: f32, from: usize, to: usize| side.max(from as f32).min(to as f32) as usize;
        let clip = self.clip;
        let columns = whole(bounds[0].floor(), clip.left, clip.right)..whole(bounds[2].ceil(), clip.left, clip.right);
        let rows = whole(bounds[1].floor(), clip.top, clip.bottom)..whole(bounds[3].ceil(), clip.top, clip.bottom);
        for y in rows {
            for x in columns.clone() {
                let part = coverage(x as f32 + 0.5, y as f32 + 0.5);
                // A comparison that fails for what is not a number.
                if part > 0.0 {
                    self.blend(x, y, color, part);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Color = Color(0, 0, 0);
    const WHITE: Color = Color(255, 255, 255);

    fn at(canvas: &Canvas, x: usize, y: usize) -> u8 {
        canvas.pixels()[(y * canvas.width() + x) * 3]
    }

    /// How many pixels' worth is white.
    fn amount(canvas: &Canvas) -> f32 {
        canvas.pixels().iter().map(|sample| f32::from(*sample) / 765.0).sum()
    }

    #[test]
    fn shapes_have_their_areas() {
        let draw = |work: &dyn Fn(&mut Canvas)| {
            let mut canvas = Canvas::new(64, 48, BLACK);
            work(&mut canvas);
            amount(&canvas)
        };
        let near =
            |amount: f32, expected: f32| assert!((amount - expected).abs() < 0.03 * expected, "{amount}, {expected}");
        near(draw(&|canvas| canvas.fill(Area { left: 1, top: 2, right: 11, bottom: 22 }, WHITE)), 200.0);
        near(draw(&|canvas| canvas.disc((30.3, 20.7), 10.0, WHITE)), 100.0 * std::f32::consts::PI);
        near(
            draw(&|canvas| canvas.line((10.0, 10.0), (40.0, 30.0), 4.0, WHITE)),
            4.0 * 36.06 + 4.0 * std::f32::consts::PI,
        );
        near(draw(&|canvas| canvas.frame([10.0, 10.0, 50.0, 40.0], 2.0, WHITE)), 280.0);
    }

    #[test]
    fn edges_are_smooth_and_insides_full() {
        let mut canvas = Canvas::new(20, 20, BLACK);
        canvas.line((10.0, -5.0), (10.0, 25.0), 3.0, WHITE);
        assert_eq!([8, 9, 10, 11].map(|x| at(&canvas, x, 10)), [128, 255, 255, 128]);
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut canvas = Canvas::new(30, 20, BLACK);
        canvas.within(Area { left: 10, top: 5, right: 20, bottom: 15 }, |canvas| {
            canvas.fill(Area { left: 0, top: 0, right: 99, bottom: 99 }, WHITE);
        });
        assert!((amount(&canvas) - 100.0).abs() < 0.01);
        assert_eq!(
            [(9, 5), (10, 4), (10, 5), (19, 14), (20, 14), (19, 15)].map(|(x, y)| at(&canvas, x, y)),
            [0, 0, 255, 255, 0, 0]
        );
    }

    #[test]
    fn coordinates_may_be_anything() {
        let mut canvas = Canvas::new(30, 20, BLACK);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -1e9] {
            for other in [5.0, f32::NAN, f32::INFINITY, f32::MIN] {
                canvas.line((value, other), (other, 3.0), 2.0, WHITE);
                canvas.disc((value, other), 3.0, WHITE);
                canvas.frame([value, other, 9.0, value], 2.0, WHITE);
            }
        }
        canvas.fill(Area { left: 40, top: 0, right: 3, bottom: usize::MAX }, WHITE);
        assert_eq!((canvas.width(), canvas.height(), canvas.pixels().len()), (30, 20, 1800));
    }
}
