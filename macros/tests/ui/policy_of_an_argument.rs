use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

use std::time::Duration;

#[resilient(attempt_timeout = limit)]
async fn f(limit: Duration) -> Result<u8, MyErr> {
    let _ = limit;
    Ok(1)
}

fn main() {}
