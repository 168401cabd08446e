//! Reads a state dictionary: the named tensors of a PyTorch network, in the format that `torch.save` wrote before
//! version 1.6. Knows no network.
//!
//! The file holds five pickles (magic number, protocol version, machine, state dictionary, keys of the storages) and
//! then the storages in the order of the keys, each as a 64-bit count and its little-endian values.

use std::collections::BTreeMap;

use super::ConvertError;
use super::pickle::{self, Value};
use super::tensor::{Tensor, offsets};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// The tensors of a network by their names.
#[derive(Debug)]
pub(super) struct StateDictionary(BTreeMap<String, Tensor>);

impl StateDictionary {
    /// The tensor with that name; the network needs it.
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, ConvertError> {
        self.0.get(name).ok_or_else(|| ConvertError::unsupported(name, "the state dictionary has no such tensor"))
    }

    #[cfg(test)]
    pub(super) fn from_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        Self(tensors)
    }
}

/// Reads the file `source`. All its tensors must be 32-bit floats; their axes may lie in any order.
pub(super) fn state_dictionary(source: &[u8]) -> Result<StateDictionary, ConvertError> {
    let mut rest = source;
    if pickle::read(&mut rest)? != Value::Integer(MAGIC) {
        return Err(malformed("the magic number is missing"));
    }
    if pickle::read(&mut rest)? != Value::Integer(PROTOCOL) {
        return Err(malformed("another version of the format"));
    }
    let little_endian = (Value::Text("little_endian".to_owned()), Value::Bool(true));
    match pickle::read(&mut rest)? {
        Value::Dictionary(machine) if machine.contains(&little_endian) => {}
        _ => return Err(malformed("it was not written on a little-endian machine")),
    }
    let Value::Call { function, items, .. } = pickle::read(&mut rest)? else {
        return Err(malformed("it holds no dictionary"));
    };
    if function != "collections.OrderedDict" {
        return Err(malformed(format!("it holds a {function}")));
    }
    let Value::List(keys) = pickle::read(&mut rest)? else {
        return Err(malformed("the list of storages is missing"));
    };
    let storages = storages(&keys, rest)?;
    let tensors = items.iter().map(|(name, value)| {
        let name = expect_text(name)?;
        Ok((name.to_owned(), tensor(name, value, &storages)?))
    });
    tensors.collect::<Result<_, _>>().map(StateDictionary)
}

/// The raw little-endian bytes of every storage.
fn storages<'a>(keys: &'a [Value], mut rest: &'a [u8]) -> Result<BTreeMap<&'a str, &'a [u8]>, ConvertError> {
    let truncated = || malformed("it ends inside its storages");
    let mut storages = BTreeMap::new();
    for key in keys {
        let (count, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        let bytes = usize::try_from(i64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(4));
        let (storage, after) = bytes.and_then(|bytes| after.split_at_checked(bytes)).ok_or_else(truncated)?;
        storages.insert(expect_text(key)?, storage);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(malformed("something follows its last storage"));
    }
    Ok(storages)
}

/// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`.
fn tensor(name: &str, value: &Value, storages: &BTreeMap<&str, &[u8]>) -> Result<Tensor, ConvertError> {
    let unsupported = |problem: &str| ConvertError::unsupported(name, problem);
    let Value::Call { function, arguments, .. } = value else {
        return Err(unsupported("is no tensor"));
    };
    let [Value::Persistent(storage), offset, Value::Tuple(shape), Value::Tuple(strides), ..] = &arguments[..] else {
        return Err(unsupported("is no tensor"));
    };
    if function != "torch._utils._rebuild_tensor_v2" {
        return Err(unsupported("is no tensor"));
    }
    let Value::Tuple(storage) = &**storage else {
        return Err(unsupported("has no storage"));
    };
    let [_, Value::Global(kind), key, ..] = &storage[..] else {
        return Err(unsupported("has no storage"));
    };
    if kind != "torch.FloatStorage" {
        return Err(unsupported("is not of 32-bit floats"));
    }
    let bytes = storages.get(expect_text(key)?).ok_or_else(|| unsupported("has no storage"))?;
    let (values, _) = bytes.as_chunks::<4>();
    let shape = shape.iter().map(expect_size).collect::<Result<Vec<_>, _>>()?;
    let strides = strides.iter().map(expect_size).collect::<Result<Vec<_>, _>>()?;
    let offset = expect_size(offset)?;
    if shape.len() != strides.len() || !fits(&shape, &strides, offset, values.len()) {
        return Err(unsupported("reaches past its storage"));
    }
    let cells = offsets(&shape, &strides).map(|cell| f32::from_le_bytes(values[offset + cell])).collect();
    Tensor::new(name, shape, cells)
}

