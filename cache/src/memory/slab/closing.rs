//! Pages in which nothing is allocated any more: closed ones are being emptied, held ones wait for that.

use super::Slab;

impl Slab {
    /// Allocates nothing more in a page of this owner, so that it empties.
    pub fn close_page(&mut self, page: usize) {
        let begins = self.stop_allocating(page) || self.let_go(page);
        self.closed_pages += begins as usize;
    }

    /// The same for a page of the wanted run that cannot be emptied yet, because it has slots of unfinished items.
    pub fn hold_page(&mut self, page: usize) {
        if self.stop_allocating(page) {
            self.pages[page].held = true;
            self.pool.note_held(true);
        }
    }

    /// Takes slots in a closed page of this owner again.
    pub fn open_page(&mut self, page: usize) {
        let was_held = self.let_go(page);
        let entry = &mut self.pages[page];
        let class = entry.class.expect("a page of this owner");
        if !std::mem::take(&mut entry.closed) {
            return;
        }
        let free = self.layout.slots(class).count as u32 - entry.used;
        self.closed_pages -= !was_held as usize;
        if free > 0 {
            self.list(page, class);
            self.class_free[class.index()] += free;
        }
    }

    /// Pages that are being emptied.
    pub fn closed_pages(&self) -> usize {
        self.closed_pages
    }

    /// Whether nothing is allocated in a page any more.
    pub fn is_closed(&self, page: usize) -> bool {
        self.pages[page].closed
    }

    /// Whether a page is to be emptied when the unfinished items in it are finished.
    pub fn is_held(&self, page: usize) -> bool {
        self.pages[page].held
    }

    /// A page is held no longer; says whether it was.
    pub(super) fn let_go(&mut self, page: usize) -> bool {
        let was_held = std::mem::take(&mut self.pages[page].held);
        if was_held {
            self.pool.note_held(false);
        }
        was_held
    }

    /// Closes an open page; says whether it was open.
    fn stop_allocating(&mut self, page: usize) -> bool {
        let entry = self.pages[page];
        let class = entry.class.expect("a page of this owner");
        if entry.closed {
            return false;
        }
        let free = self.layout.slots(class).count as u32 - entry.used;
        if free > 0 {
            self.unlist(page, class);
            self.class_free[class.index()] -= free;
        }
        self.pages[page].closed = true;
        true
    }
}
