//! Values as Python prints them, for the printed form of layers.

/// `True` or `False`.
pub(crate) fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A float as Python's `repr` gives it: the shortest digits that read back the same, `1e-05` below 1e-4.
pub(crate) fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_string();
    }
    let text = format!("{value:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

/// A tuple of whole numbers: `(2, 3)`, `(5,)`.
pub(crate) fn python_tuple<T: ToString>(values: &[T]) -> String {
    let items: Vec<String> = values.iter().map(T::to_string).collect();
    format!("({}{})", items.join(", "), if items.len() == 1 { "," } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        let cases = [
            (1.0, "1.0"),
            (0.01, "0.01"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (2.5e-12, "2.5e-12"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-0.125, "-0.125"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ];
        for (value, expected) in cases {
            assert_eq!(python_float(value), expected);
        }
    }

    #[test]
    fn a_tuple_of_one_has_its_comma() {
        assert_eq!((python_tuple(&[5]), python_tuple(&[2, 3])), ("(5,)".to_string(), "(2, 3)".to_string()));
    }
}