/// Whether a tensor stays in a storage of `length` values, and does not show one of them so often that it outgrows it.
fn fits(shape: &[usize], strides: &[usize], offset: usize, length: usize) -> bool {
    let cells = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |last, (side, stride)| side.saturating_sub(1).checked_mul(*stride)?.checked_add(last));
    cells.is_some_and(|cells| cells <= length) && last.is_some_and(|last| last < length)
}

fn expect_text(value: &Value) -> Result<&str, ConvertError> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(malformed("a key is no text")),
    }
}

fn expect_size(value: &Value) -> Result<usize, ConvertError> {
    match value {
        Value::Integer(size) => usize::try_from(*size).map_err(|_| malformed(format!("{size} is no size"))),
        _ => Err(malformed("a size is no integer")),
    }
}

fn malformed(problem: impl Into<String>) -> ConvertError {
    ConvertError::Malformed { format: "a PyTorch state dictionary", problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file as PyTorch writes it, with one tensor `w` of shape [2, 3] at offset 1 of a storage of `count` values.
    fn file(strides: &[u8; 2], offset: u8, count: i64) -> Vec<u8> {
        let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
        bytes.extend(b"\x80\x02}q\0(X\x0d\0\0\0little_endianq\x01\x88u.");
        bytes.extend(b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(X\x01\0\0\0wq\x02");
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\0\0\0storageq\x04ctorch\nFloatStorage\nq\x05");
        bytes.extend(b"X\x01\0\0\x007q\x06X\x03\0\0\0cpuq\x07K\x07Ntq\x08Q");
        bytes.extend([b'K', offset, b'K', 2, b'K', 3, 0x86, b'K', strides[0], b'K', strides[1], 0x86, 0x89]);
        bytes.extend(b"h\0)RtRu.\x80\x02]q\0(X\x01\0\0\x007q\x01e.");
        bytes.extend(count.to_le_bytes());
        bytes.extend((0..7_u8).flat_map(|value| f32::from(value).to_le_bytes()));
        bytes
    }

    #[test]
    fn a_tensor_is_read_from_its_offset() {
        let state = state_dictionary(&file(&[3, 1], 1, 7)).unwrap();
        let expected = Tensor::new("w", vec![2, 3], vec![1., 2., 3., 4., 5., 6.]).unwrap();
        assert_eq!(state.tensor("w").unwrap(), &expected);
        assert!(state.tensor("bias").unwrap_err().to_string().contains("bias"));
    }

    #[test]
    fn a_tensor_in_column_major_order_is_put_right() {
        let state = state_dictionary(&file(&[1, 2], 1, 7)).unwrap();
        let expected = Tensor::new("w", vec![2, 3], vec![1., 3., 5., 2., 4., 6.]).unwrap();
        assert_eq!(state.tensor("w").unwrap(), &expected);
    }

    #[test]
    fn a_file_cut_anywhere_or_with_more_behind_it_is_refused() {
        let whole = file(&[3, 1], 1, 7);
        for end in 0..whole.len() {
            assert!(state_dictionary(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(state_dictionary(&[whole, vec![0]].concat()).is_err());
    }

    #[test]
    fn lying_sizes_are_refused() {
        for count in [i64::MAX, -1, 1 << 62, 8] {
            assert!(state_dictionary(&file(&[3, 1], 1, count)).is_err(), "{count}");
        }
        let past = state_dictionary(&file(&[3, 1], 2, 7)).unwrap_err().to_string();
        assert!(past.contains("past its storage"), "{past}");
        let past = state_dictionary(&file(&[200, 1], 1, 7)).unwrap_err().to_string();
        assert!(past.contains("past its storage"), "{past}");
    }
}
