use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

struct Page(String);

#[resilient(cache(ttl = 1m), key = id)]
async fn page(id: u8) -> Result<Page, MyErr> {
    Ok(Page(id.to_string()))
}

fn main() {}
