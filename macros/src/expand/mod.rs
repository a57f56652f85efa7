//! What the attribute makes of the function.
//!
//! ```text
//! async fn f(url: String, log: &mut Vec<u8>) -> Result<T, E> {
//!     static SITE: Site = Site::new("module::f");                      // one pipeline, made at the first call
//!     let result = match SITE.pipeline(|name| Pipeline::builder(name).retry(..)) {
//!         Err(misconfigured) => ..,
//!         Ok(pipeline) => {
//!             let key = key(&url);                                     // options: the arguments are all still here
//!             let (url_, log_) = (&url, &Lend::new(log));              // what each attempt takes its own from
//!             let operation = move || async move {
//!                 let url = clone_arg(url_);
//!                 let mut lent = log_.take(); let log = lent.borrow();
//!                 if false { let never: Result<T, E> = loop {}; return never }    // so that mistakes are found where they are
//!                 /* the body */
//!             };
//!             call(request(pipeline).key(key.as_str()), operation).await
//!         }
//!     };
//!     finish(result, flatten)
//! }
//! ```
//!
//! Names of ours are hygienic (`mixed_site`), paths are absolute, so nothing of the function's own is in the way.

mod arguments;

use crate::function::{Argument, Function, Shape, Travel, is_lint};
use crate::options::{Given, Options, string};
use crate::pipeline;
use crate::rewrite::{erase_impl, erase_lifetimes, rename_self};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, FnArg, LitStr, ReceiverKind, ReturnType, Signature, Type};

/// The function, made resilient.
pub(crate) fn expand(options: &Options, function: &Function) -> TokenStream {
    Expansion::new(options, function).function()
}

struct Expansion<'a> {
    options: &'a Options,
    function: &'a Function,
    /// The path of the crate, and of what is there for us alone.
    krate: TokenStream,
    private: TokenStream,
    arguments: Vec<Argument>,
    receiver: Option<Travel>,
    /// Whether the arguments must outlive an attempt.
    again: bool,
}

/// An identifier that nobody else can mean.
pub(crate) fn own(name: &str) -> Ident {
    format_ident!("__steadfast_{name}", span = Span::mixed_site())
}

/// The same tokens, shown to be where `span` is.
fn at(span: Span, tokens: &TokenStream) -> TokenStream {
    let moved = tokens.clone().into_iter().map(|mut token| {
        if let TokenTree::Group(group) = &token {
            let mut inside = Group::new(group.delimiter(), at(span, &group.stream()));
            inside.set_span(group.span().located_at(span));
            return TokenTree::Group(inside);
        }
        token.set_span(token.span().located_at(span));
        token
    });
    moved.collect()
}

