//! The photograph and its copy, and from which of them something is seen.
//!
//! Owns the way between their pixels. Must never know what a network answers.

use super::candidate::Candidate;
use crate::photograph::Photograph;
use crate::resize::{self, IntegralImage, Normalization, Region};

/// A candidate of which the copy shows so many pixels for each that a network sees is cut out of the copy: averages of averages are
/// as good to it, and take a fraction of the time.
const PLENTY: f32 = 2.0;

/// A photograph, and the copy on which faces are proposed, if one was made.
#[derive(Clone, Copy)]
pub(super) struct Views<'a> {
    pub(super) photograph: &'a Photograph,
    pub(super) copy: Option<&'a IntegralImage>,
}

impl<'a> Views<'a> {
    /// Width and height of what is searched, pixels.
    pub(super) fn searched(self) -> (usize, usize) {
        let whole = (self.photograph.width(), self.photograph.height());
        self.copy.map_or(whole, |copy| (copy.width(), copy.height()))
    }

    /// All of what is searched.
    pub(super) fn whole(self) -> Crop<'a> {
        let (width, height) = self.searched();
        Crop {
            source: self.copy.map_or(Source::Photograph(self.photograph), Source::Copy),
            region: Region { x: 0, y: 0, width, height },
        }
    }

    /// How many pixels of the photograph are one of what is searched, across and down.
    fn ratios(self) -> (f32, f32) {
        let (width, height) = self.searched();
        let ratio = |whole: usize, part: usize| whole as f32 / part as f32;
        (ratio(self.photograph.width(), width), ratio(self.photograph.height(), height))
    }

    /// From pixels of what is searched to pixels of the photograph.
    pub(super) fn enlarge(self, candidate: Candidate) -> Candidate {
        let (across, down) = self.ratios();
        candidate.place(|x| x * across, |y| y * down)
    }

    /// What a network that sees `side` x `side` pixels is to see of a candidate; `None` where there are no pixels.
    pub(super) fn crop(self, candidate: &Candidate, side: usize) -> Option<Crop<'a>> {
        if let Some(copy) = self.copy {
            let (across, down) = self.ratios();
            // Edges are cut to whole pixels towards 0, by half a pixel on average, which in the copy is more.
            let place = |edge: f32, ratio: f32| (edge - 0.5) / ratio + 0.5;
            let small = candidate.place(|x| place(x, across), |y| place(y, down));
            if small.bounding_box.width().min(small.bounding_box.height()) >= PLENTY * side as f32 {
                return Some(Crop { source: Source::Copy(copy), region: small.region(copy.width(), copy.height())? });
            }
        }
        let Self { photograph, .. } = self;
        let region = candidate.region(photograph.width(), photograph.height())?;
        Some(Crop { source: Source::Photograph(photograph), region })
    }
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Photograph(&'a Photograph),
    Copy(&'a IntegralImage),
}

/// Where in which image.
#[derive(Clone, Copy)]
pub(super) struct Crop<'a> {
    source: Source<'a>,
    region: Region,
}

impl Crop<'_> {
    /// Averages it to `width` x `height` pixels: f32 [3, height, width].
    pub(super) fn write(&self, width: usize, height: usize, normalization: Normalization, planes: &mut [f32]) {
        match self.source {
            Source::Photograph(photograph) => {
                resize::area(photograph, self.region, width, height, normalization, planes);
            }
            Source::Copy(copy) => copy.area(self.region, width, height, normalization, planes),
        }
    }
}
