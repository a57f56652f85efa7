use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(hedge(after = 50ms))]
async fn f(log: &mut Vec<u8>) -> Result<u8, MyErr> {
    log.push(1);
    Ok(1)
}

fn main() {}
