//! How a service fails: with one of the protocol's codes, or because its stream is gone and nobody is listening.

use crate::fields::BadFields;
use std::io;

#[derive(Debug)]
pub enum Failure {
    /// The host reset the stream, or the session is over.
    Gone,
    /// Told to the host by RESET.
    Refused { code: &'static str, detail: String },
}

pub type Outcome<T> = Result<T, Failure>;

pub const BUSY: &str = "busy";
pub const DENIED: &str = "denied";
pub const EXISTS: &str = "exists";
pub const FLOW: &str = "flow";
pub const INVALID: &str = "invalid";
pub const IO: &str = "io";
pub const LIMIT: &str = "limit";
pub const IS_A_DIRECTORY: &str = "is_a_directory";
pub const NOT_A_DIRECTORY: &str = "not_a_directory";
pub const NOT_EMPTY: &str = "not_empty";
pub const NOT_FOUND: &str = "not_found";
pub const NO_SPACE: &str = "no_space";
pub const PROTOCOL: &str = "protocol";
pub const REFUSED: &str = "refused";
pub const TIMEOUT: &str = "timeout";
pub const UNSUPPORTED: &str = "unsupported";

/// A refusal with a code of the protocol.
pub fn refuse<T>(code: &'static str, detail: impl Into<String>) -> Outcome<T> {
    Err(refusal(code, detail))
}

/// As `refuse`, for `map_err` and `ok_or_else`.
pub fn refusal(code: &'static str, detail: impl Into<String>) -> Failure {
    Failure::Refused {
        code,
        detail: detail.into(),
    }
}

impl From<BadFields> for Failure {
    fn from(error: BadFields) -> Failure {
        refusal(INVALID, error.0)
    }
}

impl From<io::Error> for Failure {
    /// Linux error numbers (errno(3)) to codes.
    fn from(error: io::Error) -> Failure {
        let code = match error.raw_os_error() {
            Some(2) => NOT_FOUND,
            Some(1) | Some(13) | Some(30) => DENIED,
            Some(17) => EXISTS,
            Some(20) => NOT_A_DIRECTORY,
            Some(21) => IS_A_DIRECTORY,
            Some(39) => NOT_EMPTY,
            Some(28) | Some(122) => NO_SPACE,
            Some(95) => UNSUPPORTED,
            Some(110) => TIMEOUT,
            Some(111) => REFUSED,
            Some(11) | Some(12) | Some(23) | Some(24) => BUSY,
            Some(7) | Some(8) | Some(22) | Some(36) | Some(40) => INVALID,
            _ => IO,
        };
        refusal(code, error.to_string())
    }
}
