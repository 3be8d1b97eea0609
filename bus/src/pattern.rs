//! Subject patterns, as a broker reads them: `*` is one token, a final `>` is one or more.

/// Whether `subject` falls under `pattern`.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut tokens = subject.split('.');
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(token)) if want == token => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

/// Whether the pattern can match more than one subject.
pub(crate) fn has_wildcard(pattern: &str) -> bool {
    pattern.split('.').any(|token| token == "*" || token == ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_the_broker() {
        for (pattern, subject, expected) in [
            ("ask.v1.>", "ask.v1.ice.shop", true),
            ("ask.v1.>", "ask.v1", false),
            ("ask.v1.*", "ask.v1.ice", true),
            ("ask.v1.*", "ask.v1.ice.shop", false),
            ("calls.v1.*.*.p03", "calls.v1.ice.shop.p03", true),
            ("calls.v1.*.*.p03", "calls.v1.ice.shop.p04", false),
            ("wallets.v1.a", "wallets.v1.a", true),
            ("wallets.v1.a", "wallets.v1.ab", false),
            (">", "anything", true),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} on {subject}");
        }
    }
}
