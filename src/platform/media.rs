//! What is wrong with an MMS campaign's media, known from the URL: it is never fetched.
//!
//! | URL | what comes of it |
//! | --- | --- |
//! | blank | `processing.media_missing` |
//! | its path ends like a file that is no image: `.pdf`, `.mp4` | `processing.media_type_not_allowed` |
//! | `too-large` in path or query, or a `size` or `bytes` above 0.5 MB in the query: `?size=600KB` | `processing.media_too_large` |

use crate::vibes::outcome::Outcome;

/// 0.5 megabytes: the most that an image may have.
const MAX_BYTES: f64 = 512.0 * 1024.0;

/// How files end that are no images. What is not known to be one passes.
const NO_IMAGES: &[&str] = &[
    "3gp", "aac", "amr", "avi", "csv", "doc", "docx", "gz", "htm", "html", "ics", "json", "m4a",
    "m4v", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg", "ogg", "pdf", "ppt", "pptx", "tar", "txt",
    "vcf", "wav", "webm", "xls", "xlsx", "xml", "zip",
];

/// What the platform would say of a media URL, once it is rendered; none if nothing is wrong with it.
pub fn problem(url: &str) -> Option<&'static Outcome> {
    let url = url.trim().to_ascii_lowercase();
    if url.is_empty() {
        return Some(Outcome::media_missing());
    }
    let url = url.split('#').next().unwrap_or_default();
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    // A host has dots too, so it is not looked at.
    let path = match place.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => place,
    };
    let file = path.rsplit('/').next().unwrap_or_default();
    if let Some((_, ending)) = file.rsplit_once('.')
        && NO_IMAGES.contains(&ending)
    {
        return Some(Outcome::media_type_not_allowed());
    }
    let too_large = |text: &str| text.contains("too-large");
    let said = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut sizes = said
        .filter(|(key, _)| matches!(*key, "size" | "bytes"))
        .filter_map(|(_, size)| bytes(size));
    (too_large(path) || too_large(query) || sizes.any(|size| size > MAX_BYTES))
        .then_some(Outcome::media_too_large())
}

/// `600000`, `600kb`, `0.6mb`.
fn bytes(size: &str) -> Option<f64> {
    let unit_at = size
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(size.len());
    let (number, unit) = size.split_at(unit_at);
    let factor = match unit {
        "" | "b" => 1.0,
        "k" | "kb" => 1024.0,
        "m" | "mb" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_tell() {
        for (url, wanted) in [
            ("", "processing.media_missing"),
            (" \n ", "processing.media_missing"),
            (
                "https://example.com/a.pdf",
                "processing.media_type_not_allowed",
            ),
            (
                "https://example.com/a.MP4?x=1#y",
                "processing.media_type_not_allowed",
            ),
            ("a/b.txt", "processing.media_type_not_allowed"),
            (
                "https://example.com/too-large.png",
                "processing.media_too_large",
            ),
            (
                "https://example.com/a?Too-Large",
                "processing.media_too_large",
            ),
            (
                "https://example.com/a.png?size=600KB",
                "processing.media_too_large",
            ),
            (
                "https://example.com/a.png?w=1&bytes=524289",
                "processing.media_too_large",
            ),
            (
                "https://example.com/a.png?size=0.6mb",
                "processing.media_too_large",
            ),
        ] {
            assert_eq!(
                problem(url).map(|outcome| outcome.name),
                Some(wanted),
                "{url}"
            );
        }
        for fine in [
            "https://example.com/a.png",
            "https://example.com/a.JPEG",
            "https://example.com/orders/12345",
            "https://files.zip",
            "https://example.com",
            "https://example.com/v1.2/picture",
            "https://example.com/a.gif?size=500KB&bytes=524288",
            "https://example.com/a?size=large&bytes=",
            "https://example.com/a?file=b.pdf",
        ] {
            assert_eq!(problem(fine), None, "{fine}");
        }
    }
}
