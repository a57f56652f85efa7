use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

static REGISTRY: u8 = 1;

#[resilient(pipeline = "payments")]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(pipeline = "payments", registry = 3u8)]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
