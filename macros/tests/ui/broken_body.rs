use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3), bulkhead(0))]
async fn f(text: String) -> Result<usize, MyErr> {
    Ok(text.length())
}

fn main() {}
