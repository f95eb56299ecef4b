//! The words of a turn, as English writes them. Other languages lose nothing but what is said of English here.

/// A word, and what else is compared as one: a number, the sign of a currency or of percent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// In lower case.
    pub raw: String,
    /// Without its plural.
    pub text: String,
    /// Written as a name is: with a capital that no sentence asks for.
    pub is_name: bool,
}

const SIGNS: &str = "%$€£¥°+=<>*#";
const NUMBERS: [&str; 13] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
/// Words that are two.
const SHORT: [(&str, [&str; 2]); 12] = [
    ("cannot", ["can", "not"]),
    ("can't", ["can", "not"]),
    ("cant", ["can", "not"]),
    ("won't", ["will", "not"]),
    ("wont", ["will", "not"]),
    ("shan't", ["shall", "not"]),
    ("dont", ["do", "not"]),
    ("doesnt", ["does", "not"]),
    ("isnt", ["is", "not"]),
    ("didnt", ["did", "not"]),
    ("whats", ["what", "is"]),
    ("im", ["i", "am"]),
];
const ENDINGS: [(&str, &str); 6] =
    [("n't", "not"), ("'m", "am"), ("'re", "are"), ("'ve", "have"), ("'ll", "will"), ("'d", "would")];
/// Whose `'s` is `is`: a possessive elsewhere.
const WITH_IS: &str = "what where when who how why it that there here he she";

pub fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut begins = true;
    for token in tokens(text) {
        let first = token.chars().next().unwrap_or_default();
        if !first.is_alphanumeric() && !token.contains(|c: char| c.is_numeric()) {
            begins |= ".!?:\n".contains(first);
            if SIGNS.contains(first) {
                words.push(Word { raw: token.clone(), text: token, is_name: false });
            }
            continue;
        }
        let capitals = token.chars().filter(|c| c.is_uppercase()).count();
        let is_name = token != "I" && !token.starts_with("I'") && (capitals > 1 || (capitals == 1 && !begins));
        begins = false;
        for part in apart(&token.to_lowercase()) {
            let text = number(&part).unwrap_or_else(|| singular(&part));
            words.push(Word { raw: part, text, is_name });
        }
    }
    words
}

/// Words with what they hold inside (`don't`, `3.5`, `10:30`, `-5`), and all other characters but spaces.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().map(|c| if c == '’' { '\'' } else { c }).collect();
    let at = |place: usize| chars.get(place).copied().unwrap_or(' ');
    let mut tokens: Vec<String> = Vec::new();
    let mut is_open = false;
    for (place, &c) in chars.iter().enumerate() {
        let before = if place == 0 { ' ' } else { at(place - 1) };
        let is_inside = match c {
            '\'' => before.is_alphabetic() && at(place + 1).is_alphabetic(),
            '.' | ',' | ':' => before.is_numeric() && at(place + 1).is_numeric(),
            '-' | '−' => !before.is_alphanumeric() && at(place + 1).is_numeric(),
            _ => c.is_alphanumeric(),
        };
        match tokens.last_mut() {
            Some(open) if is_inside && is_open => open.push(c),
            _ if is_inside || !c.is_whitespace() || c == '\n' => tokens.push(c.to_string()),
            _ => {}
        }
        is_open = is_inside;
    }
    tokens
}

fn apart(token: &str) -> Vec<String> {
    if let Some((_, two)) = SHORT.iter().find(|(short, _)| *short == token) {
        return two.map(str::to_owned).to_vec();
    }
    if let Some((stem, second)) = ENDINGS.iter().find_map(|(end, second)| Some((token.strip_suffix(end)?, second))) {
        return vec![stem.to_owned(), (*second).to_owned()];
    }
    match token.strip_suffix("'s") {
        Some(stem) if WITH_IS.split(' ').any(|word| word == stem) => vec![stem.to_owned(), "is".to_owned()],
        Some(stem) => vec![stem.to_owned()],
        None => vec![token.to_owned()],
    }
}

fn number(word: &str) -> Option<String> {
    NUMBERS.iter().position(|number| *number == word).map(|value| value.to_string())
}

pub fn singular(word: &str) -> String {
    let whole = word.len() < 4 || ["ss", "us", "is", "news", "does"].iter().any(|end| word.ends_with(end));
    if whole || word.contains(|c: char| c.is_numeric()) {
        return word.to_owned();
    }
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 2) {
        return format!("{stem}y");
    }
    let hissing = ["ches", "shes", "xes", "sses", "zes"].iter().any(|end| word.ends_with(end));
    let end = if hissing { "es" } else { "s" };
    word.strip_suffix(end).unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        words(text).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn what_is_a_word() {
        for (text, expect) in [
            ("What's the user's limit?", "what is the user limit"),
            ("I can’t, and don't.", "i can not and do not"),
            ("3.5 km at 10:30, 1,000 times", "3.5 km at 10:30 1,000 time"),
            ("is it -5° or 5°", "is it -5 ° or 5 °"),
            ("20% of $30 for two", "20 % of $ 30 for 2"),
            ("x-ray, 2024-25", "x ray 2024 25"),
            ("Boxes, cities and buses", "box city and buse"),
            ("", ""),
        ] {
            assert_eq!(texts(text).join(" "), expect, "{text}");
        }
    }

    #[test]
    fn what_is_a_name() {
        let names = |text: &str| -> Vec<String> {
            words(text).into_iter().filter(|word| word.is_name).map(|word| word.raw).collect()
        };
        assert_eq!(names("Is Paris larger? What does iPhone cost in the UK, I ask"), ["paris", "iphone", "uk"]);
        assert_eq!(names("I'd like to know. Can I?"), [""; 0]);
    }
}
