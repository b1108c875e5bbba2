//! `#[derive(Module)]` for nnc.
//!
//! For a struct it writes: the `Module` implementation, which lists the fields that can hold members (decided by type,
//! see `frontend::module::field`); `Display`, the printed tree; and an inherent `forward` that tells the trace which
//! module runs and calls `Forward::forward`, so that every traced op knows its module path without a word from the
//! user.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Member, parse_macro_input, parse_quote};

/// Implements `Module` and `Display`, and adds the traced `forward`.
///
/// Struct attributes, in `#[module(...)]`:
/// - `name = "..."`: the name that the tree prints, instead of the struct's.
/// - `custom_forward`: no `forward` is added; for modules whose own `forward` has another signature.
/// - `repr = "dim={}", self.dim`: the configuration that the tree prints, as arguments of `format!`.
/// - `crate = path`: where nnc's front end is found.
///
/// Field attributes:
/// - `#[module(skip)]`: the field is not a member even if its type could be one. A field of a type parameter that is no
///   module (a closure, say) needs this.
/// - `#[module(name = "...")]`: the member's name, instead of the field's.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

#[derive(Default)]
struct StructOptions {
    name: Option<String>,
    custom_forward: bool,
    repr: Option<TokenStream>,
    krate: Option<syn::Path>,
}

#[derive(Default)]
struct FieldOptions {
    name: Option<String>,
    skip: bool,
}

fn struct_options(input: &DeriveInput) -> syn::Result<StructOptions> {
    let mut options = StructOptions::default();
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            } else if meta.path.is_ident("custom_forward") {
                options.custom_forward = true;
            } else if meta.path.is_ident("repr") {
                // The rest of the attribute is the format and its arguments.
                options.repr = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("crate") {
                options.krate = Some(meta.value()?.call(syn::Path::parse_mod_style)?);
            } else {
                return Err(
                    meta.error("expected `name = \"...\"`, `custom_forward`, `crate = path` or `repr = \"...\", ...`")
                );
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn field_options(field: &syn::Field) -> syn::Result<FieldOptions> {
    let mut options = FieldOptions::default();
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse::<syn::LitStr>()?.value());
            } else if meta.path.is_ident("skip") {
                options.skip = true;
            } else {
                return Err(meta.error("expected `skip` or `name = \"...\"`"));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "`Module` is derived for structs; implement it by hand here"));
    };
    let options = struct_options(input)?;
    let krate = options.krate.clone().map_or_else(front_end, |path| quote!(#path));
    let ident = &input.ident;
    let type_name = options.name.clone().unwrap_or_else(|| ident.to_string());

    let mut collects = Vec::new();
    let mut member_types = Vec::new();
    let fields = match &data.fields {
        Fields::Named(fields) => Some(&fields.named),
        Fields::Unnamed(fields) => Some(&fields.unnamed),
        Fields::Unit => None,
    };
    for (idx, field) in fields.into_iter().flatten().enumerate() {
        let options = field_options(field)?;
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(syn::Index { index: idx as u32, span: field.span() }),
        };
        let default_name = match &field.ident {
            Some(ident) => ident.to_string().trim_start_matches("r#").to_string(),
            None => idx.to_string(),
        };
        let name = options.name.unwrap_or(default_name);
        if !options.skip {
            member_types.push(field.ty.to_token_stream());
            collects.push(quote!((&#krate::module::Probe(&self.#member)).collect(#name, &mut members);));
        }
    }
    // As other derives do, this one asks of a type parameter what it needs: a parameter that a field is made of must be
    // something that can be a member, or it would be left out without a word.
    let mut generics = input.generics.clone();
    let parameters: Vec<Ident> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    for parameter in parameters {
        if member_types.iter().any(|ty| mentions(ty.clone(), &parameter)) {
            generics.make_where_clause().predicates.push(parse_quote!(#parameter: #krate::module::Field));
        }
    }
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();

    let extra_repr = options.repr.as_ref().map(|repr| {
        quote! {
            fn extra_repr(&self) -> ::std::string::String {
                ::std::format!(#repr)
            }
        }
    });
    let forward = (!options.custom_forward).then(|| {
        // The marker cannot be a name of the struct's own parameters.
        let marker = format_ident!("__NncMarker", span = Span::mixed_site());
        quote! {
            #[automatically_derived]
            #[allow(dead_code, unreachable_pub, missing_docs)]
            impl #impl_generics #ident #ty_generics #where_clause {
                /// Runs the module: [`Forward::forward`] under the module's path in the trace.
                #[track_caller]
                pub fn forward<#marker>(&self, x: &#krate::Tensor) -> #krate::Tensor
                where
                    Self: #krate::module::ForwardIf<#marker>,
                {
                    let _scope = #krate::trace::enter(#krate::module::Module::key(self));
                    #krate::module::ForwardIf::<#marker>::forward_traced(self, x)
                }
            }
        }
    });

    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #krate::module::Module for #ident #ty_generics #where_clause {
            #[allow(unused_imports, unused_mut, clippy::needless_borrow)]
            fn members(&self) -> #krate::module::Members<'_> {
                use #krate::module::{Plain as _, Registered as _};
                let mut members = ::std::vec::Vec::new();
                #(#collects)*
                members
            }

            fn type_name(&self) -> ::std::string::String {
                ::std::string::String::from(#type_name)
            }

            #extra_repr
        }

        #[automatically_derived]
        impl #impl_generics ::std::fmt::Display for #ident #ty_generics #where_clause {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                #krate::module::write_tree(self, f)
            }
        }

        #forward
    })
}

/// Whether `name` occurs in a type.
fn mentions(ty: TokenStream, name: &Ident) -> bool {
    ty.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Where the front end is found: in the package `nnc`, in the front-end crate by its own name, or in itself.
fn front_end() -> TokenStream {
    let own_name = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    match own_name.as_str() {
        "nnc-frontend" => quote!(::nnc_frontend),
        _ => quote!(::nnc::frontend),
    }
}
