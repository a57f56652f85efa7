use std::sync::LazyLock;
use steadfast::{Pipeline, Rejected, resilient};

static P: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::builder("p").build().unwrap());

#[resilient(pipeline = P, retry(3))]
async fn f() -> Result<u8, Rejected> {
    Ok(1)
}

fn main() {}
