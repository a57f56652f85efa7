use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

trait T {
    #[resilient(retry(3))]
    async fn f(&self) -> Result<u8, MyErr>;
}

fn main() {}
