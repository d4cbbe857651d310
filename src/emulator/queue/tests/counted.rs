//! Ordered collections that count steps: an operation, or an item of an iterator.

use std::{cell::Cell, collections, ops::RangeBounds};

thread_local!(static STEPS: Cell<u64> = const { Cell::new(0) });

fn step() {
    STEPS.set(STEPS.get() + 1);
}

/// How many steps an operation takes, and its result.
pub(super) fn steps<T>(operation: impl FnOnce() -> T) -> (u64, T) {
    let before = STEPS.get();
    let result = operation();
    (STEPS.get() - before, result)
}

macro_rules! counted {
    ($(fn $name:ident(& $($mut:ident)? $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        $(pub(in super::super) fn $name(&$($mut)? self $(, $argument: $type)*) -> $result {
            step();
            self.0.$name($($argument),*)
        })*
    };
}

pub(in super::super) struct BTreeMap<K, V>(collections::BTreeMap<K, V>);

impl<K: Ord, V> BTreeMap<K, V> {
    pub(in super::super) fn new() -> Self {
        Self(collections::BTreeMap::new())
    }

    counted! {
        fn insert(&mut, key: K, value: V) -> Option<V>;
        fn remove(&mut, key: &K) -> Option<V>;
        fn get(&, key: &K) -> Option<&V>;
        fn get_mut(&mut, key: &K) -> Option<&mut V>;
        fn contains_key(&, key: &K) -> bool;
        fn first_key_value(&) -> Option<(&K, &V)>;
        fn len(&) -> usize;
        fn is_empty(&) -> bool;
    }

    pub(in super::super) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.0.range(range).inspect(|_| step())
    }
}

pub(in super::super) struct BTreeSet<T>(collections::BTreeSet<T>);

impl<T: Ord> BTreeSet<T> {
    pub(in super::super) fn new() -> Self {
        Self(collections::BTreeSet::new())
    }

    counted! {
        fn insert(&mut, item: T) -> bool;
        fn remove(&mut, item: &T) -> bool;
        fn contains(&, item: &T) -> bool;
        fn first(&) -> Option<&T>;
        fn pop_first(&mut) -> Option<T>;
        fn len(&) -> usize;
        fn is_empty(&) -> bool;
    }

    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().inspect(|_| step())
    }
}
