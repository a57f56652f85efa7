//! The attribute `#[resilient]` of `steadfast`. Use it through that crate, which re-exports it and which its output refers to.

mod check;
mod expand;
mod function;
mod options;
mod suggest;
mod value;

use function::Function;
use options::Options;
use proc_macro2::TokenStream;
use syn::{Error, Result};

/// Makes an `async fn` resilient.
#[proc_macro_attribute]
pub fn resilient(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    let output = attribute(options.into(), item.clone()).unwrap_or_else(|error| {
        // The item itself stays, so that tools go on knowing it, and nobody complains that it is missing.
        let mut output = error.to_compile_error();
        output.extend(item);
        output
    });
    output.into()
}

fn attribute(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (options, function) = match (Options::parse(options), Function::parse(item)) {
        (Ok(options), Ok(function)) => (options, function),
        (options, function) => return Err(both(options.err(), function.err())),
    };
    check::check(&options, &function)?;
    Ok(expand::expand(&options, &function))
}

fn both(first: Option<Error>, second: Option<Error>) -> Error {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.combine(second);
            first
        }
        (Some(error), None) | (None, Some(error)) => error,
        (None, None) => Error::new(proc_macro2::Span::call_site(), "unknown mistake"),
    }
}
