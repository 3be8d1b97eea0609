//! What is heard of a prompt, and how long it takes.

/// The time one character takes to say; 1,000 characters a minute is an ordinary pace.
const CHARACTER_MS: u64 = 60;
/// The time of a media file, whose length nobody knows here.
const FILE_MS: u64 = 3_000;

const TONE_MS: u64 = 250;
const PAUSE_MS: u64 = 500;

/// How long tones take.
pub(crate) fn tones_ms(digits: &str) -> u64 {
    digits.bytes().map(|key| if key == b'w' { PAUSE_MS } else { TONE_MS }).sum()
}

/// The prompts of a text in which several are joined by `;`.
pub(crate) fn parts(prompts: &str) -> Vec<Heard> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (index, c) in prompts.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                parts.push(Heard::of(&prompts[start..index]));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(Heard::of(&prompts[start..]));
    parts.retain(|part| !part.text.is_empty());
    parts
}

/// One prompt as the caller hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) length_ms: u64,
}

impl Heard {
    pub(crate) fn speech(text: &str) -> Self {
        Self { text: text.to_owned(), length_ms: text.chars().count() as u64 * CHARACTER_MS }
    }

    /// `#tts[…]` and `#ssml[…]` are spoken, everything else is a file.
    fn of(prompt: &str) -> Self {
        let prompt = prompt.trim();
        let inside = |head: &str| prompt.strip_prefix(head)?.strip_suffix(']');
        match inside("#tts[").or_else(|| inside("#ssml[")) {
            Some(text) => Self::speech(text),
            None => Self { text: prompt.to_owned(), length_ms: FILE_MS },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_split_outside_brackets() {
        let texts = |prompts| parts(prompts).into_iter().map(|part| part.text).collect::<Vec<_>>();
        assert_eq!(
            texts("#tts[Hello; press 1];beep.wav; #href[http://a/b]"),
            ["Hello; press 1", "beep.wav", "#href[http://a/b]"]
        );
        assert_eq!(texts(""), [""; 0]);
        assert_eq!(texts("]];a"), ["]]", "a"]);
        assert_eq!(parts("#tts[ten chars!]")[0].length_ms, 600);
    }
}
