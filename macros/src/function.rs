//! The function under the attribute: what it is, what it returns, and how its arguments travel into each attempt.

use crate::returns::{lifetimes, not_a_result, result_arguments, shape};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, FnArg, Pat, Path, ReceiverKind, Result, Signature, Token, Type, Visibility};

/// The function, with its body unread: a body with a mistake in it is still a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) before: TokenStream,
    pub(crate) sig: Signature,
    /// `#![..]` at the beginning of the body.
    pub(crate) inner_attrs: TokenStream,
    /// The rest of the body, between its braces.
    pub(crate) statements: TokenStream,
    pub(crate) braces: Span,
    pub(crate) shape: Shape,
    /// What the future resolves to.
    pub(crate) output: Type,
}

/// How the future comes about.
pub(crate) enum Shape {
    /// `async fn`.
    Async,
    /// `fn .. -> impl Future`.
    ImplFuture,
    /// `fn .. -> Pin<Box<dyn Future>>`, with the path by which the signature calls `Box`.
    Boxed(Option<Path>),
}

/// One argument.
pub(crate) struct Argument {
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    /// `#[cfg(..)]` on it.
    pub(crate) cfgs: Vec<Attribute>,
    /// `#[allow(..)]` and the like on it, which belong to wherever its pattern is bound.
    pub(crate) lints: Vec<Attribute>,
    /// By which name the function's own scope knows it.
    pub(crate) outer: Ident,
    pub(crate) travel: Travel,
}

/// How an argument reaches the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Travel {
    /// A shared reference: copied.
    Copy,
    /// An owned value: cloned for each.
    Clone,
    /// An owned value in `share(..)`: lent as `&T`.
    Share,
    /// A mutable reference: lent to one after another.
    Lend,
    /// `_`: nobody can see it.
    Stay,
}

impl Function {
    pub(crate) fn parse(item: TokenStream) -> Result<Self> {
        Self::read.parse2(item)
    }

    fn read(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        let default: Option<Token![default]> = if input.peek(Token![default]) { Some(input.parse()?) } else { None };
        if !is_function(input) {
            return Err(Error::new(
                input.span(),
                "`#[resilient]` goes on an `async fn`; for a whole type, put it on each method, or keep one `static` `Pipeline` and name it \
                 on each: `#[resilient(pipeline = NAME)]`",
            ));
        }
        let sig: Signature = input.parse()?;
        if let Some(constness) = &sig.constness {
            return Err(Error::new(constness.span, "a `const fn` cannot be resilient: policies need a clock and shared state"));
        }
        let (shape, output) = shape(&sig)?;
        if let Some(error) = not_a_result(&output) {
            return Err(error);
        }
        if input.peek(Token![;]) {
            let name = &sig.ident;
            let message =
                format!("`{name}` has no body here to run again; put `#[resilient]` on its implementations, or give it a default body");
            return Err(Error::new(name.span(), message));
        }
        let body = match input.parse()? {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => body,
            other => return Err(Error::new(other.span(), "expected the body of the function")),
        };
        let (inner_attrs, statements) = split_inner_attrs(&body);
        let before = [vis.to_token_stream(), default.to_token_stream()].into_iter().collect();
        Ok(Self { attrs, before, sig, inner_attrs, statements, braces: body.span(), shape, output })
    }

