//! An optimizer of any kind, and its text form: `sgd:lr=0.1,momentum=0.9,nesterov=true`.

use std::fmt;

use nnc_ir::{Diagnostic, Location};

use crate::rule::Rule;
use crate::rules::{Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Rprop, Sgd};

/// The list of optimizers: variants, conversions and names.
macro_rules! optimizers {
    ($( $(#[$doc:meta])* $Name:ident = $text:literal; )*) => {
        /// An optimizer and its hyper-parameters.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum OptimizerSpec {
            $( $(#[$doc])* $Name($Name), )*
        }

        impl OptimizerSpec {
            /// Names of all optimizers.
            pub const NAMES: &[&str] = &[$( $text ),*];

            /// The optimizer called `name`, with its defaults.
            fn named(name: &str) -> Option<Self> {
                match name {
                    $( $text => Some(Self::$Name($Name::default())), )*
                    _ => None,
                }
            }

            /// The algorithm.
            pub fn rule(&self) -> &dyn Rule {
                match self {
                    $( Self::$Name(rule) => rule, )*
                }
            }

            fn rule_mut(&mut self) -> &mut dyn Rule {
                match self {
                    $( Self::$Name(rule) => rule, )*
                }
            }
        }

        $(
            impl From<$Name> for OptimizerSpec {
                fn from(rule: $Name) -> Self {
                    Self::$Name(rule)
                }
            }
        )*
    };
}

optimizers! {
    /// Stochastic gradient descent.
    Sgd = "sgd";
    /// Adam.
    Adam = "adam";
    /// Adam with decoupled weight decay.
    AdamW = "adamw";
    /// Adam with Nesterov's momentum.
    NAdam = "nadam";
    /// Rectified Adam.
    RAdam = "radam";
    /// Adam with the infinity norm.
    Adamax = "adamax";
    /// Adagrad.
    Adagrad = "adagrad";
    /// Adadelta.
    Adadelta = "adadelta";
    /// RMSprop.
    RMSprop = "rmsprop";
    /// Resilient backpropagation.
    Rprop = "rprop";
}

impl OptimizerSpec {
    /// Reads `NAME` or `NAME:SETTING=VALUE,...`; settings have PyTorch's names and defaults, pairs are written
    /// `0.9/0.999`.
    ///
    /// # Errors
    /// Every unknown or repeated setting and every value that does not fit, at its column in `text` (the file of the
    /// location is `optimizer`).
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let Some(mut spec) = Self::named(name.trim()) else {
            let message = format!("unknown optimizer `{}`, expected {}", name.trim(), alternatives(Self::NAMES));
            return Err(vec![Diagnostic::new(place(1), message)]);
        };
        let mut faults = Vec::new();
        let mut columns: Vec<(&str, usize)> = Vec::new();
        let mut column = name.chars().count() + 2;
        for part in rest.split(',').filter(|_| !rest.trim().is_empty()) {
            if let Err(message) = set_once(spec.rule_mut(), part, column, &mut columns) {
                faults.push(Diagnostic::new(place(column), message));
            }
            column += part.chars().count() + 1;
        }
        for fault in spec.rule().check() {
            let column = columns.iter().find(|(key, _)| *key == fault.argument).map_or(1, |(_, column)| *column);
            faults.push(Diagnostic::new(place(column), fault.message));
        }
        faults.sort_by_key(|fault| fault.location.column);
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }

    /// Whether all hyper-parameters are allowed.
    ///
    /// # Errors
    /// Every one that is not, named.
    pub fn check(&self) -> Result<(), Vec<Diagnostic>> {
        let name = self.rule().name();
        let fault = |message| Diagnostic::new(Location::unknown(), format!("{name}: {message}"));
        let faults: Vec<Diagnostic> = self.rule().check().into_iter().map(|found| fault(found.message)).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The learning rate to start with.
    pub fn learning_rate(&self) -> f64 {
        self.rule().lr()
    }
}

impl fmt::Display for OptimizerSpec {
    /// Name and every setting, as [`OptimizerSpec::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule();
        for (idx, (key, value)) in rule.settings().iter().enumerate() {
            let lead = if idx == 0 { format!("{}:", rule.name()) } else { ",".to_string() };
            write!(f, "{lead}{key}={value}")?;
        }
        Ok(())
    }
}

/// Reads one `SETTING=VALUE`, which starts at `column`.
fn set_once<'a>(
    rule: &mut dyn Rule,
    part: &'a str,
    column: usize,
    columns: &mut Vec<(&'a str, usize)>,
) -> Result<(), String> {
    let Some((key, value)) = part.split_once('=') else {
        return Err(format!("found `{part}`, expected SETTING=VALUE"));
    };
    let (key, value) = (key.trim(), value.trim());
    if columns.iter().any(|(seen, _)| *seen == key) {
        return Err(format!("setting `{key}` is given twice"));
    }
    columns.push((key, column));
    rule.set(key, value).map_err(|expected| match expected {
        Some(expected) => format!("setting `{key}` is `{value}`, expected {expected}"),
        None => format!("unknown setting `{key}`, expected {}", alternatives(rule.names())),
    })
}

/// Column `column` of the specification.
fn place(column: usize) -> Location {
    Location::at("optimizer", 1, column as u32)
}

/// `` `a`, `b` or `c` ``.
fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let faults = OptimizerSpec::parse(text).expect_err("the text is wrong");
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn a_specification_reads_back_as_printed() {
        let spec = OptimizerSpec::parse("sgd:lr=0.1, momentum=0.9,nesterov=true,weight_decay=1e-4").expect("fits");
        let expected = Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(1e-4);
        assert_eq!(spec, OptimizerSpec::Sgd(expected));
        for name in OptimizerSpec::NAMES {
            let spec = OptimizerSpec::parse(name).expect("defaults are allowed");
            assert_eq!(spec.rule().name(), *name);
            assert_eq!(OptimizerSpec::parse(&spec.to_string()), Ok(spec));
        }
        let spec = OptimizerSpec::parse("adamw:betas=0.8/0.95,amsgrad=true").expect("fits");
        assert_eq!(spec, AdamW::default().betas((0.8, 0.95)).amsgrad(true).into());
        assert_eq!(
            spec.to_string(),
            "adamw:lr=0.001,betas=0.8/0.95,eps=0.00000001,weight_decay=0.01,amsgrad=true,maximize=false"
        );
    }

    #[test]
    fn all_faults_are_reported_in_place() {
        assert_eq!(
            faults("sgd:lr=fast,momentun=0.9,lr=1,nesterov"),
            "optimizer:1:5: setting `lr` is `fast`, expected a number\n\
             optimizer:1:13: unknown setting `momentun`, expected `lr`, `momentum`, `dampening`, `weight_decay`, \
             `nesterov` or `maximize`\n\
             optimizer:1:26: setting `lr` is given twice\n\
             optimizer:1:31: found `nesterov`, expected SETTING=VALUE\n"
        );
        assert_eq!(
            faults("lion:lr=1"),
            "optimizer:1:1: unknown optimizer `lion`, expected `sgd`, `adam`, `adamw`, `nadam`, `radam`, `adamax`, \
             `adagrad`, `adadelta`, `rmsprop` or `rprop`\n"
        );
        assert_eq!(faults("sgd:nesterov=true"), "optimizer:1:5: nesterov needs a momentum and no dampening\n");
        assert_eq!(
            faults("sgd:weight_decay=-1"),
            "optimizer:1:5: `weight_decay` is -1, expected a number of at least 0\n"
        );
        assert_eq!(
            faults("adam:lr=1,betas=0.9"),
            "optimizer:1:11: setting `betas` is `0.9`, expected two numbers such as 0.9/0.999\n"
        );
        assert_eq!(
            faults("adam:eps=-1,betas=0.9/1"),
            "optimizer:1:6: `eps` is -1, expected a number of at least 0\n\
             optimizer:1:13: `betas` are 0.9/1, expected numbers in [0, 1)\n"
        );
        let found = OptimizerSpec::from(Rprop::default().etas((0.5, 0.9))).check().expect_err("must grow");
        assert_eq!(found[0].to_string(), "rprop: `etas` are 0.5/0.9, expected a number in (0, 1) and one above 1");
    }
}
