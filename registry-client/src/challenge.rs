//! `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3): what a registry wants to see.

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request (RFC 7617).
    Basic,
    /// A token of a token service (distribution's token authentication). The scope that a challenge names is not read.
    Bearer {
        /// The token service's URL.
        realm: String,
        /// How the token service calls the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenges in one field value, in its order. Schemes that are not known are passed over.
    pub(crate) fn parse(value: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut rest = value;
        while let Some((scheme, after)) = token(rest.trim_start_matches([' ', ',', '\t'])) {
            let (parameters, after) = parameters(after);
            let named =
                |name: &str| parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
            if scheme.eq_ignore_ascii_case("basic") {
                found.push(Self::Basic);
            } else if let (true, Some(realm)) = (scheme.eq_ignore_ascii_case("bearer"), named("realm")) {
                found.push(Self::Bearer { realm, service: named("service") });
            }
            rest = after;
        }
        found
    }
}

/// `name=value` pairs up to what is not one: the next scheme, or the end.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', ',', '\t']);
        let pair = token(start).and_then(|(name, after)| {
            let (value, after) = value(after.trim_start().strip_prefix('=')?.trim_start())?;
            Some(((name.to_owned(), value), after))
        });
        match pair {
            Some((pair, after)) => {
                found.push(pair);
                rest = after;
            }
            None => return (found, rest),
        }
    }
}

/// A token or a quoted string.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

/// `1*tchar` (RFC 9110 §5.6.2), and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_challenge_of_a_token_service_read() {
        let value =
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry.example".to_owned()),
        };
        assert_eq!(Challenge::parse(value), [bearer]);
    }

    #[test]
    fn several_challenges_in_one_field_told_apart() {
        let value = r#"Negotiate, basic Realm="a \"b\", c" , BEARER realm=x"#;
        let bearer = Challenge::Bearer { realm: "x".to_owned(), service: None };
        assert_eq!(Challenge::parse(value), [Challenge::Basic, bearer]);
    }

    #[test]
    fn bearer_without_realm_and_unfinished_strings_are_no_challenge() {
        for value in
            ["", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x", "Bearer realm=", "\"", "=,=", "Digest realm=x"]
        {
            assert_eq!(Challenge::parse(value), [], "{value}");
        }
    }
}
