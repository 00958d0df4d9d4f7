//! Which endpoint a request is for, and whether it gets there.

use std::borrow::Cow;

use hyper::header::{ALLOW, HOST, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use matchit::Router;
use percent_encoding::percent_decode_str;

use super::endpoint::{Endpoint, Place, Side};
use super::guard::{Guard, Refusal};
use super::reply::Reply;

/// A table of endpoints, ready to look things up in.
pub struct Dispatch<H> {
    endpoints: Vec<Endpoint<H>>,
    paths: Vec<Path>,
    /// Numbers of `paths`.
    router: Router<usize>,
    guard: Guard,
}

struct Path {
    names: Vec<&'static str>,
    /// With numbers of `endpoints`.
    methods: Vec<(Method, usize)>,
    allow: String,
}

/// A request that got to its endpoint, but for its body.
pub(super) struct Admitted<'a, H> {
    pub endpoint: &'a Endpoint<H>,
    pub path: Vec<(&'static str, String)>,
    pub query: Vec<(String, String)>,
}

impl<H> Dispatch<H> {
    /// Takes a table.
    ///
    /// # Errors
    ///
    /// The table contradicts itself: two endpoints for one request, two of one name, a parameter of the
    /// path that isn't described, or a description of one that isn't there.
    pub fn new(endpoints: Vec<Endpoint<H>>, guard: Guard) -> Result<Dispatch<H>, String> {
        let mut dispatch = Dispatch {
            endpoints: Vec::with_capacity(endpoints.len()),
            paths: Vec::new(),
            router: Router::new(),
            guard,
        };
        let mut known: Vec<&str> = Vec::new();
        for endpoint in endpoints {
            let (method, text) = (endpoint.method.clone(), endpoint.path);
            let number = dispatch.endpoints.len();
            let described: Vec<_> = endpoint.names_of(Place::Path).collect();
            if names_in(text) != described {
                return Err(format!(
                    "{text}: the path's names are described as {described:?}"
                ));
            }
            let id = endpoint.operation_id;
            if dispatch
                .endpoints
                .iter()
                .any(|other| other.operation_id == id)
            {
                return Err(format!("two endpoints are called {id}"));
            }
            let plain = without_slash(text);
            let place = match known.iter().position(|path| *path == plain) {
                Some(place) => place,
                None => {
                    let place = dispatch.paths.len();
                    dispatch
                        .router
                        .insert(plain, place)
                        .map_err(|error| format!("{text}: {error}"))?;
                    known.push(plain);
                    dispatch.paths.push(Path {
                        names: described,
                        methods: Vec::new(),
                        allow: String::new(),
                    });
                    place
                }
            };
            let path = &mut dispatch.paths[place];
            if path.methods.iter().any(|(other, _)| *other == method) {
                return Err(format!("two endpoints for {method} {text}"));
            }
            path.methods.push((method, number));
            path.allow = allow(&path.methods);
            dispatch.endpoints.push(endpoint);
        }
        Ok(dispatch)
    }

    /// The table.
    pub fn endpoints(&self) -> &[Endpoint<H>] {
        &self.endpoints
    }

    /// Finds the endpoint that a request is for, or the answer that it gets without one.
    pub(super) fn admit(&self, head: &Parts) -> Result<Admitted<'_, H>, Reply> {
        framing(head)?;
        self.guard
            .site(host(head)?, &head.headers)
            .map_err(refused)?;
        let found = self.router.at(without_slash(head.uri.path())).ok();
        let Some((path, values)) =
            found.and_then(|found| Some((self.paths.get(*found.value)?, found.params)))
        else {
            return Err(Reply::error(
                404,
                404,
                format!("there is nothing at {}", head.uri.path()),
            ));
        };
        let Some(endpoint) = path
            .method(&head.method)
            .and_then(|n| self.endpoints.get(n))
        else {
            let words = format!("{} is not for {}", head.uri.path(), head.method);
            return Err(Reply::error(405, 405, words).header(ALLOW, path.allow.as_str()));
        };
        self.guard
            .credentials(endpoint.side, &head.headers)
            .map_err(refused)?;
        let path = path
            .names
            .iter()
            .zip(values.iter())
            .map(|(name, (_, value))| Ok((*name, segment(value)?)))
            .collect::<Result<_, Reply>>()?;
        Ok(Admitted {
            endpoint,
            path,
            query: query(endpoint, head.uri.query().unwrap_or(""))?,
        })
    }
}

