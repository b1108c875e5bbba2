//! From the names of a file to those of a module.
//!
//! A file written by another program rarely has a module's own names. Most differences are one of three: everything lies
//! below a prefix, names differ by a rule, or the module keeps as one tensor what the file keeps as several.

use indexmap::IndexMap;
use nnc_ir::{Diagnostic, TensorData};

use super::StateDict;

impl StateDict {
    /// The tensors whose names start with `prefix`, without it: `below("state_dict.")` of a checkpoint that holds more
    /// than a model.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        let strip = |(name, data): (String, TensorData)| Some((name.strip_prefix(prefix)?.to_string(), data));
        self.tensors = std::mem::take(&mut self.tensors).into_iter().filter_map(strip).collect();
        self
    }

    /// Gives every tensor the name that `name` gives for its present one; those it gives `None` for are left out.
    ///
    /// # Errors
    /// All names that several tensors would have.
    pub fn rename(mut self, mut name: impl FnMut(&str) -> Option<String>) -> Result<Self, Diagnostic> {
        let mut renamed: IndexMap<String, (String, TensorData)> = IndexMap::new();
        let mut clashes = Vec::new();
        for (old, data) in std::mem::take(&mut self.tensors) {
            let Some(new) = name(&old) else { continue };
            match renamed.get(&new) {
                Some((first, _)) => clashes.push(format!("`{first}` and `{old}` would both be called `{new}`")),
                None => {
                    renamed.insert(new, (old, data));
                }
            }
        }
        if !clashes.is_empty() {
            return Err(self.faults("tensors would have one name", clashes));
        }
        self.tensors = renamed.into_iter().map(|(new, (_, data))| (new, data)).collect();
        Ok(self)
    }

    /// [`StateDict::rename`] by a table of patterns and what becomes of them: the first that fits counts, names that
    /// none fits stay. A `*` stands for one component of the dotted name; those of the new name are the old one's in
    /// order.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let mut state = StateDict::new();
    /// state.insert("encoder.layer.0.output.dense.weight", Tensor::zeros([2, 3]).data()?);
    /// let state = state.rename_by(&[("encoder.layer.*.output.dense.*", "layers.*.linear2.*")])?;
    /// assert_eq!(state.keys().collect::<Vec<_>>(), ["layers.0.linear2.weight"]);
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    ///
    /// # Errors
    /// All names that several tensors would have, or a line whose patterns differ in their number of `*`.
    pub fn rename_by(self, table: &[(&str, &str)]) -> Result<Self, Diagnostic> {
        for (from, to) in table {
            self.check_stars(from, to)?;
        }
        self.rename(|name| {
            let fits = |(from, to): &(&str, &str)| Some(fill(to, &captures(from, name)?));
            Some(table.iter().find_map(fits).unwrap_or_else(|| name.to_string()))
        })
    }

    /// Joins the tensors of `parts`, in that order along their first dimension, into one called `whole`, which takes the
    /// place of the first. With `*` in the names, for every way in which the first of them fits.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let mut state = StateDict::new();
    /// for part in ["query", "key", "value"] {
    ///     state.insert(format!("layers.0.{part}.weight"), Tensor::zeros([4, 4]).data()?);
    /// }
    /// let parts = ["layers.*.query.*", "layers.*.key.*", "layers.*.value.*"];
    /// let state = state.concat(&parts, "layers.*.in_proj_*")?;
    /// assert_eq!(state.get("layers.0.in_proj_weight").map(|data| &data.shape[..]), Some(&[12, 4][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    ///
    /// # Errors
    /// All parts that are missing or whose types do not fit the first, names that exist already, or that nothing fits.
    pub fn concat(mut self, parts: &[&str], whole: &str) -> Result<Self, Diagnostic> {
        let Some((first, others)) = parts.split_first() else {
            return Err(self.fault(format!("`{whole}` is to be joined from no tensors")));
        };
        for name in others.iter().chain([&whole]) {
            self.check_stars(first, name)?;
        }
        let mut faults = Vec::new();
        let mut joined = IndexMap::new();
        let mut used = Vec::new();
        for (name, data) in &self.tensors {
            let Some(stars) = captures(first, name) else { continue };
            let new = fill(whole, &stars);
            let mut bytes = data.bytes.to_vec();
            let mut shape = data.shape.clone();
            used.push(name.clone());
            for other in others.iter().map(|other| fill(other, &stars)) {
                match self.tensors.get(&other) {
                    None => faults.push(format!("`{other}` is missing, of which `{new}` is a part")),
                    Some(part) if !stack(&mut shape, data, part) => {
                        faults.push(format!(
                            "`{other}` is {}, which does not go below `{name}`, a {}",
                            part.ty(),
                            data.ty()
                        ));
                    }
                    Some(part) => bytes.extend_from_slice(&part.bytes),
                }
                used.push(other);
            }
            if faults.is_empty() {
                joined.insert(name.clone(), (new, TensorData::new(data.dtype, shape, bytes)));
            }
        }
        if used.is_empty() {
            faults.push(format!("no tensor is called `{first}`"));
        }
        for (new, _) in joined.values() {
            if self.tensors.contains_key(new) && !used.contains(new) {
                faults.push(format!("there is a `{new}` already"));
            }
        }
        if !faults.is_empty() {
            return Err(self.faults("tensors cannot be joined", faults));
        }
        let place = |(name, data): (String, TensorData)| match joined.shift_remove(&name) {
            Some(whole) => Some(whole),
            None => (!used.contains(&name)).then_some((name, data)),
        };
        self.tensors = std::mem::take(&mut self.tensors).into_iter().filter_map(place).collect();
        Ok(self)
    }

    fn check_stars(&self, from: &str, to: &str) -> Result<(), Diagnostic> {
        let n_stars = |pattern: &str| pattern.matches('*').count();
        if n_stars(from) == n_stars(to) {
            return Ok(());
        }
        Err(self.fault(format!("`{from}` has {} `*`, but `{to}` has {}", n_stars(from), n_stars(to))))
    }

    /// One fault as it is, several as notes.
    fn faults(&self, what: &str, faults: Vec<String>) -> Diagnostic {
        match <[String; 1]>::try_from(faults) {
            Ok([fault]) => self.fault(fault),
            Err(faults) => faults.into_iter().fold(self.fault(what), Diagnostic::note),
        }
    }
}

