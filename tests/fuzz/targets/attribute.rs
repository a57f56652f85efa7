//! `#[resilient(..)]` on anything: an answer or a compile error, never a panic, and the answer is Rust.
#![no_main]
// The sources of the macro crate, as it has them: their paths begin at `crate`.
#![allow(dead_code, reason = "not all of it is used from here")]

#[path = "../../../macros/src/check.rs"]
mod check;
#[path = "../../../macros/src/expand/mod.rs"]
mod expand;
#[path = "../../../macros/src/function.rs"]
mod function;
#[path = "../../../macros/src/options.rs"]
mod options;
#[path = "../../../macros/src/pipeline.rs"]
mod pipeline;
#[path = "../../../macros/src/policies.rs"]
mod policies;
#[path = "../../../macros/src/returns.rs"]
mod returns;
#[path = "../../../macros/src/rewrite.rs"]
mod rewrite;
#[path = "../../../macros/src/suggest.rs"]
mod suggest;
#[path = "../../../macros/src/value.rs"]
mod value;

use libfuzzer_sys::fuzz_target;
use proc_macro2::TokenStream;

// The options, a line, the item.
fuzz_target!(|text: &str| {
    let (options, item) = text.split_once('\n').unwrap_or((text, "async fn get(id: u64) -> Result<u32, Rejected> { Ok(1) }"));
    let (Ok(options), Ok(item)) = (options.parse::<TokenStream>(), item.parse::<TokenStream>()) else { return };
    // What is within a body is for the compiler to judge, so it may be anything.
    let sound = syn::parse2::<syn::ItemFn>(item.clone()).is_ok();
    let (options, item) = (options::Options::parse(options), function::Function::parse(item));
    let (Ok(options), Ok(item)) = (options, item) else { return };
    if check::check(&options, &item).is_ok() {
        let expanded = expand::expand(&options, &item);
        if sound {
            syn::parse2::<syn::File>(expanded.clone()).unwrap_or_else(|error| panic!("{error}: {expanded}"));
        }
    }
});
