use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(hedge(after = p95))]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(adaptive(5..200))]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(cache(ttl = 1m), key = "{id}")]
async fn h(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

#[resilient(pipeline = "payments")]
async fn i() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
