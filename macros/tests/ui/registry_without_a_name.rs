use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3), registry = POLICIES)]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(pipeline = PAYMENTS, registry = POLICIES)]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(pipeline = "")]
async fn h() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
