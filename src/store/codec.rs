//! How values become bytes, and bytes values.

use super::{StoreError, StoreErrorKind};
use bytes::Bytes;

/// Turns values into bytes and back. Chosen by type, never by looking at the bytes; and bytes that do not decode are an error, never
/// some other value.
pub trait Codec<T>: Send + Sync + 'static {
    /// The bytes of `value`.
    ///
    /// # Errors
    /// [`Codec`](StoreErrorKind::Codec) for values the format cannot hold.
    fn encode(&self, value: &T) -> Result<Bytes, StoreError>;

    /// The value of `bytes`. No bytes at all may well be a value.
    ///
    /// # Errors
    /// [`Codec`](StoreErrorKind::Codec) for bytes that are no such value.
    fn decode(&self, bytes: &Bytes) -> Result<T, StoreError>;
}

/// Bytes as they are: for `Bytes`, `Vec<u8>` and `String`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(&self, value: &Bytes) -> Result<Bytes, StoreError> {
        Ok(value.clone())
    }
    fn decode(&self, bytes: &Bytes) -> Result<Bytes, StoreError> {
        Ok(bytes.clone())
    }
}

impl Codec<Vec<u8>> for Raw {
    fn encode(&self, value: &Vec<u8>) -> Result<Bytes, StoreError> {
        Ok(Bytes::copy_from_slice(value))
    }
    fn decode(&self, bytes: &Bytes) -> Result<Vec<u8>, StoreError> {
        Ok(bytes.to_vec())
    }
}

impl Codec<String> for Raw {
    fn encode(&self, value: &String) -> Result<Bytes, StoreError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }
    fn decode(&self, bytes: &Bytes) -> Result<String, StoreError> {
        String::from_utf8(bytes.to_vec()).map_err(|_| StoreError::new(StoreErrorKind::Codec).with_detail("not UTF-8"))
    }
}

/// JSON, for whatever serde knows. Feature `json`.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> for Json {
    fn encode(&self, value: &T) -> Result<Bytes, StoreError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|error| of_json(&error))
    }
    fn decode(&self, bytes: &Bytes) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| of_json(&error))
    }
}

/// What serde_json says quotes the value; where it went wrong does not.
#[cfg(feature = "json")]
fn of_json(error: &serde_json::Error) -> StoreError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "JSON ends too early",
        serde_json::error::Category::Data => "JSON of another shape",
        _ => "not JSON",
    };
    StoreError::new(StoreErrorKind::Codec).with_detail(format!("{what}, line {} column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_is_raw() {
        let bytes = Bytes::from_static(b"\xff");
        assert_eq!(Codec::<Vec<u8>>::decode(&Raw, &bytes).ok(), Some(vec![0xff]));
        assert_eq!(Codec::<String>::decode(&Raw, &bytes).map_err(|e| e.kind()), Err(StoreErrorKind::Codec));
        assert_eq!(Codec::<String>::decode(&Raw, &Bytes::new()).ok().as_deref(), Some(""));
    }

    #[cfg(feature = "json")]
    #[test]
    fn h86_json_errors_do_not_quote_the_value() {
        let error = Codec::<u32>::decode(&Json, &Bytes::from_static(b"\"hunter2\"")).map_err(|e| e.to_string());
        assert_eq!(error, Err("value cannot be encoded or decoded (JSON of another shape, line 1 column 9)".into()));
        let none: Result<Option<u32>, _> = Json.decode(&Bytes::from_static(b"null"));
        assert_eq!(none.ok(), Some(None), "null is a value");
    }
}
