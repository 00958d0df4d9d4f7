//! What a scalar without quotes means.

/// What a scalar without quotes is, by YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plain<'t> {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Anything that reads as a number, as it was spelled.
    Number(&'t str),
    /// All else.
    Text,
}

/// Resolves a scalar that was written without quotes.
pub fn resolve_plain(text: &str) -> Plain<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    let looks_numeric = text.len() - digits.len() <= 1
        && (digits.starts_with(|c: char| c.is_ascii_digit())
            || digits.strip_prefix('.').is_some_and(|rest| {
                rest.starts_with(|c: char| c.is_ascii_digit())
                    || matches!(rest, "inf" | "Inf" | "INF" | "nan" | "NaN" | "NAN")
            }));
    let is_number = looks_numeric
        && (digits.starts_with(".i")
            || digits.starts_with(".I")
            || digits.starts_with(".n")
            || digits.starts_with(".N")
            || based(digits).is_some()
            || digits.parse::<f64>().is_ok());
    if is_number {
        Plain::Number(text)
    } else {
        Plain::Text
    }
}

/// The value of `0x…` and `0o…`.
pub fn based(digits: &str) -> Option<u64> {
    let of = |prefix, radix| {
        digits
            .strip_prefix(prefix)
            .and_then(|rest| u64::from_str_radix(rest, radix).ok())
    };
    of("0x", 16).or_else(|| of("0o", 8))
}
