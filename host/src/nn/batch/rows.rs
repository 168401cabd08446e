//! Tensors as rows: laid one after the other, and cut apart again.
//!
//! Owns the arithmetic of the first dimension. Must never know who calls or when anything runs.

use wasmtime_wasi_nn::backend::NamedTensor;
use wasmtime_wasi_nn::wit::Tensor;

use crate::nn::tensor::Port;

/// Whether a graph takes and answers any number of rows: the first dimension of every input and output is free.
pub(in crate::nn) fn takes_any_number(inputs: &[Port], outputs: &[Port]) -> bool {
    let free = |port: &Port| matches!(port.dimensions.first(), Some(None));
    !inputs.is_empty() && !outputs.is_empty() && inputs.iter().chain(outputs).all(free)
}

/// The number of rows that all inputs have in common; `None` when they differ.
pub(in crate::nn) fn common(inputs: &[NamedTensor]) -> Option<usize> {
    let mut rows = inputs.iter().map(|input| input.tensor.dimensions.first().copied());
    let first = rows.next()??;
    rows.all(|other| other == Some(first)).then_some(first as usize)
}

/// The same tensor once more: a run may outlive the wait of its caller, who lends only as long as it waits.
pub(super) fn copy(input: &NamedTensor) -> NamedTensor {
    NamedTensor { name: input.name.clone(), tensor: input.tensor.clone() }
}

/// Whether the inputs of two calls differ in nothing but their order, their rows and the number of those.
pub(super) fn alike(some: &[NamedTensor], others: &[NamedTensor]) -> bool {
    let same = |a: &NamedTensor, b: &NamedTensor| {
        a.name == b.name && a.tensor.ty == b.tensor.ty && a.tensor.dimensions[1..] == b.tensor.dimensions[1..]
    };
    some.len() == others.len() && some.iter().all(|a| others.iter().any(|b| same(a, b)))
}

/// The inputs of calls that are all alike, as those of one call with all their rows in this order.
pub(super) fn joined(calls: &[&[NamedTensor]]) -> Vec<NamedTensor> {
    let Some((first, _)) = calls.split_first() else { return Vec::new() };
    let join = |input: &NamedTensor| {
        let parts = || calls.iter().flat_map(|inputs| inputs.iter().find(|other| other.name == input.name));
        let mut data = Vec::with_capacity(parts().map(|part| part.tensor.data.len()).sum());
        parts().for_each(|part| data.extend_from_slice(&part.tensor.data));
        let mut dimensions = input.tensor.dimensions.clone();
        dimensions[0] = parts().map(|part| part.tensor.dimensions[0]).sum();
        NamedTensor { name: input.name.clone(), tensor: Tensor::new(dimensions, input.tensor.ty, data) }
    };
    first.iter().map(join).collect()
}

/// The outputs of a run, cut into those of its callers, who brought so many rows each.
///
/// # Errors
///
/// What is wrong with the outputs, when they do not have as many rows.
pub(super) fn parted(outputs: Vec<NamedTensor>, rows: &[usize]) -> Result<Vec<Vec<NamedTensor>>, String> {
    let total: usize = rows.iter().sum();
    let mut parts: Vec<Vec<NamedTensor>> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for NamedTensor { name, tensor } in outputs {
        if tensor.dimensions.first().map(|length| *length as usize) != Some(total) || tensor.data.len() % total != 0 {
            return Err(format!(
                "its output '{name}' has the shape {:?} for {total} rows of {} callers; set nn.max_batch to 1",
                tensor.dimensions,
                rows.len()
            ));
        }
        let bytes = tensor.data.len() / total;
        let mut left = tensor.data.as_slice();
        for (part, rows) in parts.iter_mut().zip(rows) {
            let (own, others) = left.split_at(rows * bytes);
            left = others;
            let mut dimensions = tensor.dimensions.clone();
            dimensions[0] = *rows as u32;
            part.push(NamedTensor { name: name.clone(), tensor: Tensor::new(dimensions, tensor.ty, own.to_vec()) });
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::super::super::fixture::floats;
    use super::*;

    fn port(dimensions: &[Option<u32>]) -> Port {
        Port { name: "p".to_owned(), element: crate::nn::tensor::Element::F32, dimensions: dimensions.to_vec() }
    }

    #[test]
    fn only_graphs_with_free_rows_throughout_are_joined() {
        let (free, fixed, scalar) = (port(&[None, Some(3)]), port(&[Some(1), Some(3)]), port(&[]));
        let one = slice::from_ref(&free);
        assert!(takes_any_number(&[free.clone(), free.clone()], one));
        for other in [fixed, scalar] {
            assert!(!takes_any_number(&[free.clone(), other.clone()], one));
            assert!(!takes_any_number(one, &[other]));
        }
        assert!(!takes_any_number(&[], one));
    }

    #[test]
    fn inputs_are_joined_by_name_and_cut_where_they_were_joined() {
        let first = [floats("a", &[1, 2], &[1.0, 2.0]), floats("b", &[1, 1], &[9.0])];
        let second = [floats("b", &[2, 1], &[8.0, 7.0]), floats("a", &[2, 2], &[3.0, 4.0, 5.0, 6.0])];
        assert!(alike(&first, &second) && common(&second) == Some(2));
        assert!(!alike(&first, &[floats("a", &[1, 3], &[0.0; 3]), floats("b", &[1, 1], &[0.0])]));
        assert_eq!(common(&[floats("a", &[2, 1], &[0.0; 2]), floats("b", &[1, 1], &[0.0])]), None);
        let whole = joined(&[&first, &second]);
        assert_eq!(whole[0].tensor, floats("a", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).tensor);
        assert_eq!(whole[1].tensor, floats("b", &[3, 1], &[9.0, 8.0, 7.0]).tensor);
        let parts = parted(whole, &[1, 2]).unwrap();
        assert_eq!(parts[0][0].tensor, first[0].tensor);
        assert_eq!(parts[1][1].tensor, second[0].tensor);
    }

    #[test]
    fn outputs_with_other_rows_are_an_error() {
        let error = parted(vec![floats("mean", &[1, 2], &[0.0; 2])], &[1, 2]).err().expect("a mean has one row");
        assert!(error.contains("'mean'") && error.contains("[1, 2] for 3 rows"), "{error}");
    }
}
