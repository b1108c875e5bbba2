//! Hyper-parameters by name: one macro makes the struct, its defaults, setters and text form of an optimizer.

/// The hyper-parameters of an optimizer by name.
pub trait Settings {
    /// The optimizer's name in text: `adam`.
    fn name(&self) -> &'static str;

    /// Names of all hyper-parameters, in PyTorch's order.
    fn names(&self) -> &'static [&'static str];

    /// Each hyper-parameter as text that [`Settings::set`] reads back the same.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Sets the hyper-parameter called `name` from text.
    ///
    /// # Errors
    /// What was expected instead; without a text if there is no such hyper-parameter.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Option<&'static str>>;

    /// The learning rate.
    fn lr(&self) -> f64;
}

/// A type of hyper-parameters.
pub(crate) trait Setting: Sized {
    /// What its text is, for diagnostics.
    const EXPECTED: &str;

    fn read(text: &str) -> Option<Self>;

    fn print(&self) -> String;
}

impl Setting for f64 {
    const EXPECTED: &str = "a number";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    const EXPECTED: &str = "true or false";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for (f64, f64) {
    const EXPECTED: &str = "two numbers such as 0.9/0.999";

    fn read(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('/')?;
        Some((f64::read(first.trim())?, f64::read(second.trim())?))
    }

    fn print(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
}

/// Defines the hyper-parameters of an optimizer.
macro_rules! settings {
    (
        $(#[$doc:meta])*
        pub struct $Name:ident = $text:literal {
            $( $(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $Name {
            $( $(#[$field_doc])* pub $field: $ty, )*
        }

        impl Default for $Name {
            /// PyTorch's defaults.
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $Name {
            /// Learning rate `lr`, and PyTorch's defaults for the rest.
            pub fn new(lr: f64) -> Self {
                Self { lr, ..Self::default() }
            }

            $(
                $(#[$field_doc])*
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }

        impl crate::settings::Settings for $Name {
            fn name(&self) -> &'static str {
                $text
            }

            fn names(&self) -> &'static [&'static str] {
                &[$( stringify!($field) ),*]
            }

            fn settings(&self) -> Vec<(&'static str, String)> {
                vec![$( (stringify!($field), crate::settings::Setting::print(&self.$field)) ),*]
            }

            fn set(&mut self, name: &str, value: &str) -> Result<(), Option<&'static str>> {
                match name {
                    $(
                        stringify!($field) => {
                            let expected = <$ty as crate::settings::Setting>::EXPECTED;
                            self.$field = crate::settings::Setting::read(value).ok_or(Some(expected))?;
                        }
                    )*
                    _ => return Err(None),
                }
                Ok(())
            }

            fn lr(&self) -> f64 {
                self.lr
            }
        }
    };
}

pub(crate) use settings;
