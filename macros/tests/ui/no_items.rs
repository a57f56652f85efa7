use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient()]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(key = id)]
async fn h(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

fn main() {}