impl<'a> Expansion<'a> {
    fn new(options: &'a Options, function: &'a Function) -> Self {
        let krate = options.krate.as_ref().map_or_else(|| quote!(::steadfast), ToTokens::to_token_stream);
        let shared = options.share.as_ref().map(|given| given.value.as_slice()).unwrap_or_default();
        let fallback_takes_arguments = options.fallback.as_ref().is_some_and(|given| matches!(given.value, Expr::Path(_)));
        Self {
            options,
            function,
            private: quote!(#krate::__private),
            krate,
            arguments: function.arguments(shared, fallback_takes_arguments),
            receiver: function.receiver(shared),
            again: options.runs_again() || fallback_takes_arguments,
        }
    }

    fn function(&self) -> TokenStream {
        let Function { attrs, before, inner_attrs, shape, .. } = self.function;
        let sig = if self.again { self.signature() } else { self.function.sig.clone() };
        let story = self.story();
        let block = match shape {
            Shape::Async => story,
            Shape::ImplFuture => quote!(async move { #story }),
            Shape::Boxed(Some(path)) => quote!(#path::pin(async move { #story })),
            Shape::Boxed(None) => {
                let private = &self.private;
                quote!(#private::Box::pin(async move { #story }))
            }
        };
        let mut block = Group::new(Delimiter::Brace, quote!(#inner_attrs #block));
        block.set_span(Span::mixed_site().located_at(self.function.braces));
        quote!(#(#attrs)* #before #sig #block)
    }

    /// The signature with a plain name for every argument: patterns and `mut` are bound in each attempt anew.
    fn signature(&self) -> Signature {
        let mut sig = self.function.sig.clone();
        let mut arguments = self.arguments.iter();
        for input in &mut sig.inputs {
            match input {
                FnArg::Receiver(receiver) => {
                    if matches!(receiver.kind, ReceiverKind::Value | ReceiverKind::Typed(..)) {
                        receiver.mutability = None;
                    }
                }
                FnArg::Typed(typed) => {
                    let Some(argument) = arguments.next() else { continue };
                    if argument.travel != Travel::Stay {
                        let name = &argument.outer;
                        *typed.pat = syn::parse_quote!(#name);
                    }
                    if argument.is_bound_again() {
                        typed.attrs.retain(|attr| !is_lint(attr));
                    }
                }
            }
        }
        sig
    }

    /// The statements of the new body.
    fn story(&self) -> TokenStream {
        let private = &self.private;
        let pipeline = own("pipeline");
        let (result, stash) = (own("result"), own("answer"));
        let call = self.call();
        let result_of_call = match (&self.options.pipeline, &self.options.by_name) {
            (Some(given), _) => {
                let place = self.place(&given.value);
                quote! {
                    #place
                    let #result = { #call };
                }
            }
            (None, Some(given)) => {
                let (found, rejected) = (own("found"), own("rejected"));
                let looked_up = self.look_up(&given.value);
                quote! {
                    let #found = #looked_up;
                    let #result = match &#found {
                        ::core::result::Result::Ok(#pipeline) => { #call }
                        ::core::result::Result::Err(#rejected) => #private::rejected(#rejected),
                    };
                }
            }
            (None, None) => {
                let site = own("SITE");
                let site = Ident::new(&site.to_string().to_uppercase(), Span::mixed_site());
                let (name, builder, error) = (self.name(), pipeline::builder(&self.krate, self.options), own("error"));
                let of = own("name");
                quote! {
                    static #site: #private::Site = #private::Site::new(#name);
                    let #result = match #site.pipeline(|#of| #private::Pipeline::#builder) {
                        ::core::result::Result::Ok(#pipeline) => { #call }
                        ::core::result::Result::Err(#error) => ::core::result::Result::Err(#error),
                    };
                }
            }
        };
        let map = self.map();
        let patterns = self.patterns_for_options();
        if self.options.fallback.is_some() {
            quote! {
                #patterns
                let mut #stash = ::core::option::Option::None;
                #result_of_call
                #private::finish_or(#result, #stash, #map)
            }
        } else {
            quote! {
                #patterns
                #result_of_call
                #private::finish(#result, #map)
            }
        }
    }

    /// The call, from its options to its end: `Result<T, Error<E>>`. What is only needed to begin it lives in a block, so that the
    /// future need not hold it.
    fn call(&self) -> TokenStream {
        let private = &self.private;
        let (pipeline, request, operation, stash) = (own("pipeline"), own("request"), own("operation"), own("answer"));
        let (mut values, setters) = self.options();
        let travel = self.travel();
        let attempt = self.operation();
        let judge = self.judge();
        let fallback = self.options.fallback.as_ref().map(|given| self.fallback(&given.value));
        // A pipeline that lives elsewhere may hedge, and what is lent is there for one attempt at a time.
        let in_turn = self.lends() && (self.options.pipeline.is_some() || self.options.by_name.is_some());
        let plain = setters.is_empty() && judge.is_none() && !in_turn;
        let start = match (plain, in_turn) {
            (true, _) => quote!(#pipeline),
            (false, true) => quote!(#private::request_in_turn(#pipeline) #setters),
            (false, false) => quote!(#private::request(#pipeline) #setters),
        };
        let (mut kept, cache) = (TokenStream::new(), own("KEPT"));
        let cache = match self.options.cached_in {
            Some(_) => own("cache"),
            None => Ident::new(&cache.to_string().to_uppercase(), Span::mixed_site()),
        };
        if let Some(given) = &self.options.cache {
            let (name, settings) = (self.name(), pipeline::cache(private, &given.value));
            kept = quote!(static #cache: #private::cache::Kept = #private::cache::Kept::new(#name, || #settings););
        }
        if self.options.cached.is_some() {
            let name = self.name();
            kept = quote!(static #cache: #private::cache::KeptByPipeline = #private::cache::KeptByPipeline::new(#name););
        }
        let cached = self.options.cache.is_some() || self.options.cached.is_some() || self.options.cached_in.is_some();
        if let Some(Given { value, .. }) = &self.options.cached_in {
            let (place, own_place) = (borrowed(value), own("kept"));
            let (private, mut there) = (at(value.span(), private), own_place.clone());
            there.set_span(there.span().located_at(value.span()));
            let found = quote_spanned!(Span::call_site().located_at(value.span())=> #private::cache::place(#there));
            values.extend(quote! {
                let #own_place = #place;
                let #cache = #found;
            });
        }
        let call = match (judge, fallback) {
            (None, None) if cached => quote!(#private::cache::call(#request, &#cache, #operation)),
            (Some(judge), None) if cached => {
                quote!(#private::cache::call_judged(#request, &#cache, #operation, #judge))
            }
            (None, Some(fallback)) if cached => {
                quote!(#private::cache::call_or_else(#request, &#cache, #operation, &mut #stash, #fallback))
            }
            (Some(judge), Some(fallback)) if cached => {
                quote!(#private::cache::call_judged_or_else(#request, &#cache, #operation, #judge, &mut #stash, #fallback))
            }
            (None, None) if plain => quote!(#private::Pipeline::call(#request, #operation)),
            (None, None) => quote!(#private::call(#request, #operation)),
            (Some(judge), None) => quote!(#private::call_judged(#request, #operation, #judge)),
            (None, Some(fallback)) if plain => quote!(#private::plain_or_else(#request, #operation, &mut #stash, #fallback)),
            (None, Some(fallback)) => quote!(#private::call_or_else(#request, #operation, &mut #stash, #fallback)),
            (Some(judge), Some(fallback)) => {
                quote!(#private::call_judged_or_else(#request, #operation, #judge, &mut #stash, #fallback))
            }
        };
        quote! {
            #kept
            #values
            #travel
            ({
                let #request = #start;
                let #operation = #attempt;
                #call
            })
            .await
        }
    }

    /// `key` and `priority`: worked out once, before the arguments go anywhere; and how the request is told of them.
    fn options(&self) -> (TokenStream, TokenStream) {
        let (private, krate) = (&self.private, &self.krate);
        let (key, priority) = (own("key"), own("priority"));
        let (mut values, mut setters) = (TokenStream::new(), TokenStream::new());
        if let Some(Given { value, .. }) = &self.options.key {
            let text = match string(value) {
                Some(format) => quote_spanned!(format.span()=> &::core::format_args!(#format)),
                None => borrowed(value),
            };
            values.extend(quote!(let #key = #private::key(#text);));
            setters.extend(quote!(.key(#key.as_str())));
        }
        if let Some(Given { value, .. }) = &self.options.priority {
            values.extend(quote! {
                let #priority: #krate::Priority = {
                    #[allow(unused_imports, clippy::enum_glob_use)]
                    use #krate::Priority::*;
                    #value
                };
            });
            setters.extend(quote!(.priority(#priority)));
        }
        (values, setters)
    }

    /// A pipeline that lives elsewhere. Where its place may be inside what is lent to the attempts, a handle of its own.
    fn place(&self, place: &Expr) -> TokenStream {
        let (span, own_place, pipeline) = (place.span(), own("place"), own("pipeline"));
        let borrowed = borrowed(place);
        let private = at(span, &self.private);
        let mut there = own_place.clone();
        there.set_span(there.span().located_at(span));
        let found = quote_spanned!(Span::call_site().located_at(span)=> #private::pipeline(#there));
        let found = if self.lends() { quote!(&#private::Pipeline::clone(#found)) } else { found };
        quote! {
            let #own_place = #borrowed;
            let #pipeline = #found;
        }
    }

    /// Whether attempts borrow an argument mutably.
    fn lends(&self) -> bool {
        self.receiver == Some(Travel::Lend) || self.arguments.iter().any(|argument| argument.travel == Travel::Lend)
    }

    /// The pipeline of this name, of the registry in scope: a handle, looked up anew in each call, so it follows a reload.
    fn look_up(&self, name: &LitStr) -> TokenStream {
        let registry = match &self.options.registry {
            Some(given) => borrowed(&given.value),
            None => {
                let krate = &self.krate;
                quote_spanned!(name.span()=> &#krate::a_pipeline_by_name_needs_a_static_REGISTRY_in_scope_or_registry_equals_EXPR!())
            }
        };
        let span = self.options.registry.as_ref().map_or_else(|| name.span(), |given| given.value.span());
        let (private, mut place) = (at(span, &self.private), own("place"));
        place.set_span(place.span().located_at(span));
        let found = quote_spanned!(Span::call_site().located_at(span)=> #private::find(#place, #name));
        let bound = own("place");
        quote!({
            let #bound = #registry;
            #found
        })
    }

    /// The closure that makes one attempt.
    fn operation(&self) -> TokenStream {
        if self.again {
            let attempt = self.attempt();
            quote!(move || #attempt)
        } else {
            let once = own("once");
            quote!(move || (#once.take())())
        }
    }

    /// One attempt: its arguments, then the body.
    fn attempt(&self) -> TokenStream {
        let bindings = if self.again { self.bindings() } else { TokenStream::new() };
        let private = &self.private;
        let statements = match self.receiver {
            Some(_) if self.again => rename_self(self.function.statements.clone()),
            _ => self.function.statements.clone(),
        };
        let never = self.fake_return();
        let inside = match &self.function.shape {
            Shape::Async => quote!(#bindings #never #statements),
            shape => {
                let mut body = Group::new(Delimiter::Brace, statements);
                body.set_span(self.function.braces);
                let output = erase_impl(&self.body_output());
                let make = match (shape, &self.function.sig.output) {
                    (Shape::Boxed(_), ReturnType::Type(_, ty)) => {
                        let ty = erase_lifetimes(ty.to_token_stream());
                        quote!(move || -> #ty #body)
                    }
                    _ => quote!(move || #body),
                };
                quote!(#bindings #never #private::made::<#output, _>(#make).await)
            }
        };
        let mut block = Group::new(Delimiter::Brace, inside);
        block.set_span(Span::mixed_site().located_at(self.function.braces));
        quote!(async move #block)
    }

    /// Tells the compiler what the body returns before it reads the body, so that its complaints are about the body.
    fn fake_return(&self) -> TokenStream {
        let output = erase_impl(&self.body_output());
        let never = own("never");
        let span = Span::mixed_site().located_at(output.span());
        quote_spanned! {span=>
            #[allow(
                unknown_lints,
                unreachable_code,
                clippy::diverging_sub_expression,
                clippy::empty_loop,
                clippy::let_unit_value,
                clippy::let_with_type_underscore,
                clippy::needless_return,
                clippy::unreachable
            )]
            if false {
                let #never: #output = loop {};
                return #never;
            }
        }
    }

    /// The type of the body: the function's own, unless `err = ..` says otherwise.
    fn body_output(&self) -> Type {
        match &self.options.err {
            Some(Given { value, .. }) => {
                let ok = self.function.ok_type().map_or_else(|| quote!(_), |ok| ok.to_token_stream());
                syn::parse_quote!(::core::result::Result<#ok, #value>)
            }
            None => self.function.output.clone(),
        }
    }

    fn judge(&self) -> Option<TokenStream> {
        let private = &self.private;
        if let Some(given) = &self.options.classify {
            return Some(given.value.to_token_stream());
        }
        let when = &self.options.retry.as_ref()?.value.when.as_ref()?.value;
        let error = own("error");
        Some(quote!(|#error| #private::when(#when, #error)))
    }

    /// From the call's error to the function's.
    fn map(&self) -> TokenStream {
        let private = &self.private;
        if let Some(given) = &self.options.map_err {
            return given.value.to_token_stream();
        }
        let tokens = self.function.error_span();
        let span = tokens.into_iter().next().map_or_else(Span::call_site, |first| first.span());
        let name = if self.options.err.is_some() { "convert" } else { "flatten" };
        let name = Ident::new(name, Span::call_site().located_at(span));
        let (private, colons) = (at(span, private), at(span, &quote!(::)));
        quote!(#private #colons #name)
    }

    fn self_span(&self) -> Span {
        self.function.sig.receiver().map_or_else(Span::call_site, |receiver| receiver.self_token.span)
    }

    fn name(&self) -> TokenStream {
        match &self.options.name {
            Some(given) => given.value.to_token_stream(),
            None => {
                let name = self.function.sig.ident.to_string();
                let name = format!("::{}", name.trim_start_matches("r#"));
                quote!(::core::concat!(::core::module_path!(), #name))
            }
        }
    }
}

/// `&EXPR`, in parentheses where they are needed.
fn borrowed(expr: &Expr) -> TokenStream {
    match expr {
        Expr::Path(_) | Expr::Field(_) | Expr::MethodCall(_) | Expr::Call(_) | Expr::Macro(_) | Expr::Lit(_) | Expr::Index(_) => {
            quote_spanned!(expr.span()=> &#expr)
        }
        other => quote_spanned!(other.span()=> &(#other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().expect("tokens")
    }

    #[test]
    fn h130_with_a_path_of_its_own_the_crate_is_not_named() {
        let item = "async fn f(a: String, b: &mut u8, (c, d): (u8, u8)) -> Result<u8, E> { Ok(1) }";
        let options = "preset = http, retry(3, budget = 10%), circuit_breaker(50%), rate_limit(1/s), bulkhead(1), adaptive(1..9, aimd), hedge(after = p95), key = a, priority = High, \
                       fallback = plan_b, crate = crate::deps::resilience";
        let function = Function::parse(tokens(item)).unwrap_or_else(|e| panic!("{e}"));
        let options = Options::parse(tokens(options)).unwrap_or_else(|e| panic!("{e}"));
        let expanded = expand(&options, &function).to_string();
        assert!(!expanded.contains(":: steadfast"), "{expanded}");
        assert!(expanded.contains("crate :: deps :: resilience :: __private"), "{expanded}");
    }

    #[test]
    fn every_output_is_a_function_again() {
        let items = [
            "pub async fn f(a: &str, mut b: String, (c, d): (u8, u8), e: &mut Vec<u8>) -> Result<impl Sized, E> { Ok(()) }",
            "async fn f(&mut self, x: u8) -> Result<u8, E> { self.x() }",
            "fn f(s: String) -> impl Future<Output = Result<u8, E>> + Send { async move { Ok(1) } }",
            "fn f<'a>(&'a self) -> Pin<Box<dyn Future<Output = Result<u8, E>> + Send + 'a>> where Self: 'a { Box::pin(async { Ok(1) }) }",
        ];
        let options = [
            "retry(3, exponential(100ms..5s), jitter = full, when = is_transient, budget = 20%), circuit_breaker(50%, slow = 1s), key = \"{a}\"",
            "timeout = 2s",
            "pipeline = P, priority = High, fallback = plan_b, map_err = |e| e.into()",
            "pipeline = \"p\", key = \"k\", fallback = plan_b",
            "pipeline = \"p\", registry = self.registry",
            "adaptive(5..200, gradient), attempt_timeout = 1s",
            "rate_limit(1/min, burst = 2, wait = 3s), bulkhead(4, queue = 5, wait = 6s), fallback = |e| async { Ok(1) }, err = io::Error",
        ];
        for item in items {
            for given in options {
                let function = Function::parse(tokens(item)).unwrap_or_else(|e| panic!("{e}"));
                let options = Options::parse(tokens(given)).unwrap_or_else(|e| panic!("{e}"));
                let expanded = expand(&options, &function);
                if let Err(error) = syn::parse2::<syn::ImplItemFn>(expanded.clone()) {
                    panic!("{error}\n{expanded}");
                }
            }
        }
    }
}
