//! Tensors as guests hand them in: bytes that claim a type and a shape.
//!
//! Owns the element types, what a graph declares of its inputs and outputs, and the check of one against the other.
//! Must never know how a graph is run.

use std::fmt;

use half::f16;
use wasmtime_wasi_nn::wit::{Tensor, TensorType};

// WebAssembly is little-endian, and tensors are passed as bytes: on another machine every element would need swapping.
const _: () = assert!(cfg!(target_endian = "little"), "tensors are shared with guests as little-endian bytes");

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    U8,
    I32,
    I64,
}

impl Element {
    /// The type in wasi-nn's words; `None` for those that are not served.
    pub(crate) fn of(tensor: TensorType) -> Option<Self> {
        match tensor {
            TensorType::Fp32 => Some(Self::F32),
            TensorType::Fp16 => Some(Self::F16),
            TensorType::U8 => Some(Self::U8),
            TensorType::I32 => Some(Self::I32),
            TensorType::I64 => Some(Self::I64),
            TensorType::Fp64 | TensorType::Bf16 => None,
        }
    }

    /// The same type in wasi-nn's words.
    pub(crate) fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::Fp32,
            Self::F16 => TensorType::Fp16,
            Self::U8 => TensorType::U8,
            Self::I32 => TensorType::I32,
            Self::I64 => TensorType::I64,
        }
    }

    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
        })
    }
}

