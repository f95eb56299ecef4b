//! Turns that were answered, by their scope: what of them is nearest to another one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Meant, Semantic, cosine, may_mean_the_same};
use crate::cache::Key;

/// Turns of one scope: beyond it the oldest goes.
const TURNS_MAX: usize = 128;
/// The same of those that processes share: each look reads them all.
pub const SHARED_MOST: usize = 32;
/// Of all scopes: beyond it those go that nobody looked at for longest.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of a turn beside its text and vector, and of a scope.
const OVERHEAD: usize = 128;
/// Before a shared turn. Another is left alone.
const VERSION: u8 = 1;

/// A turn that was answered. The answer lies where those to equal requests do, under their key.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub text: String,
    pub vector: Vec<f32>,
    pub answer: Key,
}

/// One that may mean the same, and how near it is.
pub struct Nearest {
    pub turn: Arc<Turn>,
    pub similarity: f64,
}

#[derive(Default)]
pub struct Turns(Mutex<Scopes>);

#[derive(Default)]
struct Scopes {
    by_key: BTreeMap<Key, Scope>,
    /// By when somebody looked last.
    used: BTreeMap<u64, Key>,
    looks: u64,
    bytes: usize,
}

#[derive(Default)]
struct Scope {
    turns: VecDeque<Arc<Turn>>,
    used: u64,
}

impl Turns {
    pub fn of(&self, scope: Key) -> Vec<Arc<Turn>> {
        let mut scopes = self.lock();
        scopes.touch(scope);
        scopes.by_key.get(&scope).map(|scope| scope.turns.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn add(&self, scope: Key, turn: Turn) {
        let mut scopes = self.lock();
        let Scopes { by_key, bytes, .. } = &mut *scopes;
        let kept = &mut by_key.entry(scope).or_insert_with(|| {
            *bytes += OVERHEAD;
            Scope::default()
        });
        *bytes += turn.bytes();
        let before = kept.turns.iter().position(|kept| kept.answer == turn.answer);
        let gone = before.or_else(|| (kept.turns.len() == TURNS_MAX).then_some(0));
        if let Some(gone) = gone.and_then(|place| kept.turns.remove(place)) {
            *bytes -= gone.bytes();
        }
        kept.turns.push_back(Arc::new(turn));
        scopes.touch(scope);
        scopes.make_room();
    }

    fn lock(&self) -> MutexGuard<'_, Scopes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scopes {
    fn touch(&mut self, key: Key) {
        let Some(scope) = self.by_key.get_mut(&key) else { return };
        self.looks += 1;
        self.used.remove(&scope.used);
        scope.used = self.looks;
        self.used.insert(self.looks, key);
    }

    fn make_room(&mut self) {
        while self.bytes > BYTES_MAX {
            let Some((_, key)) = self.used.pop_first() else { return };
            if let Some(scope) = self.by_key.remove(&key) {
                self.bytes -= OVERHEAD + scope.turns.iter().map(|turn| turn.bytes()).sum::<usize>();
            }
        }
    }
}

impl Semantic {
    /// Of some turns those that may mean the same, the nearest first.
    pub fn nearest(&self, meant: &Meant, turns: impl IntoIterator<Item = Arc<Turn>>) -> Vec<Nearest> {
        let near = |turn: Arc<Turn>| {
            let similarity = cosine(&turn.vector, &meant.vector).filter(|similarity| *similarity >= self.threshold)?;
            may_mean_the_same(&turn.text, &meant.text).then_some(Nearest { turn, similarity })
        };
        let mut nearest: Vec<Nearest> = turns.into_iter().filter_map(near).collect();
        nearest.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        nearest
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        OVERHEAD + self.text.len() + 4 * self.vector.len()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.answer.as_bytes());
        bytes.extend((self.text.len() as u32).to_le_bytes());
        bytes.extend(self.text.as_bytes());
        self.vector.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (answer, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (text, numbers) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (numbers, cut) = numbers.as_chunks();
        let text = String::from_utf8(text.to_vec()).ok().filter(|_| cut.is_empty())?;
        let vector = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some(Turn { text, vector, answer: Key::from_bytes(*answer) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(n: usize) -> Key {
        Key::of("t", "g", "n", &n.to_string())
    }

    fn turn(n: usize, dims: usize) -> Turn {
        Turn { text: format!("turn {n}"), vector: vec![0.5; dims], answer: scope(1_000_000 + n) }
    }

    #[test]
    fn what_is_shared_is_read_and_what_is_cut_is_none() {
        let turn = Turn { text: "où?".to_owned(), vector: vec![0.25, -1.0], answer: scope(7) };
        let bytes = turn.to_bytes();
        assert_eq!(Turn::from_bytes(&bytes), Some(turn));
        assert!(
            (0..bytes.len())
                .filter(|cut| !(bytes.len() - cut).is_multiple_of(4))
                .all(|cut| Turn::from_bytes(&bytes[..cut]).is_none())
        );
        assert_eq!(Turn::from_bytes(&[&[2], &bytes[1..]].concat()), None, "of a version that comes");
    }

    #[test]
    fn a_scope_keeps_its_newest_turns_and_each_once() {
        let turns = Turns::default();
        for n in (0..TURNS_MAX + 2).chain([50, 50]) {
            turns.add(scope(0), turn(n, 4));
        }
        let kept = turns.of(scope(0));
        assert_eq!(kept.len(), TURNS_MAX);
        assert_eq!((&*kept[0].text, &*kept[TURNS_MAX - 1].text), ("turn 2", "turn 50"));
        let bytes = turns.lock().bytes;
        assert_eq!(bytes, OVERHEAD + kept.iter().map(|turn| turn.bytes()).sum::<usize>());
    }

    #[test]
    fn scopes_that_nobody_looks_at_go_first() {
        let turns = Turns::default();
        let dims = BYTES_MAX / 16 / 4;
        for n in 0..14 {
            turns.add(scope(n), turn(n, dims));
        }
        assert_eq!(turns.of(scope(0)).len(), 1);
        for n in 14..20 {
            turns.add(scope(n), turn(n, dims));
        }
        assert_eq!(turns.of(scope(0)).len(), 1, "somebody looked at it");
        assert!(turns.of(scope(1)).is_empty());
        let scopes = turns.lock();
        assert!(scopes.bytes <= BYTES_MAX);
        assert_eq!(scopes.used.len(), scopes.by_key.len());
    }
}