impl Path {
    fn method(&self, method: &Method) -> Option<usize> {
        let find = |wanted: &Method| self.methods.iter().find(|(own, _)| own == wanted);
        let found = match find(method) {
            None if method == Method::HEAD => find(&Method::GET),
            found => found,
        };
        found.map(|(_, number)| *number)
    }
}

fn names_in(path: &'static str) -> Vec<&'static str> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .collect()
}

fn without_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
        _ => path,
    }
}

fn allow(methods: &[(Method, usize)]) -> String {
    let mut names: Vec<_> = methods.iter().map(|(method, _)| method.as_str()).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    names.join(", ")
}

/// Refuses bodies in wrappings that we don't open. Where one has both a length and chunks, hyper hides
/// the length and reads the chunks; the connection then ends with the answer (see `http`), so that nobody
/// can be of two minds about what comes after.
fn framing(head: &Parts) -> Result<(), Reply> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if plain {
        return Ok(());
    }
    Err(Reply::error(
        501,
        501,
        "the only transfer coding that is understood is `chunked`",
    )
    .closing())
}

/// The host that a request is for: its one Host header, which the target may not contradict.
fn host(head: &Parts) -> Result<Option<&str>, Reply> {
    let bad = |words: &str| Reply::error(400, 400, words).closing();
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(only), None) => Some(
            only.to_str()
                .map_err(|_| bad("the Host header is not a host and a port"))?,
        ),
        (None, _) if head.version < Version::HTTP_11 => None,
        (None, _) => return Err(bad("the Host header is missing")),
        _ => return Err(bad("there are several Host headers")),
    };
    match (head.uri.authority(), host) {
        (Some(target), Some(host)) if !target.as_str().eq_ignore_ascii_case(host) => Err(bad(
            "the request's target and its Host header name different hosts",
        )),
        (Some(target), None) => Ok(Some(target.as_str())),
        _ => Ok(host),
    }
}

fn refused(refusal: Refusal) -> Reply {
    let status = refusal.status;
    let reply = Reply::error(status, status.into(), refusal.message);
    match refusal.challenge {
        Some(challenge) => reply.header(WWW_AUTHENTICATE, challenge),
        None => reply,
    }
}

/// One piece of the path, decoded. What would be a slash or an unseen character has no business there.
fn segment(raw: &str) -> Result<String, Reply> {
    let decoded = percent_decode_str(raw).decode_utf8().map(Cow::into_owned);
    match decoded {
        Ok(text) if !text.contains(|c: char| c == '/' || c.is_control()) => Ok(text),
        _ => Err(Reply::error(
            400,
            400,
            format!("`{raw}` in the path is not a name"),
        )),
    }
}

