use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retires(3))]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(retry(3, facto = 2))]
async fn g() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(preset = htp)]
async fn h() -> Result<u8, MyErr> {
    Ok(1)
}

#[resilient(max_attempts = 4)]
async fn i() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
