use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(hedge(50ms))]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(hedge(after = p100), adaptive(0..5))]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(hedge(after = 50ms), timeout = 1s)]
async fn h() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(adaptive(5..200, aimd, gradient))]
async fn i() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(hedge(after = 50ms, max = n))]
async fn j(n: u32) -> Result<u32, MyErr> {
    Ok(n)
}

fn main() {}
