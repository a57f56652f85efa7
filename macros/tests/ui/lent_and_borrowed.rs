use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

struct S(String);

impl S {
    #[resilient(retry(3))]
    async fn f(&mut self) -> Result<&str, MyErr> {
        Ok(&self.0)
    }
}

fn main() {}
