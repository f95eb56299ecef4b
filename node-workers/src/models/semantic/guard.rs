//! What no vector may overrule: two turns that differ in one of these words ask for different things, however near they are.

use std::{collections::BTreeSet, sync::LazyLock};

use super::words::{Word, singular, words};

/// Both turns must hold the same of these, as often: negations, directions, times, amounts, who is meant.
const TELLING: &str = "
    not no never none nobody nothing neither nor without except unless only
    nicht kein keine keinen nie ohne pas jamais sans aucun aucune nunca sin non mai senza
    before after until since from between than over under above below into out off up down away back against
    was were did had been will shall would should must may might
    he she him his her they them their someone anyone everyone
    who whose where when why
    all every each both any some most least more less fewer max maximum min minimum
    first second third last next previous other another again
    today yesterday tomorrow now tonight still already yet daily weekly monthly quarterly yearly annual annually
    monday tuesday wednesday thursday friday saturday sunday morning afternoon evening night noon midnight
    january february march april june july august september october november december
    start begin stop end open close enable disable add remove delete create increase decrease raise lower reduce
    allow deny block unblock grant revoke accept reject approve import export upload download upgrade downgrade
    buy sell send receive lend borrow push pull encrypt decrypt lock unlock show hide install uninstall
    subscribe unsubscribe follow unfollow activate deactivate connect disconnect include exclude win lose
    left right old new high low higher cheap cheaper expensive large larger small smaller fast faster slow slower
    best worst good bad better worse long short early late public private internal external male female
    mm cm m km mile meter metre foot feet inch yard g kg gram pound lb ounce ml l liter litre gallon
    bit byte kb mb gb tb ms sec minute hour day week month quarter year decade century
    dollar euro cent usd eur gbp yen celsius fahrenheit kelvin percent pm
    hundred thousand million billion half twice double triple dozen once";

/// What says little of a turn by where it stands.
const LIGHT: &str = "
    a an the is are am be do does can could i you me my we us our your it this that there to of in on at for by with and
    or if so as what which how please tell know get got have has want need like help explain about much many";

static TELLING_WORDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| set(TELLING));
static LIGHT_WORDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| set(LIGHT));

fn set(list: &str) -> BTreeSet<String> {
    list.split_whitespace().map(singular).collect()
}

/// False where words tell that two turns are not the same: other numbers, signs, telling words or names, or what both hold
/// in another order.
pub fn may_mean_the_same(a: &str, b: &str) -> bool {
    let (a, b) = (words(a), words(b));
    telling(&a) == telling(&b)
        && names_are_in(&a, &b)
        && names_are_in(&b, &a)
        && held_by_both(&a, &b) == held_by_both(&b, &a)
}

fn telling(words: &[Word]) -> Vec<&str> {
    let is_telling = |word: &&str| {
        let is_sign = !word.contains(char::is_alphabetic);
        is_sign || word.contains(|c: char| c.is_numeric()) || TELLING_WORDS.contains(*word)
    };
    let mut telling: Vec<&str> = words.iter().map(|word| word.text.as_str()).filter(is_telling).collect();
    telling.sort_unstable();
    telling
}

fn names_are_in(a: &[Word], b: &[Word]) -> bool {
    a.iter().filter(|word| word.is_name).all(|name| b.iter().any(|word| word.raw == name.raw))
}

/// In the order of `a`.
fn held_by_both<'a>(a: &'a [Word], b: &[Word]) -> Vec<&'a str> {
    let is_light = |word: &Word| !word.is_name && LIGHT_WORDS.contains(&word.text);
    let is_held = |word: &&Word| !is_light(word) && b.iter().any(|other| other.text == word.text);
    a.iter().filter(is_held).map(|word| word.text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_a_word_that_tells_is_not_the_same() {
        for (a, b) in [
            ("What was revenue in 2024?", "What was revenue in 2025?"),
            ("Is the shop open?", "Is the shop not open?"),
            ("Can I cancel?", "Can't I cancel?"),
            ("Is it warm in Paris?", "Is it warm in Rome?"),
            ("flights from paris to rome", "flights from rome to paris"),
            ("Did Germany beat Brazil?", "Did Brazil beat Germany?"),
            ("Move it from A to B", "Move it from B to A"),
            ("How far is it in km?", "How far is it in miles?"),
            ("Who is the president?", "Who was the president?"),
            ("How do I enable it?", "How do I disable it?"),
            ("a discount of 5%", "a discount of 5"),
            ("It was -5 there", "It was 5 there"),
            ("Wie kündige ich?", "Wie kündige ich nicht?"),
        ] {
            assert!(!may_mean_the_same(a, b), "{a} / {b}");
            assert!(!may_mean_the_same(b, a), "{b} / {a}");
        }
    }

    #[test]
    fn what_is_said_otherwise_may_be() {
        for (a, b) in [
            ("How do I reset my password?", "What is the way to reset a password"),
            ("What's the weather in Paris today?", "please tell me the weather for Paris today"),
            ("Which plans do you have?", "What plan have you?"),
            ("It takes two weeks", "it takes 2 weeks!"),
            ("Wie kündige ich meinen Vertrag?", "wie kann ich meinen Vertrag kündigen"),
        ] {
            assert!(may_mean_the_same(a, b), "{a} / {b}");
        }
    }
}