/// What a graph declares of one input or output. Shows as `f32 [?, 3, 160, 160]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The tensor's name in the graph.
    pub(crate) name: String,
    /// The type of its elements.
    pub(crate) element: Element,
    /// The length of each dimension; `None` where any is taken.
    pub(crate) dimensions: Vec<Option<u32>>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.element)?;
        for (axis, length) in self.dimensions.iter().enumerate() {
            let comma = if axis == 0 { "" } else { ", " };
            match length {
                Some(length) => write!(f, "{comma}{length}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

impl Port {
    /// Checks that `tensor` is what this input takes, and counts its elements.
    ///
    /// # Errors
    ///
    /// What was handed in instead, in words that follow "expected …, got".
    pub(crate) fn check(&self, tensor: &Tensor) -> Result<usize, String> {
        if Element::of(tensor.ty) != Some(self.element) || tensor.dimensions.len() != self.dimensions.len() {
            return Err(describe(tensor));
        }
        let fits = |(got, declared): (&u32, &Option<u32>)| *got > 0 && declared.is_none_or(|length| length == *got);
        if !tensor.dimensions.iter().zip(&self.dimensions).all(fits) {
            return Err(describe(tensor));
        }
        let elements = tensor
            .dimensions
            .iter()
            .try_fold(1_usize, |product, length| product.checked_mul(usize::try_from(*length).ok()?));
        match elements.and_then(|elements| Some((elements, elements.checked_mul(self.element.size())?))) {
            Some((elements, bytes)) if bytes == tensor.data.len() => Ok(elements),
            Some((_, bytes)) => Err(format!("{} in {} bytes instead of {bytes}", describe(tensor), tensor.data.len())),
            None => Err(format!("{}, which no memory holds", describe(tensor))),
        }
    }
}

/// A guest's tensor in words, however many dimensions it claims. Never its contents.
fn describe(tensor: &Tensor) -> String {
    const SHOWN: usize = 8;
    let element = match tensor.ty {
        TensorType::Fp64 => "f64",
        TensorType::Fp32 => "f32",
        TensorType::Fp16 => "f16",
        TensorType::Bf16 => "bf16",
        TensorType::U8 => "u8",
        TensorType::I32 => "i32",
        TensorType::I64 => "i64",
    };
    let rank = tensor.dimensions.len();
    let more = if rank > SHOWN { format!(" and {} dimensions more", rank - SHOWN) } else { String::new() };
    format!("{element} {:?}{more}", &tensor.dimensions[..rank.min(SHOWN)])
}

mod sealed {
    /// # Safety
    ///
    /// Every pattern of bits is a value, and there is no padding.
    pub(crate) unsafe trait Plain: Copy + 'static {}
}

// SAFETY: numbers of the machine, without invalid patterns and without padding; `f16` is a transparent `u16`.
unsafe impl sealed::Plain for f32 {}
// SAFETY: as above.
unsafe impl sealed::Plain for f16 {}
// SAFETY: as above.
unsafe impl sealed::Plain for u8 {}
// SAFETY: as above.
unsafe impl sealed::Plain for i32 {}
// SAFETY: as above.
unsafe impl sealed::Plain for i64 {}

pub(crate) use self::sealed::Plain;

/// Bytes as elements, without a copy; `None` when they are not aligned or no whole number of elements.
pub(crate) fn aligned<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: any bytes make up valid elements, as `Plain` promises.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

/// Bytes as elements, copied to where they are aligned. A part of an element at the end is left out.
pub(crate) fn copied<T: Plain>(bytes: &[u8]) -> Vec<T> {
    // SAFETY: each chunk has the size of one element, any bytes make up a valid one, and the read asks for no
    // alignment.
    bytes.chunks_exact(size_of::<T>()).map(|chunk| unsafe { chunk.as_ptr().cast::<T>().read_unaligned() }).collect()
}

/// Elements as bytes, without a copy.
pub(crate) fn bytes_of<T: Plain>(elements: &[T]) -> &[u8] {
    // SAFETY: elements have no padding, bytes no alignment, and both views cover the same memory for the same lifetime.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Port {
        Port { name: "input".to_owned(), element: Element::F32, dimensions: vec![None, Some(3), None] }
    }

    #[test]
    fn what_fits_is_counted() {
        let tensor = Tensor::new(vec![2, 3, 4], TensorType::Fp32, vec![0; 96]);
        assert_eq!(port().check(&tensor), Ok(24));
        let scalar = Port { dimensions: vec![], ..port() };
        assert_eq!(scalar.check(&Tensor::new(vec![], TensorType::Fp32, vec![0; 4])), Ok(1));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(port().to_string(), "f32 [?, 3, ?]");
        let huge = u32::MAX;
        for (dimensions, ty, bytes, got) in [
            (vec![2, 3, 4], TensorType::I32, 96, "i32 [2, 3, 4]"),
            (vec![2, 3, 4], TensorType::Fp64, 192, "f64 [2, 3, 4]"),
            (vec![2, 4, 4], TensorType::Fp32, 128, "f32 [2, 4, 4]"),
            (vec![2, 3], TensorType::Fp32, 24, "f32 [2, 3]"),
            (vec![], TensorType::Fp32, 4, "f32 []"),
            (vec![0, 3, 4], TensorType::Fp32, 0, "f32 [0, 3, 4]"),
            (vec![2, 3, 4], TensorType::Fp32, 95, "f32 [2, 3, 4] in 95 bytes instead of 96"),
            (vec![2, 3, 4], TensorType::Fp32, 0, "f32 [2, 3, 4] in 0 bytes instead of 96"),
            (vec![huge, 3, huge], TensorType::Fp32, 4, "f32 [4294967295, 3, 4294967295], which no memory holds"),
            (vec![1 << 31, 3, 1 << 31], TensorType::Fp32, 0, "f32 [2147483648, 3, 2147483648], which no memory holds"),
            (vec![1; 1000], TensorType::Fp32, 4, "f32 [1, 1, 1, 1, 1, 1, 1, 1] and 992 dimensions more"),
        ] {
            assert_eq!(port().check(&Tensor::new(dimensions, ty, vec![0; bytes])), Err(got.to_owned()));
        }
    }

    #[test]
    fn unaligned_bytes_are_copied_to_the_same_elements() {
        let numbers = [1.5_f32, -2.0, f32::INFINITY];
        let bytes = bytes_of(&numbers);
        assert_eq!(aligned::<f32>(bytes), Some(&numbers[..]));
        let mut shifted = vec![0_u64; 4];
        // SAFETY: the bytes of `shifted`, which is 8-aligned, so that the view from byte 1 on is aligned for no `f32`.
        let shifted = unsafe { std::slice::from_raw_parts_mut(shifted.as_mut_ptr().cast::<u8>(), 32) };
        shifted[1..13].copy_from_slice(bytes);
        assert_eq!(aligned::<f32>(&shifted[1..13]), None);
        assert_eq!(copied::<f32>(&shifted[1..13]), numbers);
        assert_eq!(aligned::<f32>(&bytes[..11]), None);
    }
}
