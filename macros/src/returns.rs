//! What a function returns: by which future, whether it is a `Result`, and what it borrows.

use crate::function::{Shape, tidy, ungroup};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{Error, GenericArgument, Path, PathArguments, Result, ReturnType, Signature, Type, TypeParamBound};

/// The future a function makes, and what that resolves to.
pub(crate) fn shape(sig: &Signature) -> Result<(Shape, Type)> {
    let name = &sig.ident;
    let returned = match &sig.output {
        ReturnType::Type(_, ty) => Some(ungroup(ty)),
        ReturnType::Default => None,
    };
    if sig.asyncness.is_some() {
        let Some(output) = returned else {
            return Err(Error::new(name.span(), unit_message()));
        };
        return Ok((Shape::Async, output.clone()));
    }
    let future = returned.and_then(|ty| match ty {
        Type::ImplTrait(bounds) => future_output(bounds.bounds.iter()).map(|output| (Shape::ImplFuture, output)),
        Type::Path(path) => boxed_future(&path.path),
        _ => None,
    });
    future.ok_or_else(|| {
        let message = format!(
            "`#[resilient]` needs an `async fn` (or a function returning `impl Future`); `{name}` is synchronous and could neither be timed \
             out nor cancelled. Make it `async`, or run it inside one with `tokio::task::spawn_blocking`"
        );
        Error::new(sig.fn_token.span, message)
    })
}

/// `X` of `Future<Output = X>` among the bounds.
fn future_output<'a>(bounds: impl Iterator<Item = &'a TypeParamBound>) -> Option<Type> {
    for bound in bounds {
        let TypeParamBound::Trait(bound) = bound else { continue };
        let Some(last) = bound.path.segments.last().filter(|last| last.ident == "Future") else { continue };
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { continue };
        for argument in &arguments.args {
            if let GenericArgument::AssocType(assoc) = argument
                && assoc.ident == "Output"
            {
                return Some(assoc.ty.clone());
            }
        }
    }
    None
}

/// `Pin<Box<dyn Future<Output = X>>>`, `BoxFuture<'_, X>`.
fn boxed_future(path: &Path) -> Option<(Shape, Type)> {
    let last = path.segments.last()?;
    let arguments = type_arguments(&last.arguments);
    match last.ident.to_string().as_str() {
        "BoxFuture" | "LocalBoxFuture" => arguments.into_iter().next().map(|output| (Shape::Boxed(None), output)),
        "Pin" => {
            let Some(Type::Path(inside)) = arguments.first() else { return None };
            let mut box_path = inside.path.clone();
            let last = box_path.segments.last_mut()?;
            if last.ident != "Box" {
                return None;
            }
            let Some(Type::TraitObject(object)) = type_arguments(&last.arguments).into_iter().next() else { return None };
            last.arguments = PathArguments::None;
            future_output(object.bounds.iter()).map(|output| (Shape::Boxed(Some(box_path)), output))
        }
        _ => None,
    }
}

fn type_arguments(arguments: &PathArguments) -> Vec<Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return Vec::new() };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    types.collect()
}

/// The type arguments of a type that is named `..Result`.
pub(crate) fn result_arguments(ty: &Type) -> Option<Vec<Type>> {
    let Type::Path(path) = ungroup(ty) else { return None };
    let last = path.path.segments.last()?;
    last.ident.to_string().ends_with("Result").then(|| type_arguments(&last.arguments))
}

fn unit_message() -> &'static str {
    "`#[resilient]` needs a `Result`: this function returns `()`, so no policy could tell a failure from a success. Return `Result<(), E>`"
}

/// By a list of what is certainly none: an alias of `Result` may have any name.
pub(crate) fn not_a_result(ty: &Type) -> Option<Error> {
    const PLAIN: &[&str] = &[
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128", "usize",
        "String", "Vec",
    ];
    let ty = ungroup(ty);
    let name = match ty {
        Type::Tuple(tuple) if tuple.elems.is_empty() => return Some(Error::new(ty.span(), unit_message())),
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        Type::Tuple(_) | Type::Reference(_) | Type::Array(_) | Type::Slice(_) | Type::ImplTrait(_) | Type::Ptr(_) | Type::FnPtr(_) => {
            String::from("str")
        }
        _ => return None,
    };
    if name == "Option" {
        let message = "`#[resilient]` needs a `Result`; is `None` a failure here? If so return `.ok_or(...)`, if not return `Ok(option)`";
        return Some(Error::new(ty.span(), message));
    }
    PLAIN.contains(&name.as_str()).then(|| {
        let shown = tidy(ty);
        let message = format!(
            "`#[resilient]` needs a `Result`, and this function returns `{shown}`; return `Result<{shown}, E>` with an `E` that is \
             `From<steadfast::Rejected>`"
        );
        Error::new(ty.span(), message)
    })
}

pub(crate) type NamedLifetimes = Vec<(String, Span)>;

/// Where a type has a reference without a name, and the lifetimes with one. What functions in it take and return is their affair.
pub(crate) fn lifetimes(tokens: TokenStream) -> (Option<Span>, NamedLifetimes) {
    let (mut elided, mut named) = (None, Vec::new());
    let mut tokens = tokens.into_iter().peekable();
    let mut callable = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                if let Some(TokenTree::Ident(name)) = tokens.next() {
                    match name.to_string().as_str() {
                        "_" => elided = elided.or(Some(name.span())),
                        "static" => {}
                        other => named.push((other.to_owned(), name.span())),
                    }
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let has_name = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                if !has_name {
                    elided = elided.or(Some(punct.span()));
                }
            }
            TokenTree::Ident(ident) => {
                callable = matches!(ident.to_string().as_str(), "fn" | "Fn" | "FnMut" | "FnOnce");
                continue;
            }
            TokenTree::Group(group) if !callable => {
                let (inside, names) = lifetimes(group.stream());
                elided = elided.or(inside);
                named.extend(names);
            }
            _ => {}
        }
        callable = false;
    }
    (elided, named)
}