/// The query's pairs. Vibes takes no offence at names that it doesn't know; a test harness that misspells
/// a filter would wonder why it sees everything.
fn query<H>(endpoint: &Endpoint<H>, raw: &str) -> Result<Vec<(String, String)>, Reply> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(raw.as_bytes())
        .into_owned()
        .collect();
    if endpoint.side == Side::Mock
        && let Some((unknown, _)) = pairs
            .iter()
            .find(|(name, _)| endpoint.names_of(Place::Query).all(|known| known != name))
    {
        let known: Vec<_> = endpoint.names_of(Place::Query).collect();
        let known = match known.as_slice() {
            [] => "none are known here".to_owned(),
            names => format!("known here: {}", names.join(", ")),
        };
        let words = format!("unknown query parameter `{unknown}`\n{known}");
        return Err(Reply::error(400, 400, words));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn endpoint(side: Side, method: Method, path: &'static str, id: &'static str) -> Endpoint<()> {
        let endpoint = Endpoint::new(side, method, path, id, "", |_| {
            Box::pin(async { Reply::empty(204) })
        });
        names_in(path)
            .into_iter()
            .fold(endpoint, |endpoint, name| endpoint.path::<String>(name, ""))
    }

    fn table() -> Dispatch<()> {
        let endpoints = vec![
            endpoint(Side::Vibes, Method::POST, "/companies/{key}/events", "post"),
            endpoint(
                Side::Vibes,
                Method::GET,
                "/companies/{key}/config/callbacks/",
                "list",
            ),
            endpoint(
                Side::Vibes,
                Method::POST,
                "/companies/{key}/config/callbacks/",
                "create",
            ),
            endpoint(
                Side::Vibes,
                Method::GET,
                "/companies/{key}/config/callbacks/{id}",
                "get",
            ),
            endpoint(Side::Mock, Method::GET, "/_mock/deliveries", "deliveries")
                .query::<Vec<String>>("state", "")
                .query::<String>("wait", ""),
            endpoint(Side::Mock, Method::GET, "/_mock/clock", "clock"),
            endpoint(Side::Open, Method::GET, "/healthz", "health"),
            endpoint(Side::Mock, Method::GET, "/", "page"),
        ];
        let guard = Guard::new(vec![], Some("token".to_owned()), None);
        Dispatch::new(endpoints, guard).unwrap()
    }

    fn head(method: &str, target: &str) -> Parts {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "localhost")
            .header("authorization", "Bearer token");
        request.body(()).unwrap().into_parts().0
    }

    /// The operation, or the status.
    fn outcome(head: &Parts) -> String {
        match table().admit(head) {
            Ok(admitted) => admitted.endpoint.operation_id.to_owned(),
            Err(reply) => reply.status().to_string(),
        }
    }

    #[test]
    fn requests_find_their_endpoints() {
        for (method, target, expected) in [
            ("POST", "/companies/k/events", "post"),
            ("POST", "/companies/k/events/", "post"),
            ("POST", "/companies/k/events?x=y", "post"),
            ("GET", "/companies/k/config/callbacks", "list"),
            ("GET", "/companies/k/config/callbacks/", "list"),
            ("POST", "/companies/k/config/callbacks", "create"),
            ("GET", "/companies/k/config/callbacks/7", "get"),
            ("GET", "/companies/k/config/callbacks/7/", "get"),
            ("HEAD", "/companies/k/config/callbacks/7", "get"),
            ("GET", "/", "page"),
            ("GET", "/healthz", "health"),
            ("GET", "/companies/k/events", "405"),
            ("OPTIONS", "/companies/k/events", "405"),
            ("HEAD", "/companies/k/events", "405"),
            ("PATCH", "/healthz", "405"),
            ("GET", "/companies/k", "404"),
            ("GET", "//", "404"),
            ("GET", "/healthz//", "404"),
            ("POST", "/companies//events", "404"),
            ("POST", "//companies/k/events", "404"),
            ("POST", "/Companies/k/events", "404"),
            ("POST", "/companies/k/x/events", "404"),
            ("OPTIONS", "*", "404"),
            ("POST", "/companies/a%2Fb/events", "400"),
            ("POST", "/companies/a%2fevents", "404"),
            ("POST", "/companies/a%00/events", "400"),
            ("POST", "/companies/a%0d%0ab/events", "400"),
            ("POST", "/companies/%ff/events", "400"),
            ("GET", "http://localhost/healthz", "health"),
            ("GET", "http://LOCALHOST/healthz", "health"),
            ("GET", "http://evil.example.com/healthz", "400"),
            ("GET", "http://localhost:80/healthz", "400"),
        ] {
            assert_eq!(
                outcome(&head(method, target)),
                expected,
                "{method} {target}"
            );
        }
    }

    #[test]
    fn names_of_the_path_are_decoded_once() {
        let head = head("GET", "/companies/a%20b%2525+/config/callbacks/%C3%BC");
        let dispatch = table();
        let admitted = dispatch.admit(&head);
        let path = admitted.map(|admitted| admitted.path).unwrap();
        assert_eq!(
            path,
            [("key", "a b%25+".to_owned()), ("id", "ü".to_owned())]
        );
    }

    #[test]
    fn queries_may_repeat_and_are_known_by_name_on_the_mocks_side() {
        let head_of = |target| head("GET", target);
        let repeated = head_of("/_mock/deliveries?state=a+b&state=c%26&wait");
        let dispatch = table();
        let Ok(admitted) = dispatch.admit(&repeated) else {
            panic!("refused");
        };
        let pairs: Vec<_> = admitted
            .query
            .iter()
            .map(|(a, b)| (&a[..], &b[..]))
            .collect();
        assert_eq!(pairs, [("state", "a b"), ("state", "c&"), ("wait", "")]);
        for (target, words) in [
            (
                "/_mock/deliveries?stat=a",
                "`stat`\\nknown here: state, wait",
            ),
            ("/_mock/clock?x", "`x`\\nnone are known here"),
        ] {
            let Err(reply) = dispatch.admit(&head_of(target)) else {
                panic!("{target} was admitted");
            };
            assert_eq!(reply.status(), 400);
            let body = String::from_utf8_lossy(reply.body().unwrap()).into_owned();
            assert!(body.contains(words), "{body}");
        }
    }

    #[test]
    fn what_is_allowed_is_said() {
        let dispatch = table();
        let Err(reply) = dispatch.admit(&head("DELETE", "/companies/k/config/callbacks")) else {
            panic!("admitted");
        };
        assert_eq!(reply.header_value("allow"), Some("GET, POST, HEAD"));
    }

    #[test]
    fn errors_have_the_platforms_form() {
        let dispatch = table();
        let Err(reply) = dispatch.admit(&head("GET", "/companies")) else {
            panic!("admitted");
        };
        let body: serde_json::Value = serde_json::from_slice(reply.body().unwrap()).unwrap();
        let expected = serde_json::json!({
            "errors": [{"message": "there is nothing at /companies", "code": 404}]
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn hosts_are_one_and_the_same() {
        let with = |version, hosts: &[&str]| {
            let mut head = head("GET", "/healthz");
            head.version = version;
            head.headers.remove("host");
            for host in hosts {
                head.headers.append("host", host.parse().unwrap());
            }
            outcome(&head)
        };
        assert_eq!(with(Version::HTTP_11, &["localhost"]), "health");
        assert_eq!(with(Version::HTTP_11, &[]), "400");
        assert_eq!(with(Version::HTTP_11, &["localhost", "localhost"]), "400");
        assert_eq!(with(Version::HTTP_11, &["evil.example.com"]), "421");
        assert_eq!(with(Version::HTTP_10, &[]), "health");
        assert_eq!(with(Version::HTTP_10, &["evil.example.com"]), "421");
    }

    #[test]
    fn tokens_are_asked_for_where_they_are_due() {
        for (target, expected) in [
            ("/healthz", "health"),
            ("/_mock/clock", "401"),
            ("/_mock/clock?unknown", "401"),
            ("/companies/k/config/callbacks", "list"),
        ] {
            let mut head = head("GET", target);
            head.headers.remove("authorization");
            assert_eq!(outcome(&head), expected, "{target}");
        }
    }

    #[test]
    fn wrapped_bodies_are_not_opened() {
        for (codings, expected) in [
            (&["chunked"][..], "post"),
            (&["Chunked"], "post"),
            (&["gzip, chunked"], "501"),
            (&["identity"], "501"),
            (&["chunked", "chunked"], "501"),
        ] {
            let mut head = head("POST", "/companies/k/events");
            for coding in codings {
                head.headers
                    .append("transfer-encoding", coding.parse().unwrap());
            }
            assert_eq!(outcome(&head), expected, "{codings:?}");
        }
    }

    #[test]
    fn tables_that_contradict_themselves_are_refused() {
        let refused = |endpoints| Dispatch::new(endpoints, Guard::new(vec![], None, None)).is_err();
        let get = |path, id| endpoint(Side::Open, Method::GET, path, id);
        assert!(refused(vec![get("/a", "one"), get("/a/", "two")]));
        assert!(refused(vec![get("/a", "one"), get("/b", "one")]));
        assert!(refused(vec![get("/a/{x}", "one"), get("/a/{y}", "two")]));
        assert!(refused(vec![get("/a", "one").path::<u64>("x", "")]));
        assert!(!refused(vec![get("/a/{x}", "one"), get("/a/b", "two")]));
    }
}
