//! A long list in pieces, in order.

use futures_util::stream::{self, Stream, StreamExt};

/// Gives `items` to `work` in chunks of at most `size`, and yields what comes of each chunk, in the order of the chunks. Up to `at_once` chunks are
/// worked on at the same time; nothing begins before the stream is polled, and items are taken from the iterator as they are needed.
/// A `size` or `at_once` of 0 counts as 1.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use futures_util::StreamExt;
/// use steadfast::batch::in_chunks;
///
/// let sums: Vec<u32> = in_chunks(1..=10_u32, 4, 1, |chunk| async move { chunk.into_iter().sum::<u32>() }).collect().await;
/// assert_eq!(sums, [10, 26, 19]);
/// # }
/// ```
///
/// # Cancel safety
/// Dropping the stream drops the chunks under way; those that were yielded are done, those that were not begun never begin.
pub fn in_chunks<I, F, Fut>(items: I, size: usize, at_once: usize, work: F) -> impl Stream<Item = Fut::Output>
where
    I: IntoIterator,
    F: FnMut(Vec<I::Item>) -> Fut,
    Fut: Future,
{
    let (mut items, size) = (items.into_iter(), size.max(1));
    // `take(size)` alone would reserve what a caller asks for, however much that is.
    let chunks = std::iter::from_fn(move || {
        let mut chunk = vec![items.next()?];
        chunk.extend(items.by_ref().take(size - 1));
        Some(chunk)
    });
    stream::iter(chunks).map(work).buffered(at_once.max(1))
}