/// Whether `part` can follow below `first`, whose joined shape so far is `shape`; then it grows.
fn stack(shape: &mut [usize], first: &TensorData, part: &TensorData) -> bool {
    let fits = match (&first.shape[..], &part.shape[..]) {
        ([_, rest @ ..], [_, tail @ ..]) => rest == tail && first.dtype == part.dtype,
        _ => false,
    };
    if fits {
        shape[0] += part.shape[0];
    }
    fits
}

/// What each `*` of `pattern` stands for in `name`, if it fits.
fn captures<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == name).then(Vec::new);
    };
    let rest = name.strip_prefix(before)?;
    // The longest run within the component at which the rest of the pattern fits.
    let component = rest.find('.').unwrap_or(rest.len());
    let ends = (1..=component).rev().filter(|&end| rest.is_char_boundary(end));
    ends.into_iter().find_map(|end| {
        let mut stars = vec![&rest[..end]];
        stars.extend(captures(after, &rest[end..])?);
        Some(stars)
    })
}

/// `pattern` with each `*` replaced, in order.
fn fill(pattern: &str, stars: &[&str]) -> String {
    let mut stars = stars.iter();
    pattern.split_inclusive('*').fold(String::new(), |text, piece| match piece.strip_suffix('*') {
        Some(piece) => text + piece + stars.next().expect("the numbers of stars were compared"),
        None => text + piece,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(tensors: &[(&str, &[usize])]) -> StateDict {
        let zeros = |shape: &[usize]| TensorData::from_f32(shape.to_vec(), &vec![0.0; shape.iter().product()]);
        tensors.iter().map(|(name, shape)| (name.to_string(), zeros(shape))).collect()
    }

    fn keys(state: &StateDict) -> Vec<&str> {
        state.keys().collect()
    }

    #[test]
    fn patterns_stand_for_components() {
        assert_eq!(captures("a.*.b", "a.10.b"), Some(vec!["10"]));
        assert_eq!(captures("a.*.b", "a.1.2.b"), None);
        assert_eq!(captures("a.*.b", "a..b"), None, "a star is at least one character");
        assert_eq!(captures("*_l*", "weight_ih_l0"), Some(vec!["weight_ih", "0"]));
        assert_eq!(captures("*", "größe"), Some(vec!["größe"]));
        assert_eq!(fill("x.*.y_*", &["1", "w"]), "x.1.y_w");
    }

    #[test]
    fn prefixes_and_rules() {
        let all = state(&[("model.a", &[1]), ("epoch", &[]), ("model.b", &[2])]);
        assert_eq!(keys(&all.clone().below("model.")), ["a", "b"]);
        let kept = all.clone().rename(|name| (name != "epoch").then(|| name.to_uppercase())).expect("no clash");
        assert_eq!(keys(&kept), ["MODEL.A", "MODEL.B"]);
        let fault = all.clone().rename(|_| Some("x".to_string())).expect_err("three of one name").to_string();
        let expected = "tensors would have one name\
            \n  note: `model.a` and `epoch` would both be called `x`\
            \n  note: `model.a` and `model.b` would both be called `x`";
        assert_eq!(fault, expected);
        let fault = all.rename_by(&[("a.*.b", "c")]).expect_err("stars differ").to_string();
        assert_eq!(fault, "`a.*.b` has 1 `*`, but `c` has 0");
    }

    #[test]
    fn parts_are_joined_in_place() {
        let parts = ["*.q", "*.k"];
        let joined = state(&[("first", &[]), ("0.k", &[1, 3]), ("0.q", &[2, 3]), ("last", &[])])
            .concat(&parts, "*.qk")
            .expect("they fit");
        assert_eq!(keys(&joined), ["first", "0.qk", "last"]);
        assert_eq!(joined.get("0.qk").map(|data| data.shape.clone()), Some(vec![3, 3]));
        let refused =
            |tensors: &[(&str, &[usize])]| state(tensors).concat(&parts, "*.qk").expect_err("refused").to_string();
        assert_eq!(refused(&[("a", &[])]), "no tensor is called `*.q`");
        assert_eq!(refused(&[("0.q", &[1]), ("0.k", &[1]), ("0.qk", &[])]), "there is a `0.qk` already");
        assert_eq!(
            refused(&[("0.q", &[2, 3]), ("1.q", &[2, 3]), ("1.k", &[2, 4])]),
            "tensors cannot be joined\
            \n  note: `0.k` is missing, of which `0.qk` is a part\
            \n  note: `1.k` is f32[2, 4], which does not go below `1.q`, a f32[2, 3]"
        );
    }
}
