//! How the channels of a layer are stored, so that ONNX Runtime is fast with them.
//!
//! Owns which stored channel holds what of which channel, and the weights that follow from it. Must never know a net's layers.
//!
//! ONNX Runtime keeps maps in blocks of 16 channels: with a number of channels that is no multiple of it, maps are copied from
//! blocks and back between a convolution and the next step. So channels of zeros fill the last block.
//!
//! PReLU is `slope * x + relu((1 - slope) * x)` where the slope is at most 1. Where it is larger, the channel is stored twice: as it
//! is (slope 1), and `(slope - 1) * x` rectified (slope 0). The first times the slope less the second is the PReLU, which the next
//! layer's weights take; and since all three grow with `x`, pooling in between takes the same cell of each.

use super::super::ConvertError;
use super::super::tensor::Tensor;

/// Channels of a block.
const BLOCK: usize = 16;

/// One stored channel.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stored {
    /// Of which channel; any, where the others are 0.
    channel: usize,
    /// What its layer's weights are multiplied with.
    made: f32,
    /// The slope of its PReLU.
    slope: f32,
    /// What the next layer's weights are multiplied with.
    taken: f32,
}

/// The channels of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Channels {
    /// How many the net has there.
    count: usize,
    stored: Vec<Stored>,
}

impl Channels {
    /// Stored as they are.
    pub(super) fn plain(count: usize) -> Self {
        let stored = (0..count).map(|channel| Stored { channel, made: 1.0, slope: 1.0, taken: 1.0 });
        Self { count, stored: stored.collect() }
    }

    /// The channels of a convolution whose PReLU has these slopes.
    pub(super) fn after(slopes: &[f32]) -> Self {
        let mut stored: Vec<_> = (0..)
            .zip(slopes)
            .map(|(channel, &slope)| match slope > 1.0 {
                true => Stored { channel, made: 1.0, slope: 1.0, taken: slope },
                false => Stored { channel, made: 1.0, slope, taken: 1.0 },
            })
            .collect();
        let steep = (0..).zip(slopes).filter(|(_, slope)| **slope > 1.0);
        stored.extend(steep.map(|(channel, slope)| Stored { channel, made: slope - 1.0, slope: 0.0, taken: -1.0 }));
        stored.resize(stored.len().next_multiple_of(BLOCK), Stored { channel: 0, made: 0.0, slope: 0.0, taken: 0.0 });
        Self { count: slopes.len(), stored }
    }

    /// How many channels there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The slope of each stored channel's PReLU.
    pub(super) fn slopes(&self) -> Vec<f32> {
        self.stored.iter().map(|stored| stored.slope).collect()
    }

    /// The weights or the bias, `[channels, ...]`, of the layer that makes these channels: `[stored channels, ...]`.
    pub(super) fn made(&self, place: &str, weights: &Tensor) -> Result<Tensor, ConvertError> {
        self.spread(place, weights, 0, |stored| stored.made)
    }

    /// The weights, `[outputs, channels, ...]`, of the layer that takes these channels: `[outputs, stored channels, ...]`.
    pub(super) fn taken(&self, place: &str, weights: &Tensor) -> Result<Tensor, ConvertError> {
        self.spread(place, weights, 1, |stored| stored.taken)
    }

    /// `weights` with the stored channels in place of the channels along `axis`, each times a factor.
    fn spread(
        &self,
        place: &str,
        weights: &Tensor,
        axis: usize,
        factor: impl Fn(&Stored) -> f32,
    ) -> Result<Tensor, ConvertError> {
        let mut shape = weights.shape().to_vec();
        match shape.get_mut(axis) {
            Some(side) if *side == self.count => *side = self.stored.len(),
            found => {
                let found = found.copied().unwrap_or_default();
                let problem = format!("takes {found} channels, but there are {}", self.count);
                return Err(ConvertError::unsupported(place, problem));
            }
        }
        let cells: usize = shape[axis + 1..].iter().product();
        let values = weights.values().chunks_exact(self.count * cells).flat_map(|row| {
            self.stored.iter().flat_map(|stored| {
                let (start, factor) = (stored.channel * cells, factor(stored));
                row[start..start + cells].iter().map(move |weight| weight * factor)
            })
        });
        Tensor::new(place, shape, values.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steep_channels_are_stored_twice_and_blocks_are_full() {
        let channels = Channels::after(&[0.25, 1.5, -2.0]);
        assert_eq!(channels.stored.len(), BLOCK);
        let one = |x: f32| {
            let rows = Tensor::new("w", vec![3], vec![x, 10.0 * x, 100.0 * x]).unwrap();
            let stored = channels.made("w", &rows).unwrap();
            let rectified =
                stored.values().iter().zip(channels.slopes()).map(|(x, slope)| x.max(0.0) + slope * x.min(0.0));
            // The next layer takes one channel after the other.
            let next = Tensor::new("n", vec![3, 3], vec![1., 0., 0., 0., 1., 0., 0., 0., 1.]).unwrap();
            let next = channels.taken("n", &next).unwrap();
            let rectified: Vec<_> = rectified.collect();
            let sum = |row: &[f32]| row.iter().zip(&rectified).map(|(weight, x)| weight * x).sum::<f32>();
            next.values().chunks(BLOCK).map(sum).collect::<Vec<_>>()
        };
        assert_eq!(one(2.0), [2.0, 20.0, 200.0]);
        assert_eq!(one(-2.0), [-0.5, -30.0, 400.0]);
    }

    #[test]
    fn weights_for_another_number_of_channels_are_refused() {
        let weights = Tensor::new("conv2.weight", vec![1, 9], vec![0.0; 9]).unwrap();
        let refusal = Channels::after(&[0.5; 10]).taken("conv2.weight", &weights).unwrap_err().to_string();
        assert!(refusal.contains("conv2.weight") && refusal.contains("takes 9 channels"), "{refusal}");
    }
}