    /// The arguments after `self`, and how each travels; those without a name too, if somebody wants them.
    pub(crate) fn arguments(&self, shared: &[Ident], nameless: bool) -> Vec<Argument> {
        let typed = self.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        });
        typed
            .enumerate()
            .map(|(number, typed)| {
                let simple = simple_name(&typed.pat);
                let travel = match (&*typed.pat, &simple) {
                    (Pat::Wild(_), _) if !nameless => Travel::Stay,
                    (_, Some(name)) if shared.contains(name) => Travel::Share,
                    _ => travel(&typed.ty),
                };
                Argument {
                    pat: (*typed.pat).clone(),
                    ty: (*typed.ty).clone(),
                    cfgs: typed.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect(),
                    lints: typed.attrs.iter().filter(|attr| is_lint(attr)).cloned().collect(),
                    outer: simple.unwrap_or_else(|| format_ident!("__steadfast_argument{number}", span = Span::mixed_site())),
                    travel,
                }
            })
            .collect()
    }

    /// How `self` travels, when it cannot stay as it is.
    pub(crate) fn receiver(&self, shared: &[Ident]) -> Option<Travel> {
        let receiver = self.sig.receiver()?;
        let travel = match &receiver.kind {
            ReceiverKind::Reference(_, _, None) => Travel::Copy,
            ReceiverKind::Reference(_, _, Some(_)) => Travel::Lend,
            ReceiverKind::Typed(_, ty) => travel(ty),
            _ => Travel::Clone,
        };
        match travel {
            Travel::Copy => None,
            Travel::Clone if shared.iter().any(|name| name == "self") => Some(Travel::Share),
            travel => Some(travel),
        }
    }

    /// The arguments that are mutable references, as they are written.
    pub(crate) fn mutable(&self) -> Vec<&FnArg> {
        let lends = |input: &&FnArg| match input {
            FnArg::Receiver(receiver) => match &receiver.kind {
                ReceiverKind::Reference(_, _, mutable) => mutable.is_some(),
                ReceiverKind::Typed(_, ty) => travel(ty) == Travel::Lend,
                _ => false,
            },
            FnArg::Typed(typed) => travel(&typed.ty) == Travel::Lend,
        };
        self.sig.inputs.iter().filter(lends).collect()
    }

    /// Where the error type is written, or else the type that has it inside.
    pub(crate) fn error_span(&self) -> TokenStream {
        match result_arguments(&self.output).as_deref() {
            Some([_, error]) => error.to_token_stream(),
            _ => self.output.to_token_stream(),
        }
    }

    /// The type of a success, if it can be seen.
    pub(crate) fn ok_type(&self) -> Option<Type> {
        result_arguments(&self.output).and_then(|types| types.into_iter().next())
    }

    /// Whether the result may borrow from something that is lent mutably; where.
    pub(crate) fn borrows_what_is_lent(&self) -> Option<Span> {
        let (elided, named) = lifetimes(self.output.to_token_stream());
        for argument in self.mutable() {
            let (receiver, lifetime) = match argument {
                FnArg::Receiver(receiver) => match &receiver.kind {
                    ReceiverKind::Reference(_, lifetime, _) => (true, lifetime.clone()),
                    ReceiverKind::Typed(_, ty) => (true, reference_lifetime(ty)),
                    _ => continue,
                },
                FnArg::Typed(typed) => (false, reference_lifetime(&typed.ty)),
            };
            match lifetime.filter(|lifetime| lifetime.ident != "_") {
                Some(lifetime) => {
                    if let Some((_, span)) = named.iter().find(|(name, _)| lifetime.ident == name) {
                        return Some(*span);
                    }
                }
                None if elided.is_some() && (receiver || self.sig.receiver().is_none()) => return elided,
                None => {}
            }
        }
        None
    }
}

pub(crate) fn is_lint(attr: &Attribute) -> bool {
    ["allow", "expect", "warn", "deny", "forbid"].iter().any(|level| attr.path().is_ident(level))
}

impl Argument {
    /// Whether each attempt binds it again.
    pub(crate) fn is_bound_again(&self) -> bool {
        match self.travel {
            Travel::Stay => false,
            Travel::Copy => !matches!(&self.pat, Pat::Ident(name) if name.mutability.is_none() && simple_name(&self.pat).is_some()),
            Travel::Clone | Travel::Share | Travel::Lend => true,
        }
    }
}

fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    loop {
        if ahead.peek(Token![fn]) {
            return true;
        }
        let qualifier = ahead.peek(Token![const]) || ahead.peek(Token![async]) || ahead.peek(Token![unsafe]) || ahead.peek(Token![extern]);
        if !(qualifier || ahead.peek(syn::LitStr)) || ahead.parse::<TokenTree>().is_err() {
            return false;
        }
    }
}

fn split_inner_attrs(body: &Group) -> (TokenStream, TokenStream) {
    let mut rest = body.stream().into_iter().peekable();
    let mut attrs = TokenStream::new();
    let mut ahead = rest.clone();
    while let (Some(TokenTree::Punct(hash)), Some(TokenTree::Punct(bang)), Some(TokenTree::Group(inside))) =
        (ahead.next(), ahead.next(), ahead.next())
    {
        if hash.as_char() != '#' || bang.as_char() != '!' || inside.delimiter() != Delimiter::Bracket {
            break;
        }
        attrs.extend(rest.by_ref().take(3));
        ahead = rest.clone();
    }
    (attrs, rest.collect())
}

/// A type as people write it.
pub(crate) fn tidy(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    [(" < ", "<"), (" > ", "> "), (" >", ">"), ("< ", "<"), (" :: ", "::"), ("& ", "&"), (" ,", ","), ("( ", "("), (" )", ")")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

fn travel(ty: &Type) -> Travel {
    match ungroup(ty) {
        Type::Reference(reference) if reference.mutability.is_some() => Travel::Lend,
        Type::Reference(_) => Travel::Copy,
        _ => Travel::Clone,
    }
}

fn reference_lifetime(ty: &Type) -> Option<syn::Lifetime> {
    match ungroup(ty) {
        Type::Reference(reference) => reference.lifetime.clone(),
        _ => None,
    }
}

pub(crate) fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        other => other,
    }
}

