//! Constant tensors and the reordering of their axes. Knows no file format.

use super::ConvertError;

/// A dense tensor of 32-bit floats in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// `place` is what an error names.
    pub(super) fn new(place: &str, shape: Vec<usize>, values: Vec<f32>) -> Result<Self, ConvertError> {
        let cells = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        if cells != Some(values.len()) {
            let problem = format!("{} values do not fill the shape {shape:?}", values.len());
            return Err(ConvertError::unsupported(place, problem));
        }
        Ok(Self { shape, values })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The same values under another shape with as many cells.
    pub(super) fn reshaped(self, place: &str, shape: Vec<usize>) -> Result<Self, ConvertError> {
        Self::new(place, shape, self.values)
    }

    /// Axis `i` of the result is axis `axes[i]` of this tensor; `axes` is a permutation of all axes.
    pub(super) fn permuted<const AXES: usize>(&self, place: &str, axes: [usize; AXES]) -> Result<Self, ConvertError> {
        if self.shape.len() != AXES {
            let problem = format!("expected a tensor with {AXES} axes, found the shape {:?}", self.shape);
            return Err(ConvertError::unsupported(place, problem));
        }
        let strides = row_major(&self.shape);
        let shape = axes.map(|axis| self.shape[axis]);
        let steps = axes.map(|axis| strides[axis]);
        let values = offsets(&shape, &steps).map(|offset| self.values[offset]).collect();
        Ok(Self { shape: shape.to_vec(), values })
    }
}

/// Where the cells of a tensor lie, in row-major order of their positions, when a step along axis `i` moves by
/// `strides[i]`. A tensor without axes has one cell.
pub(super) fn offsets(shape: &[usize], strides: &[usize]) -> impl Iterator<Item = usize> {
    let cells = shape.iter().product();
    let mut position = vec![0; shape.len()];
    (0..cells).map(move |_| {
        let offset = position.iter().zip(strides).map(|(at, stride)| at * stride).sum();
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
        offset
    })
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permuting_moves_axes_and_keeps_values() {
        let matrix = Tensor::new("m", vec![2, 3], vec![0., 1., 2., 3., 4., 5.]).unwrap();
        let transposed = matrix.permuted("m", [1, 0]).unwrap();
        assert_eq!(transposed, Tensor::new("m", vec![3, 2], vec![0., 3., 1., 4., 2., 5.]).unwrap());
        let weights = Tensor::new("w", vec![1, 2, 3, 4], (0..24_u8).map(f32::from).collect()).unwrap();
        let moved = weights.permuted("w", [3, 2, 0, 1]).unwrap();
        // Cell (h=0, w=1, i=2, o=3) of the source is its last one, and (3, 2, 0, 1) is the last of the result.
        assert_eq!((moved.shape(), moved.values()[23], moved.values()[1]), (&[4, 3, 1, 2][..], 23., 12.));
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused() {
        assert!(Tensor::new("t", vec![2, 2], vec![0.; 3]).is_err());
        assert!(Tensor::new("t", vec![usize::MAX, 2], vec![]).is_err());
        assert!(Tensor::new("t", vec![2], vec![0.; 2]).unwrap().permuted("t", [1, 0]).is_err());
    }
}
