//! What a request takes of a rate limit.

/// How many units a request takes: for requests that know what they cost, so that nobody has to say it at each call.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{Cost, Pipeline, RateLimiter};
///
/// struct Page { rows: u32 }
///
/// impl Cost for Page {
///     fn units(&self) -> u32 {
///         1 + self.rows / 100 // one for asking, and one for every hundred rows
///     }
/// }
///
/// let search = Pipeline::builder("search").rate_limit(RateLimiter::per_second(50)).build()?;
/// let page = Page { rows: 1_000 };
/// let found = search.cost_of(&page).call(|| async { Ok::<_, std::io::Error>(page.rows) }).await?;
/// assert_eq!((found, search.rate_limiter().unwrap().available()), (1_000, 39));
/// # Ok(()) }
/// ```
///
/// Of a type that is not yours, a function will do: `search.cost(points(&query))`. `cargo run --example graphql_cost` counts the points of
/// a GraphQL query as GitHub and Shopify do, and settles what it cost in truth.
pub trait Cost {
    /// The units that one attempt takes. 0 takes none.
    fn units(&self) -> u32;
}

impl<T: Cost + ?Sized> Cost for &T {
    fn units(&self) -> u32 {
        (**self).units()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_costs_what_it_refers_to() {
        struct Page(u32);
        impl Cost for Page {
            fn units(&self) -> u32 {
                self.0
            }
        }
        // By value: of a reference, not of what the method call would make of it.
        assert_eq!([0, 1, 7].map(|units| <&Page as Cost>::units(&&Page(units))), [0, 1, 7]);
    }
}
