use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3), timeout = 2s)]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(attempt_timeout = 12s, total_timeout = 10s)]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
