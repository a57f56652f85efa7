use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3))]
fn f() -> Result<u8, MyErr> {
    Ok(1)
}

fn main() {}
