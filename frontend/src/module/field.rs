//! Which fields of a struct are members, decided by their types.
//!
//! The derive asks every field `(&Probe(&self.field)).collect(name, &mut members)`. Method lookup finds
//! [`Registered`], implemented for a probe of a [`Field`], before it takes another reference and finds [`Plain`],
//! implemented for any probe: so a field that can hold members is registered and any other is passed over, without
//! an attribute.

use std::rc::Rc;

use super::{Member, Members, Module, ModuleKey};
use crate::parameter::{Buffer, Parameter, Training};

/// A type that, as a field, is one or several members.
pub trait Field {
    /// Adds the members under `name`.
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>);
}

impl<M: Module> Field for M {
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>) {
        members.push((name.to_string(), Member::Module(self)));
    }
}

impl Field for Parameter {
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>) {
        members.push((name.to_string(), Member::Parameter(self)));
    }
}

impl Field for Buffer {
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>) {
        members.push((name.to_string(), Member::Buffer(self)));
    }
}

impl Field for Training {
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>) {
        members.push((name.to_string(), Member::Training(self)));
    }
}

impl<T: Field> Field for Option<T> {
    fn register<'a>(&'a self, name: &str, members: &mut Members<'a>) {
        if let Some(field) = self {
            field.register(name, members);
        }
    }
}

/// A list of members is a module that names them `0`, `1`, ...: PyTorch's `ModuleList` and `ParameterList`.
impl<T: Field> Module for Vec<T> {
    fn members(&self) -> Members<'_> {
        numbered(self)
    }

    fn type_name(&self) -> String {
        "ModuleList".to_string()
    }
}

impl<T: Field, const N: usize> Module for [T; N] {
    fn members(&self) -> Members<'_> {
        numbered(self)
    }

    fn type_name(&self) -> String {
        "ModuleList".to_string()
    }
}

fn numbered<T: Field>(fields: &[T]) -> Members<'_> {
    let mut members = Vec::with_capacity(fields.len());
    for (idx, field) in fields.iter().enumerate() {
        field.register(&idx.to_string(), &mut members);
    }
    members
}

/// Pointers stand for what they point to.
macro_rules! transparent {
    ($($pointer:ident),*) => {
        $(
            impl<M: Module + ?Sized> Module for $pointer<M> {
                fn members(&self) -> Members<'_> {
                    (**self).members()
                }

                fn type_name(&self) -> String {
                    (**self).type_name()
                }

                fn extra_repr(&self) -> String {
                    (**self).extra_repr()
                }

                fn key(&self) -> ModuleKey {
                    (**self).key()
                }
            }
        )*
    };
}

transparent!(Box, Rc);

/// A field under examination by the derive.
#[derive(Debug)]
pub struct Probe<'a, T: ?Sized>(pub &'a T);

/// Found first by method lookup, for fields that hold members.
pub trait Registered<'a> {
    /// Adds the field's members under `name`.
    fn collect(&self, name: &str, members: &mut Members<'a>);
}

impl<'a, T: Field> Registered<'a> for Probe<'a, T> {
    fn collect(&self, name: &str, members: &mut Members<'a>) {
        self.0.register(name, members);
    }
}

/// Found second, for all other fields.
pub trait Plain<'a> {
    /// Does nothing.
    fn collect(&self, name: &str, members: &mut Members<'a>);
}

impl<'a, T: ?Sized> Plain<'a> for &Probe<'a, T> {
    fn collect(&self, _: &str, _: &mut Members<'a>) {}
}
