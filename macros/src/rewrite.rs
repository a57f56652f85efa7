//! Small changes to what the user wrote: `self` under another name, types without the parts that have no name, patterns that only borrow.

use crate::expand::own;
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{GenericArgument, Pat, PathArguments, Type};

/// `self` under a name of ours, as the attempts have their own: everywhere in the body, in macro arguments too, but not in items with a
/// `self` of their own and not in paths (`self::f`).
pub(crate) fn rename_self(tokens: TokenStream) -> TokenStream {
    let mut renamed = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    // Until the braces of an item with a `self` of its own.
    let mut item = false;
    while let Some(token) = tokens.next() {
        let token = match token {
            TokenTree::Ident(ident) if !item => {
                let starts_item = match ident.to_string().as_str() {
                    "impl" | "trait" | "mod" => true,
                    "fn" => matches!(tokens.peek(), Some(TokenTree::Ident(_))),
                    _ => false,
                };
                item = starts_item;
                let path = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':')
                    && matches!(tokens.clone().nth(1), Some(TokenTree::Punct(next)) if next.as_char() == ':');
                if ident == "self" && !path {
                    let mut name = own("self");
                    name.set_span(name.span().located_at(ident.span()));
                    TokenTree::Ident(name)
                } else {
                    TokenTree::Ident(ident)
                }
            }
            TokenTree::Group(group) if item => {
                item = group.delimiter() != Delimiter::Brace;
                TokenTree::Group(group)
            }
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), rename_self(group.stream()));
                inside.set_span(group.span());
                TokenTree::Group(inside)
            }
            other => other,
        };
        renamed.extend([token]);
    }
    renamed
}

/// The type with `_` for every `impl Trait`, which has no name.
pub(crate) fn erase_impl(ty: &Type) -> Type {
    let mut ty = ty.clone();
    erase_impl_in(&mut ty);
    ty
}

fn erase_impl_in(ty: &mut Type) {
    match ty {
        Type::ImplTrait(_) => *ty = syn::parse_quote_spanned!(ty.span()=> _),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                    for argument in &mut arguments.args {
                        if let GenericArgument::Type(inside) = argument {
                            erase_impl_in(inside);
                        }
                    }
                }
            }
        }
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase_impl_in),
        Type::Reference(reference) => erase_impl_in(&mut reference.elem),
        Type::Paren(paren) => erase_impl_in(&mut paren.elem),
        Type::Group(group) => erase_impl_in(&mut group.elem),
        Type::Slice(slice) => erase_impl_in(&mut slice.elem),
        Type::Array(array) => erase_impl_in(&mut array.elem),
        _ => {}
    }
}

/// The tokens with `'_` for every lifetime but `'static`.
pub(crate) fn erase_lifetimes(tokens: TokenStream) -> TokenStream {
    let mut after_tick = false;
    let erased = tokens.into_iter().map(|token| {
        let lifetime = std::mem::take(&mut after_tick);
        match token {
            TokenTree::Ident(ident) if lifetime && ident != "static" => TokenTree::Ident(Ident::new("_", ident.span())),
            TokenTree::Group(group) => {
                let mut inside = Group::new(group.delimiter(), erase_lifetimes(group.stream()));
                inside.set_span(group.span());
                TokenTree::Group(inside)
            }
            TokenTree::Punct(punct) => {
                after_tick = punct.as_char() == '\'';
                TokenTree::Punct(punct)
            }
            other => other,
        }
    });
    erased.collect()
}

/// The pattern without `mut`, and with `ref` for every name if asked to: it borrows, and moves nothing.
pub(crate) fn by_ref(pat: &mut Pat, say_so: bool) {
    match pat {
        Pat::Ident(ident) => {
            ident.mutability = None;
            if say_so && ident.by_ref.is_none() {
                ident.by_ref = Some(syn::Token![ref](ident.ident.span()));
            }
            if let Some((_, inside)) = &mut ident.subpat {
                by_ref(inside, say_so);
            }
        }
        Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(|pat| by_ref(pat, say_so)),
        Pat::TupleStruct(tuple) => tuple.elems.iter_mut().for_each(|pat| by_ref(pat, say_so)),
        Pat::Struct(fields) => fields.fields.iter_mut().for_each(|field| by_ref(&mut field.pat, say_so)),
        Pat::Slice(slice) => slice.elems.iter_mut().for_each(|pat| by_ref(pat, say_so)),
        Pat::Reference(reference) => by_ref(&mut reference.pat, say_so),
        Pat::Paren(paren) => by_ref(&mut paren.pat, say_so),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;

    fn tokens(text: &str) -> TokenStream {
        text.parse().expect("tokens")
    }

    #[test]
    fn self_is_renamed_where_it_is_the_function_s_own() {
        let renamed =
            rename_self(tokens("self.a(|| self.b); println!(\"{}\", self.c); self::f(); impl X for Y { fn g(&self) { self.d } } self"));
        let renamed = renamed.to_string();
        assert_eq!(renamed.matches("__steadfast_self").count(), 4, "{renamed}");
        assert!(renamed.contains("self :: f ()") && renamed.contains("(& self) { self . d }"), "{renamed}");
        let with_fn = rename_self(tokens("fn helper(x: &X) -> u8 { x.y } let f: fn(u8) -> u8 = g; f(self.n)")).to_string();
        assert!(with_fn.contains("f (__steadfast_self . n)"), "{with_fn}");
    }

    #[test]
    fn names_without_a_type_of_their_own_are_erased() {
        let ty: Type = syn::parse_str("Result<(impl Iterator<Item = u8>, Vec<impl Display>), E>").expect("type");
        assert_eq!(erase_impl(&ty).to_token_stream().to_string(), "Result < (_ , Vec < _ >) , E >");
        assert_eq!(erase_lifetimes(tokens("&'a X<'static, 'b>")).to_string(), tokens("&'_ X<'static, '_>").to_string());
    }

    #[test]
    fn patterns_borrow() {
        let mut pat = syn::parse::Parser::parse_str(Pat::parse_single, "(mut a, Point { x, y: &b }, [c, ..], d @ _)").expect("pattern");
        by_ref(&mut pat, true);
        let expected = tokens("(ref a, Point { ref x, y: &ref b }, [ref c, ..], ref d @ _)");
        assert_eq!(pat.to_token_stream().to_string(), expected.to_string());
    }
}
