//! Text, in pre-drawn letters of Noto Sans Mono.
//!
//! Owns letters and their sizes. Must never know what is written.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::canvas::{Canvas, Color};

/// The three kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// 32 pixels high, bold.
    Title,
    /// 20 pixels high, bold.
    Name,
    /// 20 pixels high.
    Plain,
}

impl Style {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Title => (FontWeight::Bold, RasterHeight::Size32),
            Self::Name => (FontWeight::Bold, RasterHeight::Size20),
            Self::Plain => (FontWeight::Regular, RasterHeight::Size20),
        }
    }

    /// Pixels from the top of one line to the top of the next.
    pub(crate) fn height(self) -> usize {
        self.font().1.val()
    }

    /// Pixels that a text takes.
    pub(crate) fn width(self, text: &str) -> usize {
        let (weight, height) = self.font();
        text.chars().count() * get_raster_width(weight, height)
    }

    /// The text, or as much of its start and end as fits into so many pixels: the end of a file's name says its type.
    pub(crate) fn fitted(self, text: &str, pixels: usize) -> String {
        const GAP: &str = "...";
        let (weight, height) = self.font();
        let letters: Vec<char> = text.chars().collect();
        let room = pixels / get_raster_width(weight, height);
        if letters.len() <= room {
            return text.to_owned();
        }
        let kept = room.saturating_sub(GAP.len());
        let end = kept / 2;
        let start = letters[..kept - end].iter();
        start.chain(&GAP.chars().collect::<Vec<_>>()).chain(&letters[letters.len() - end..]).take(room).collect()
    }
}

/// Writes one line; letters that the font lacks become question marks.
pub(crate) fn write(canvas: &mut Canvas, text: &str, left: usize, top: usize, style: Style, color: Color) {
    let (weight, height) = style.font();
    let advance = get_raster_width(weight, height);
    for (place, letter) in text.chars().enumerate() {
        let Some(raster) = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height)) else {
            continue;
        };
        for (y, row) in raster.rows().enumerate() {
            for (x, coverage) in row.iter().enumerate().filter(|(_, coverage)| **coverage > 0) {
                canvas.blend(left + place * advance + x, top + y, color, f32::from(*coverage) / 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(text: &str, style: Style) -> Vec<u8> {
        let mut canvas = Canvas::new(style.width(text).max(1), style.height(), Color(0, 0, 0));
        write(&mut canvas, text, 0, 0, style, Color(255, 255, 255));
        canvas.pixels().to_vec()
    }

    #[test]
    fn letters_differ_and_unknown_ones_are_question_marks() {
        let inked: Vec<_> =
            "Verifdné0123456789.-+%".chars().map(|letter| ink(&letter.to_string(), Style::Plain)).collect();
        for (place, letter) in inked.iter().enumerate() {
            assert!(letter.iter().any(|sample| *sample > 200));
            assert!(!inked[..place].contains(letter));
        }
        assert_eq!(ink("\u{4f60}\u{1}", Style::Name), ink("??", Style::Name));
    }

    #[test]
    fn a_long_text_keeps_its_start_and_end() {
        let style = Style::Plain;
        let pixels = style.width("0123456789");
        assert_eq!(style.fitted("short.jpg", pixels), "short.jpg");
        assert_eq!(style.fitted("0123456789", pixels), "0123456789");
        assert_eq!(style.fitted("a-long-name.jpg", pixels + 1), "a-lo...jpg");
        assert_eq!(style.fitted("a-long-name.jpg", style.width("12")), "..");
        assert_eq!(style.fitted("a-long-name.jpg", 0), "");
    }
}
