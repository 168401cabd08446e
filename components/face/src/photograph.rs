//! An upright photograph in memory.
//!
//! Owns the layout of pixels. Must never know where they came from.

/// Pixels of an upright photograph: 8-bit RGB, row after row from the top, each from the left, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Photograph {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Photograph {
    /// A photograph of `width` x `height` pixels, three bytes each; `None` when a side is 0 or the length does not fit.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let length = width.checked_mul(height)?.checked_mul(3)?;
        (length > 0 && pixels.len() == length).then_some(Self { width, height, pixels })
    }

    /// Width, pixels; at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height, pixels; at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All bytes: `height` rows of `width` pixels of red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The longer side, pixels.
    pub fn longer_side(&self) -> usize {
        self.width.max(self.height)
    }
}

// A photograph must not reach a log, not even by way of `{:?}`.
impl std::fmt::Debug for Photograph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Photograph").field("width", &self.width).field("height", &self.height).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_bytes_must_fit() {
        assert!(Photograph::new(2, 1, vec![0; 6]).is_some());
        assert!(Photograph::new(2, 1, vec![0; 5]).is_none());
        assert!(Photograph::new(0, 1, vec![]).is_none());
        assert!(Photograph::new(usize::MAX, 2, vec![]).is_none());
    }

    #[test]
    fn a_photograph_prints_no_pixel() {
        let text = format!("{:?}", Photograph::new(1, 1, vec![77, 78, 79]).unwrap());
        assert!(!text.contains("77") && text.contains("width: 1"), "{text}");
    }
}