/// The name, where the pattern is nothing but a name.
pub(crate) fn simple_name(pat: &Pat) -> Option<Ident> {
    match pat {
        Pat::Ident(ident) if ident.by_ref.is_none() && ident.subpat.is_none() => Some(ident.ident.clone()),
        Pat::Paren(paren) => simple_name(&paren.pat),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::err_expect, reason = "a test may panic, and not every value is `Debug`")]

    use super::*;

    fn function(text: &str) -> Function {
        Function::parse(text.parse().expect("tokens")).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> String {
        Function::parse(text.parse().expect("tokens")).err().expect(text).to_string()
    }

    #[test]
    fn futures_are_recognised() {
        assert!(matches!(function("pub(crate) async fn f() -> R {}").shape, Shape::Async));
        assert!(matches!(function("fn f() -> impl Future<Output = Result<(), E>> + Send {}").shape, Shape::ImplFuture));
        let boxed = function("fn f() -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<u8, E>> + Send + 'a>> {}");
        assert!(matches!(boxed.shape, Shape::Boxed(Some(_))));
        assert_eq!(tidy(&boxed.output), "Result<u8, E>");
        assert!(matches!(function("fn f() -> BoxFuture<'static, Result<u8, E>> {}").shape, Shape::Boxed(None)));
        assert!(matches!(function("async unsafe extern \"C\" fn f() -> R {}").shape, Shape::Async));
    }

    #[test]
    fn a_body_with_mistakes_is_still_a_body() {
        let broken = function("async fn f() -> R { #![allow(dead_code)] #![allow(unused)] let x = ; foo. }");
        assert_eq!(broken.inner_attrs.to_string().matches("allow").count(), 2);
        assert_eq!(broken.statements.to_string(), "let x = ; foo .");
    }

    #[test]
    fn what_is_no_resilient_function_is_told_so() {
        assert!(error("fn f() -> Result<u8, E> {}").contains("`f` is synchronous"));
        assert!(error("struct S;").contains("goes on an `async fn`"));
        assert!(error("impl S {}").contains("goes on an `async fn`"));
        assert!(error("const X: u8 = 1;").contains("goes on an `async fn`"));
        assert!(error("const fn f() -> Result<u8, E> {}").contains("a `const fn` cannot be resilient"));
        assert!(error("async fn f() {}").contains("returns `()`"));
        assert!(error("async fn f() -> () {}").contains("returns `()`"));
        assert!(error("async fn f() -> Option<u8> {}").contains("is `None` a failure here?"));
        assert!(error("async fn f() -> Vec<u8> {}").contains("`Result<Vec<u8>, E>`"));
        assert!(error("async fn f() -> &'static str {}").contains("returns `&'static str`"));
        assert!(error("fn f() -> impl Future<Output = u8> {}").contains("returns `u8`"));
        assert!(error("async fn f() -> Result<(), E>;").contains("has no body here"));
    }

    #[test]
    fn arguments_travel_as_their_types_say() {
        let f = function("async fn f(a: &str, mut b: String, c: &mut Vec<u8>, (d, e): (u8, u8), _: u8, g: Big) -> R {}");
        let travels: Vec<_> = f.arguments(&[format_ident!("g")], false).iter().map(|argument| argument.travel).collect();
        assert_eq!(travels, [Travel::Copy, Travel::Clone, Travel::Lend, Travel::Clone, Travel::Stay, Travel::Share]);
        assert_eq!(function("async fn f(&self) -> R {}").receiver(&[]), None);
        assert_eq!(function("async fn f(&mut self) -> R {}").receiver(&[]), Some(Travel::Lend));
        assert_eq!(function("async fn f(self: Arc<Self>) -> R {}").receiver(&[]), Some(Travel::Clone));
        assert_eq!(function("async fn f(self: &Arc<Self>) -> R {}").receiver(&[]), None);
    }

    #[test]
    fn only_a_result_that_borrows_from_what_is_lent_is_refused() {
        let borrows = |text: &str| function(text).borrows_what_is_lent().is_some();
        assert!(borrows("async fn f(&mut self) -> Result<&str, E> {}"));
        assert!(borrows("async fn f(&mut self) -> Result<Guard<'_>, E> {}"));
        assert!(borrows("async fn f<'a>(&self, x: &'a mut X) -> Result<&'a str, E> {}"));
        assert!(borrows("async fn f(x: &mut X) -> Result<&str, E> {}"));
        assert!(!borrows("async fn f(&self, x: &mut X) -> Result<&str, E> {}"));
        assert!(!borrows("async fn f<'a>(y: &'a str, x: &mut X) -> Result<&'a str, E> {}"));
        assert!(!borrows("async fn f(&mut self) -> Result<&'static str, E> {}"));
        assert!(!borrows("async fn f(&mut self) -> Result<Box<dyn Fn(&str) -> u8>, E> {}"));
    }
}
