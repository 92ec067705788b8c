//! A table of connections by place: places are given again, under a new turn.

use crate::net::stream::ConnectionId;

/// Values by connection.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    turn: u32,
    value: Option<T>,
}

/// Bits of a turn: it travels with the place and a kind in 64 bits.
const TURN_BITS: u32 = 24;

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Puts a value into a free place.
    pub fn insert(&mut self, value: T) -> ConnectionId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { turn: 0, value: None });
            (self.places.len() - 1) as u32
        });
        let entry = &mut self.places[place as usize];
        entry.value = Some(value);
        ConnectionId { place, turn: entry.turn }
    }

    /// The value of a connection; `None` if that is gone.
    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let place = self.places.get(id.place as usize)?;
        if place.turn == id.turn { place.value.as_ref() } else { None }
    }

    /// The value of a connection; `None` if that is gone.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let place = self.places.get_mut(id.place as usize)?;
        if place.turn == id.turn { place.value.as_mut() } else { None }
    }

    /// Takes the value of a connection out; its place is free.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let place = self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?;
        let value = place.value.take()?;
        place.turn = (place.turn + 1) % (1 << TURN_BITS);
        self.free.push(id.place);
        Some(value)
    }

    /// Puts the value of a connection into the same place as in another table.
    ///
    /// # Panics
    /// The place has a value.
    pub fn put(&mut self, id: ConnectionId, value: T) {
        while self.places.len() <= id.place as usize {
            self.places.push(Place { turn: 0, value: None });
        }
        let place = &mut self.places[id.place as usize];
        assert!(place.value.is_none(), "a place has one connection");
        (place.turn, place.value) = (id.turn, Some(value));
    }

    /// Takes out what [`Table::put`] has put in.
    pub fn take(&mut self, id: ConnectionId) -> Option<T> {
        let place = self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?;
        place.value.take()
    }

    /// Connections.
    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        let used = self.places.iter().enumerate().filter(|(_, place)| place.value.is_some());
        used.map(|(place, entry)| ConnectionId { place: place as u32, turn: entry.turn })
    }

    /// What is at a place.
    pub fn at(&self, place: usize) -> Option<(ConnectionId, &T)> {
        let entry = self.places.get(place)?;
        let id = ConnectionId { place: place as u32, turn: entry.turn };
        entry.value.as_ref().map(|value| (id, value))
    }

    /// Places that there are, free ones included.
    pub fn places(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_again_has_another_name() {
        let mut table = Table::default();
        let (a, b) = (table.insert('a'), table.insert('b'));
        assert_eq!(table.get(a), Some(&'a'));
        assert_eq!((table.remove(a), table.get(a)), (Some('a'), None));
        assert_eq!(table.remove(a), None);
        let c = table.insert('c');
        assert_eq!((c.place, c == a), (a.place, false));
        assert_eq!((table.get(a), table.get(c), table.places()), (None, Some(&'c'), 2));
        assert_eq!(table.get_mut(c), Some(&mut 'c'));
        assert_eq!(table.ids().collect::<Vec<_>>(), [c, b]);
    }

    #[test]
    fn a_second_table_follows_the_places_of_the_first() {
        let (mut first, mut second) = (Table::default(), Table::default());
        let ids: Vec<_> = (0..5).map(|i| first.insert(i)).collect();
        second.put(ids[3], "three");
        assert_eq!((second.get(ids[3]), second.get(ids[2])), (Some(&"three"), None));
        assert_eq!((second.take(ids[3]), second.get(ids[3])), (Some("three"), None));
        first.remove(ids[3]);
        let again = first.insert(7);
        second.put(again, "seven");
        assert_eq!((second.get(ids[3]), second.get(again)), (None, Some(&"seven")));
    }
}
