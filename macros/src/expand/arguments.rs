//! How the arguments get from the function into each attempt, into the options, and into the fallback.

use super::{Expansion, at, own};
use crate::function::{Argument, Travel, simple_name, ungroup};
use crate::options::Options;
use crate::rewrite::by_ref;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Pat, ReceiverKind, Type};

impl Expansion<'_> {
    /// What the attempts take their arguments from.
    pub(super) fn travel(&self) -> TokenStream {
        let private = &self.private;
        if !self.again {
            let shared = self.arguments.iter().filter(|argument| argument.travel == Travel::Share);
            let lets = shared.map(|argument| {
                let Argument { outer, cfgs, .. } = argument;
                quote! {
                    #(#cfgs)*
                    #[allow(clippy::shadow_reuse, clippy::shadow_same, clippy::shadow_unrelated)]
                    let #outer = &#outer;
                }
            });
            let lets: TokenStream = lets.collect();
            let (once, attempt) = (own("once"), self.attempt());
            return quote! {
                #lets
                let #once = &#private::Once::new(move || #attempt);
            };
        }
        let mut all = TokenStream::new();
        let mut source = |from: Ident, value: TokenStream, cfgs: &[syn::Attribute], travel: Travel| {
            let value = match travel {
                Travel::Clone | Travel::Share => quote!(&#value),
                Travel::Lend => quote!(&#private::Lend::new(#value)),
                Travel::Copy | Travel::Stay => return,
            };
            all.extend(quote! {
                #(#cfgs)*
                #[allow(clippy::used_underscore_binding)]
                let #from = #value;
            });
        };
        if let Some(travel) = self.receiver {
            let receiver = Ident::new("self", self.self_span());
            source(own("from_self"), receiver.to_token_stream(), &[], travel);
        }
        for (number, argument) in self.arguments.iter().enumerate() {
            source(own(&format!("from_{number}")), argument.outer.to_token_stream(), &argument.cfgs, argument.travel);
        }
        all
    }

    /// The arguments of one attempt, bound as the function's own patterns say.
    pub(super) fn bindings(&self) -> TokenStream {
        let mut all = TokenStream::new();
        if let Some(travel) = self.receiver {
            let mutability = self.function.sig.receiver().filter(|_| travel != Travel::Lend).and_then(|receiver| match receiver.kind {
                ReceiverKind::Reference(..) => None,
                _ => receiver.mutability,
            });
            let (value, keep) = self.taken(&own("from_self"), travel, self.self_span());
            let name = own("self");
            all.extend(quote!(#keep let #mutability #name = #value;));
        }
        for (number, argument) in self.arguments.iter().enumerate() {
            if !argument.is_bound_again() {
                continue;
            }
            let Argument { pat, cfgs, lints, outer, travel, .. } = argument;
            let (value, keep) = match travel {
                Travel::Copy | Travel::Stay => (outer.to_token_stream(), TokenStream::new()),
                travel => self.taken(&own(&format!("from_{number}")), *travel, pat.span()),
            };
            let keep = (!keep.is_empty()).then(|| quote!(#(#cfgs)* #keep));
            all.extend(quote! {
                #keep
                #(#cfgs)*
                #[allow(clippy::shadow_reuse, clippy::shadow_same, clippy::shadow_unrelated)]
                #(#lints)*
                let #pat = #value;
            });
        }
        all
    }

    /// The value an attempt sees, and what it must keep meanwhile.
    fn taken(&self, from: &Ident, travel: Travel, span: Span) -> (TokenStream, TokenStream) {
        let private = at(span, &self.private);
        let mut from = from.clone();
        from.set_span(from.span().located_at(span));
        match travel {
            Travel::Clone => (quote_spanned!(Span::call_site().located_at(span)=> #private::clone_arg(#from)), TokenStream::new()),
            Travel::Lend => {
                let lent = own(&format!("lent{}", from.to_string().trim_start_matches("__steadfast_from")));
                (quote!(#lent.borrow()), quote!(let mut #lent = #from.take();))
            }
            Travel::Share | Travel::Copy | Travel::Stay => (quote!(#from), TokenStream::new()),
        }
    }

    /// A closure gets the error; a function gets what the body gets, and the error.
    pub(super) fn fallback(&self, fallback: &Expr) -> TokenStream {
        if matches!(fallback, Expr::Closure(_)) {
            return fallback.to_token_stream();
        }
        let error = own("error");
        let (mut keeps, mut lets, mut values) = (TokenStream::new(), TokenStream::new(), Vec::new());
        let mut pass = |number: usize, span: Span, (value, keep): (TokenStream, TokenStream)| {
            let mut name = own(&format!("passed_{number}"));
            name.set_span(name.span().located_at(span));
            lets.extend(quote!(let #name = #value;));
            keeps.extend(keep);
            values.push(name);
        };
        if self.function.sig.receiver().is_some() {
            let span = self.self_span();
            let taken = match self.receiver {
                Some(travel) => self.taken(&own("from_self"), travel, span),
                None => (Ident::new("self", span).to_token_stream(), TokenStream::new()),
            };
            pass(0, span, taken);
        }
        for (number, argument) in self.arguments.iter().enumerate() {
            let span = argument.pat.span();
            let taken = match argument.travel {
                Travel::Copy | Travel::Stay => (argument.outer.to_token_stream(), TokenStream::new()),
                travel => self.taken(&own(&format!("from_{number}")), travel, span),
            };
            pass(number + 1, span, taken);
        }
        if keeps.is_empty() {
            quote!(move |#error| { #lets #fallback(#(#values,)* #error) })
        } else {
            quote!(move |#error| async move { #keeps #lets #fallback(#(#values,)* #error).await })
        }
    }

    /// Patterns, bound by reference, for options that speak of their parts.
    pub(super) fn patterns_for_options(&self) -> TokenStream {
        let Options { key, priority, fallback, classify, map_err, pipeline, registry, retry, .. } = self.options;
        let when = retry.as_ref().is_some_and(|retry| retry.value.when.is_some());
        let speaks = key.is_some() || priority.is_some() || fallback.is_some() || classify.is_some() || map_err.is_some();
        if !self.again || !(speaks || pipeline.is_some() || registry.is_some() || when) {
            return TokenStream::new();
        }
        let mut all = TokenStream::new();
        for argument in &self.arguments {
            let Argument { pat, ty, cfgs, outer, travel, .. } = argument;
            if *travel == Travel::Stay || simple_name(pat).is_some() {
                continue;
            }
            let mut pat = pat.clone();
            let by_reference = matches!(ungroup(ty), Type::Reference(_)) && !matches!(pat, Pat::Reference(_));
            let value = if *travel == Travel::Lend && by_reference { quote!(&*#outer) } else { outer.to_token_stream() };
            by_ref(&mut pat, !by_reference);
            all.extend(quote! {
                #(#cfgs)*
                #[allow(unused_variables, clippy::needless_borrowed_reference, clippy::ref_patterns, clippy::toplevel_ref_arg, clippy::used_underscore_binding)]
                let #pat = #value;
            });
        }
        all
    }
}
