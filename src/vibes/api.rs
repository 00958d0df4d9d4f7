//! What Vibes' APIs have in common: the version that a client asks for, and how errors are told.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// The version of the API that a request is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ApiVersion {
    /// What a request without the header gets.
    #[default]
    #[schemars(rename = "1")]
    One,
    /// Mobile numbers are in the E.164 form.
    #[schemars(rename = "2")]
    Two,
}

impl ApiVersion {
    /// The header that names it.
    pub const HEADER: &str = "X-API-Version";

    /// Reads the header's value.
    ///
    /// # Errors
    ///
    /// It names neither of the two.
    pub fn from_header(value: Option<&str>) -> Result<ApiVersion, Problem> {
        match value.map(str::trim) {
            None | Some("1") => Ok(ApiVersion::One),
            Some("2") => Ok(ApiVersion::Two),
            Some(_) => Err(Problem::one(
                400,
                code::VERSION,
                "The X-API-Version header must be 1 or 2",
            )),
        }
    }
}

/// The numbers that tell errors apart. Vibes publishes the first only; the others are chosen.
pub mod code {
    /// A field is not there (400).
    pub const REQUIRED: u32 = 1;
    /// The body is not a JSON object (400).
    pub const MALFORMED: u32 = 2;
    /// A field is of the wrong JSON type (400).
    pub const WRONG_TYPE: u32 = 3;
    /// A field's value is not acceptable (422).
    pub const NOT_ACCEPTABLE: u32 = 4;
    /// The body is larger than may be (413).
    pub const TOO_LARGE: u32 = 5;
    /// There is such a thing already (409).
    pub const CONFLICT: u32 = 6;
    /// There is no such thing (404).
    pub const NOT_FOUND: u32 = 7;
    /// The thing is in a state that does not allow it (422).
    pub const STATE: u32 = 8;
    /// There is no such version of the API (400).
    pub const VERSION: u32 = 9;
    /// A limit is reached (429, 503).
    pub const LIMIT: u32 = 10;
}

/// One error, as Vibes writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ApiError {
    /// What is wrong, for people.
    pub message: String,
    /// What is wrong, for programs: one of [`code`].
    pub code: u32,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Errors")]
pub struct Problem {
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// All that is wrong.
    pub errors: Vec<ApiError>,
}

impl Problem {
    /// A problem with one error.
    pub fn one(status: u16, code: u32, message: impl Into<String>) -> Problem {
        Problem {
            status,
            errors: vec![ApiError {
                message: message.into(),
                code,
            }],
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{}", error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let read = ApiVersion::from_header;
        assert_eq!(read(None), Ok(ApiVersion::One));
        assert_eq!(read(Some("1")), Ok(ApiVersion::One));
        assert_eq!(read(Some(" 2")), Ok(ApiVersion::Two));
        for unknown in ["", "0", "3", "2.0", "v2"] {
            assert_eq!(
                read(Some(unknown)).map_err(|problem| problem.status),
                Err(400)
            );
        }
    }

    #[test]
    fn errors_are_written_as_vibes_does() {
        let problem = Problem::one(400, code::REQUIRED, "The MDN field is required");
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"errors":[{"message":"The MDN field is required","code":1}]}"#
        );
    }
}
