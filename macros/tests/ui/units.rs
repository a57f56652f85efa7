use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(attempt_timeout = 2)]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(attempt_timeout = 2sec)]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(rate_limit(100))]
async fn h() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(circuit_breaker(0.5))]
async fn i() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
