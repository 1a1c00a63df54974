//! Slots that are used again, behind keys that never name a later tenant of the same slot.
//! Iteration goes by slot, so it is the same in every run.

/// Names one value in a [`Pool`]; stale once that value is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Where.
    pub slot: u32,
    /// Which tenant of that slot.
    pub generation: u32,
}

impl Key {
    /// A key that no pool ever hands out.
    pub const NOBODY: Self = Self { slot: u32::MAX, generation: u32::MAX };
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values in slots.
pub struct Pool<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Pool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Puts a value in.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.value = Some(value);
            return Key { slot, generation: place.generation };
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Key { slot, generation: 0 }
    }

    /// The value of that key while it is there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(value)
    }

    /// Drops a value where it lies; for large ones that need not be moved out.
    pub fn discard(&mut self, key: Key) {
        if let Some(place) = self.slots.get_mut(key.slot as usize)
            && place.generation == key.generation
            && place.value.is_some()
        {
            place.value = None;
            place.generation = place.generation.wrapping_add(1);
            self.free.push(key.slot);
        }
    }

    /// The keys of every value that `wanted` takes, by slot.
    pub fn keys_where(&self, wanted: impl Fn(&T) -> bool) -> Vec<Key> {
        let tenants = self.slots.iter().enumerate();
        tenants
            .filter(|(_, place)| place.value.as_ref().is_some_and(&wanted))
            .map(|(slot, place)| Key { slot: slot as u32, generation: place.generation })
            .collect()
    }

    /// Values that live here now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots ever needed at once.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_names_nobody() {
        let mut pool = Pool::new();
        let first = pool.insert("first");
        assert_eq!(pool.remove(first), Some("first"));
        let second = pool.insert("second");
        assert_eq!((second.slot, pool.slots(), pool.len()), (first.slot, 1, 1));
        assert_eq!(pool.get_mut(first), None);
        assert_eq!(pool.remove(first), None);
        assert_eq!(pool.get_mut(second), Some(&mut "second"));
        assert_eq!(pool.get_mut(Key::NOBODY), None);
    }
}
